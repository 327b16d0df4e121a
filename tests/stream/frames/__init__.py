"""Tests of `stream.frames`."""
