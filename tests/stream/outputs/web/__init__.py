"""Tests of `stream.outputs.web`."""
