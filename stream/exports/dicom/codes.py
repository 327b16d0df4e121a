"""The codes of the report. The standard has none for AoP and HSD: they are of a private scheme, listed here.

`docs/exports.md` documents each; a test compares.
"""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

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
    "TIME": "Time from the start of the recording",
    "PUSH_START": "Start of a push, from the start of the recording",
    "PUSH_END": "End of a push, from the start of the recording",
    "PUSH": "Maternal push",
    "FRAMES_IN": "Frames read",
    "FRAMES_MEASURED": "Frames measured",
    "FRAMES_REFUSED": "Frames refused",
    "FRAMES_DROPPED": "Frames dropped",
    "RUN": "Run of the measuring program",
    "MARKS": "Marks set by the examiner",
    "MARK": "Mark",
    "NOTICE": "Notice",
    "LABOUR_PROGRESS": "Progress of labour by intrapartum ultrasound",
    "FETAL_HEAD": "Fetal head",
}
"""Value: meaning."""
UNITS: dict[str, Code] = {
    "deg": codes.UCUM.Degree,
    "mm": codes.UCUM.Millimeter,
    "px": Code("{pixels}", "UCUM", "pixels"),
    "s": codes.UCUM.Second,
    "1": codes.UCUM.NoUnits,
}
PUBIC_SYMPHYSIS = codes.SCT.SymphysisPubis
ULTRASOUND_OBSTETRIC = codes.SCT.UltrasoundScanObstetric


def declare_scheme(dataset: Dataset) -> None:
    """Says in an object what the private scheme is."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeUID = SCHEME, SCHEME_UID
    scheme.CodingSchemeName, scheme.CodingSchemeResponsibleOrganization = "Codes of Partum", "Partum"
    known = dataset.get("CodingSchemeIdentificationSequence") or []
    dataset.CodingSchemeIdentificationSequence = [
        *(each for each in known if each.CodingSchemeDesignator != SCHEME),
        scheme,
    ]


def private(value: str) -> CodedConcept:
    """A code of the private scheme. Raises KeyError where it is not listed."""
    return CodedConcept(value, SCHEME, PRIVATE[value])
