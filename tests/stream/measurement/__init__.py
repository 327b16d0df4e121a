"""Tests of `stream.measurement`."""
