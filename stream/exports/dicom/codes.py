"""The codes of the report: the standard's where it has one, else those of `stream.exports.codes`."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from stream.exports.codes import PRIVATE, SCHEME, SCHEME_UID

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
