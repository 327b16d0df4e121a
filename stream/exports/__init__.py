"""A finished run for others: its files verified, and its numbers as DICOM, FHIR, tables, and masks to train on."""
