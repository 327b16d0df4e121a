"""Tests of `engines.backends`."""
