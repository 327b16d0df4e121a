"""A DICOM node: what scanners store is kept on disk before it is acknowledged, measured, and answered."""
