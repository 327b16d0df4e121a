"""Whose study an export belongs to, and which frames of the source it can refer to, where that was DICOM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom import Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.multival import MultiValue
from pydicom.uid import UID, generate_uid

from stream.common.errors import SourceUnreadable
from stream.sources.files.dicom.file import damage_error, quiet_pydicom
from stream.sources.files.dicom.folder import DicomFolderSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
        is_new: it is not the source's.
    """

    attributes: Dataset
    instances: Sequence[SourceInstance] = field(default=())
    note: str = ""
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
    headers = [_header(path) for path, _ in files]
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
        return Study(attributes, note="the source's frames are not those of the run, so captured ones are referred to")
    return Study(attributes, tuple(instances))


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


def _header(path: Path) -> Dataset:
    """All attributes before the pixels; texts that change their character set on the way are in Unicode."""
    try:
        with quiet_pydicom():
            header = dcmread(path, stop_before_pixels=True, force=True)
            names = header.get("SpecificCharacterSet")
            if isinstance(names, MultiValue) and all(name in python_encoding for name in names):
                header.decode()  # highdicom takes none of those that Japanese and Korean scanners write
                header.SpecificCharacterSet = UNICODE
            return header
    except damage_error() as error:
        raise SourceUnreadable(  # pydicom's own words may quote values, and values may name the patient
            f"{path}: its DICOM header is damaged ({type(error).__name__}); give --anonymous for a study of its own"
        ) from None


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
