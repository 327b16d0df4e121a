"""Tests of `engines.network`."""
