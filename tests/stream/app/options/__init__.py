"""Tests of `stream.app.options.shared`."""
