"""Tests of `engines.tensorrt`."""
