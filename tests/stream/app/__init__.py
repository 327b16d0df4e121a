"""Tests of `stream.app`."""
