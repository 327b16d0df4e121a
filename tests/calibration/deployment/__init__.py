"""Tests of `calibration.deployment`."""
