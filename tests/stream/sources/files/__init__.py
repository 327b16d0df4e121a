"""Tests of `stream.sources.files`."""
