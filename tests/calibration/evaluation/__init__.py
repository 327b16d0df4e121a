"""Tests of `calibration.evaluation`."""
