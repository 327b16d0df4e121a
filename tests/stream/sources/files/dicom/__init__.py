"""Tests of `stream.sources.files.dicom`."""
