"""Tests of `stream.tracking`."""
