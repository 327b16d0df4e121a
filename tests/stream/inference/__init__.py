"""Tests of `stream.inference`."""
