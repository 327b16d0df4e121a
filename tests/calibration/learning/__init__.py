"""Tests of `calibration.learning`."""
