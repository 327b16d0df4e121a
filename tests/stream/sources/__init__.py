"""Tests of `stream.sources`."""
