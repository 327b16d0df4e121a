"""A finished run as DICOM: captured frames, segmentation, structured report."""
