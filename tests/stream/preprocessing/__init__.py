"""Tests of `stream.preprocessing`."""
