"""Tests of `stream.outputs`."""
