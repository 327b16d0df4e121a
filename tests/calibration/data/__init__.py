"""Tests of `calibration.data`."""
