"""Tests of `stream.phantom`."""
