"""Tests of `stream.api`."""
