"""Recordings on disk: video, images, volumes, DICOM, archives, label masks; nothing live."""
