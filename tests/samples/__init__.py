"""Inputs that tests make: anatomy, recordings, data sets, DICOM files, screens; no tests."""
