"""Tests of `stream.sources.live`."""
