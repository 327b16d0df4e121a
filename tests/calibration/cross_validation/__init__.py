"""Tests of `calibration.cross_validation`."""
