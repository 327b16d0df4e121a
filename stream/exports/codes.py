"""Codes of what is exported, of a private scheme: neither DICOM nor LOINC has any for AoP and HSD.

`docs/exports.md` documents each; a test compares.
"""

from __future__ import annotations

SCHEME = "99PARTUM"
SCHEME_UID = "2.25.138424129861466157837469513920274511263"
PRIVATE = {
    "AOP": "Angle of progression, tracked over time",
    "AOP_RAW": "Angle of progression, read from this frame alone",
    "HSD_MIN": "Head-symphysis distance, shortest, tracked over time",
    "HSD_PERP": "Head-symphysis distance along infrapubic line, tracked over time",
    "REST": "Angle of progression at rest, before a push",
    "PEAK": "Angle of progression at the peak of a push, 95th percentile",
    "DIFFERENCE": "Angle of progression, peak less rest",
    "REP_LO95": "Lower end of the 95 % interval of repeatability",
    "REP_HI95": "Upper end of the 95 % interval of repeatability",
    "ABS_LO95": "Lower end of the absolute 95 % interval",
    "ABS_HI95": "Upper end of the absolute 95 % interval",
    "REP_95": "95 % interval of repeatability",
    "ABS_95": "Absolute 95 % interval",
    "FRAME": "Number of the frame in the run, from 0",
    "MODEL": "SHA-256 of the model",
    "CONFIGURATION": "SHA-256 of the configuration",
    "PROTOCOL": "Definition by which AoP and HSD were measured",
    "TIME": "Time from the start of the recording",
    "PUSH_START": "Start of a push, from the start of the recording",
    "PUSH_END": "End of a push, from the start of the recording",
    "PUSH": "Maternal push",
    "PUSH_ORIGIN": "Where a push is from",
    "PUSH_FOUND": "Found in the course of the angle of progression",
    "PUSH_MARKED": "Marked by a person",
    "FRAMES_IN": "Frames read",
    "FRAMES_MEASURED": "Frames measured",
    "FRAMES_REFUSED": "Frames refused",
    "FRAMES_DROPPED": "Frames dropped",
    "RUN": "Run of the measuring program",
    "MARKS": "Marks set by the examiner",
    "MARK": "Mark",
    "REVIEWS": "Frames reviewed by a person",
    "REVIEW": "Review of a frame by a person",
    "REVIEWER": "Who reviewed it",
    "REVIEWED": "When it was reviewed",
    "REASON": "Why there is no value",
    "AOP_REVISED": "Angle of progression, as corrected by a person",
    "HSD_MIN_REVISED": "Head-symphysis distance, shortest, as corrected by a person",
    "HSD_PERP_REVISED": "HSD along infrapubic line, as corrected by a person",
    "HSD_MIN_RAW": "Head-symphysis distance, shortest, from this frame alone",
    "HSD_PERP_RAW": "HSD along infrapubic line, from this frame alone",
    "NOTICE": "Notice",
    "LABOUR_PROGRESS": "Progress of labour by intrapartum ultrasound",
    "FETAL_HEAD": "Fetal head",
}
"""Value: meaning."""
