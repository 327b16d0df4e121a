"""Tests of `calibration.studies`."""
