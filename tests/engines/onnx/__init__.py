"""Tests of `engines.onnx`."""
