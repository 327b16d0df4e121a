"""DICOM ultrasound, single and multi-frame, streamed from disk; pydicom is imported only here."""
