"""Tests of `stream.sources.decoding`."""
