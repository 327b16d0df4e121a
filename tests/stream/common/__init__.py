"""Tests of `stream.common`."""
