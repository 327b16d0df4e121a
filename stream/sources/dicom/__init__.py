"""DICOM ultrasound, single and multi-frame, streamed from disk."""
