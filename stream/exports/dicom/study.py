"""Whose study an export belongs to, and which frames of the source it can refer to, where that was DICOM."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom import Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, DA, TM

from stream.common.errors import SourceUnreadable
from stream.sources.files.dicom.file import damage_error, quiet_pydicom
from stream.sources.files.dicom.folder import DicomFolderSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom.dataelem import DataElement

    from stream.labour.recorded_run import RecordedRun

PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
)
"""Attributes that say whose study it is; the ones that an object of the same study shares with the source."""
UNICODE = "ISO_IR 192"
REQUIRED = PATIENT_AND_STUDY[:4] + PATIENT_AND_STUDY[5:11]
"""Those of type 2: present, be it without a value."""
SEXES = ("", "F", "M", "O")
DATES_AND_TIMES = {"PatientBirthDate": (".", DA), "StudyDate": (".", DA), "StudyTime": (":", TM)}
"""With what ACR-NEMA put between their parts."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceInstance:
    """A DICOM file of the source: its header without pixels, and the frames of the run that are in it."""

    header: Dataset
    first: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Where an export goes.

    Attributes:
        attributes: of patient and study; without values in a study of its own, apart from the UID, date and time.
        instances: files of the source that frames may be referred to in; empty where there are none.
        note: why the frames of the source are not referred to, for people; empty where they are, or it was no DICOM.
        left_out: attributes of the source's header whose values the standard does not allow, by keyword.
        is_new: it is not the source's.
    """

    attributes: Dataset
    instances: Sequence[SourceInstance] = field(default=())
    note: str = ""
    left_out: Sequence[str] = ()
    is_new: bool = False

    def instance_of(self, index: int) -> tuple[Dataset, int | None] | None:
        """The header of the file that a frame of the run is in, and its number there from 1; None where not known.

        The number is None of a file of one frame.
        """
        for each in self.instances:
            if each.first <= index < each.first + each.count:
                return each.header, index - each.first + 1 if each.count > 1 else None
        return None


def study_of(run: RecordedRun, source: Path | None, *, is_anonymous: bool) -> Study:
    """The source's own study where it was DICOM; else, and where asked, a new one without a patient.

    Args:
        run: finished.
        source: the recording that was run, where it is there.
        is_anonymous: a new study in any case.

    Raises:
        SourceUnreadable: the source was DICOM and is not there any more, or its header is damaged.
    """
    if run.source.get("kind") != "dicom" or is_anonymous:
        return Study(_new_study(run), is_new=True)
    if source is None:
        raise SourceUnreadable(
            f"{run.folder}: its DICOM source is not where it was; name it by --source, or give --anonymous for a study"
            " of its own"
        )
    files = _files(source)
    if not files:
        return Study(_new_study(run), note="the source is packed, so the export is a study of its own", is_new=True)
    read = [_header(path) for path, _ in files]
    headers = [header for header, _ in read]
    left_out = sorted({keyword for _, keywords in read for keyword in keywords})
    studies = {str(header.get("StudyInstanceUID", "")) for header in headers}
    if len(studies) != 1 or not UID(next(iter(studies))).is_valid:
        return Study(
            _new_study(run), note="the source has no single study UID, so the export is a study of its own", is_new=True
        )
    attributes = Dataset()
    for keyword in PATIENT_AND_STUDY:
        if keyword in headers[0]:
            attributes[keyword] = headers[0][keyword]  # as it is: to set a value is to have it checked, and quoted
        elif keyword in REQUIRED:
            setattr(attributes, keyword, "")
    for header in headers:
        header.update(attributes)  # what the source leaves out is there without a value
    instances, first = [], 0
    for header, (_, count) in zip(headers, files, strict=True):
        instances.append(SourceInstance(header, first, count))
        first += count
    if first != len(run) or not all(_can_be_referred_to(header) for header in headers):
        note = "the source's frames are not those of the run, so captured ones are referred to"
        return Study(attributes, note=note, left_out=left_out)
    return Study(attributes, tuple(instances), left_out=left_out)


def _files(source: Path) -> list[tuple[Path, int]]:
    """The files of a source in the order of the run, with their counts of frames; none of an archive."""
    from stream.common.clock import MonotonicClock
    from stream.sources.files.dicom.folder import open_dicom_path
    from stream.sources.files.kinds import SourceKind, kind_of

    if kind_of(source) is not SourceKind.DICOM:
        return []
    with open_dicom_path(source, clock=MonotonicClock()) as opened:
        if isinstance(opened, DicomFolderSource):
            return list(opened.parts)
        return [(source, opened.info.frame_count or 0)]


def _header(path: Path) -> tuple[Dataset, list[str]]:
    """All attributes before the pixels, texts in Unicode, and the keywords of those that were left out."""
    try:
        with quiet_pydicom():
            header = dcmread(path, stop_before_pixels=True, force=True)
            left_out = _leave_out_unreadable(header)
            if "SpecificCharacterSet" in header:
                header.decode()  # highdicom takes few of the character sets that scanners write
                header.SpecificCharacterSet = UNICODE
            return header, left_out
    except damage_error() as error:
        raise SourceUnreadable(  # pydicom's own words may quote values, and values may name the patient
            f"{path}: its DICOM header is damaged ({type(error).__name__}); give --anonymous for a study of its own"
        ) from None


def _leave_out_unreadable(header: Dataset) -> list[str]:
    """Takes out what no reader could make sense of, and gives its keywords: one bad value must not cost the export.

    Texts stay as they are, too long ones, too: an archive finds the patient by them.
    """
    names = header.get("SpecificCharacterSet") or ""
    is_unknown = not all(name in python_encoding for name in (names if isinstance(names, MultiValue) else [names]))
    left_out = []
    if is_unknown:
        del header.SpecificCharacterSet
        left_out.append("SpecificCharacterSet")
    for tag in list(header.keys()):
        stored = header.get_item(tag).value
        try:
            element = header[tag]
            if (
                is_unknown
                and isinstance(stored, bytes)
                and element.VR in CUSTOMIZABLE_CHARSET_VR
                and not stored.isascii()
            ):
                raise ValueError("in letters that are not known")
            _conform(element)
        except damage_error():
            del header[tag]
            left_out.append(keyword_for_tag(tag) or str(tag))
    return left_out


def _conform(element: DataElement) -> None:
    """Brings dates and times of the old form to today's, and refuses what is not of its kind.

    Raises:
        Exception: one of `damage_error`: it has not a value of its kind.
    """
    if element.VR in ("DS", "IS"):
        for value in element.value if isinstance(element.value, MultiValue) else [element.value or 0]:
            if not math.isfinite(float(value)):
                raise ValueError("no number of the standard")
    elif element.keyword in DATES_AND_TIMES:
        mark, kind = DATES_AND_TIMES[element.keyword]
        element.value = str(element.value or "").replace(mark, "")
        kind(element.value)
    elif element.keyword == "PatientSex" and element.value not in SEXES:
        raise ValueError("no sex of the standard")
    elif element.VR == "PN" and isinstance(element.value, MultiValue) and element.keyword in PATIENT_AND_STUDY:
        raise ValueError("more than one person")


def _can_be_referred_to(header: Dataset) -> bool:
    uids = (header.get(keyword, "") for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"))
    return all(uid and UID(str(uid)).is_valid for uid in uids)


def _new_study(run: RecordedRun) -> Dataset:
    attributes = Dataset()
    for keyword in REQUIRED:
        setattr(attributes, keyword, "")
    attributes.StudyInstanceUID = generate_uid(prefix=None)
    started = run.started.astimezone()
    attributes.StudyDate, attributes.StudyTime = started.strftime("%Y%m%d"), started.strftime("%H%M%S")
    return attributes
