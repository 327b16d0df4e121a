"""A folder of DICOM files, or a DICOMDIR, as a source of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.common.errors import SourceError, SourceUnreadable
from stream.frames.segment_numbering import SegmentNumbering
from stream.sources.base import DEFAULT_RATE_HZ, RATE_NOTE, SourceInfo, join_notes
from stream.sources.files.dicom.file import open_dicom
from stream.sources.files.dicom.header import read_header
from stream.sources.files.dicom.source import DicomSource
from stream.sources.files.dicom.times import TIME_BASE
from stream.sources.files.images.source import natural_key
from stream.sources.files.kinds import is_dicom
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from stream.common.clock import Clock
    from stream.frames.frame import Frame, PixelSpacing

DIRECTORY = "DICOMDIR"
_DIRECTORY_STORAGE = "1.2.840.10008.1.3.10"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
"""Of a path in an index: nothing that leads out of its folder."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file of pictures, and what places it among the others."""

    path: Path
    info: SourceInfo
    series: str
    order: tuple[object, ...]

    @property
    def is_still(self) -> bool:
        return self.info.frame_count == 1


class DicomFolderSource(RecordingSource):
    """The DICOM files of a folder that hold pictures, one after the other.

    Convention: by series, then acquisition and instance number, then name. Single frames of one series and size are a
    film of 25 frames a second, with a note; every other file begins a new segment. Files without pictures (reports)
    are passed over, with a note. A file that is damaged or cut off does not keep the others from being played; it is
    told at the end.
    """

    def __init__(
        self, path: str | Path, *, clock: Clock, spacing: PixelSpacing | None = None, files: Sequence[Path] = ()
    ) -> None:
        """Reads the headers of all files.

        Args:
            path: of the folder, or of its index.
            clock: stamps the frames as they are decoded.
            spacing: mm per pixel of pictures of the first one's size, where the caller knows better than the files.
            files: of the folder; without them all DICOM files in it.

        Raises:
            SourceUnavailable: pydicom is not installed.
            SourceUnreadable: no file holds pictures that can be read.
        """
        self._path, self._clock, self._spacing = Path(path), clock, spacing
        paths, listing = (list(files), "") if files else listed_files(self._path)
        found, errors = [], []
        for each in paths:
            try:
                found.append(_looked_at(each, clock, spacing))
            except SourceError as error:
                errors.append(error)
        if not found:
            raise errors[0] if errors else SourceUnreadable(f"{path}: lists no DICOM file that is there; copy it whole")
        self._files = sorted(found, key=lambda file: file.order)
        passed_over = f"not played, of this folder: {len(errors)} DICOM files" if errors else ""
        first = self._files[0].info
        counts = [file.info.frame_count for file in self._files]
        stills = sum(file.is_still for file in self._files)
        notes = [RATE_NOTE if stills > 1 else "", *(file.info.note for file in self._files)]
        once = dict.fromkeys(part for note in notes for part in note.split("; "))
        super().__init__(
            replace(
                first,
                uri=str(path),
                frame_count=None if None in counts else sum(count or 0 for count in counts),
                note=join_notes(passed_over, listing, *once),
            )
        )

    @property
    def parts(self) -> Sequence[tuple[Path, int]]:
        """The files in the order in which they are played, with the number of frames that each declares, or 0."""
        return [(file.path, file.info.frame_count or 0) for file in self._files]

    def _read(self) -> Generator[Frame, None, None]:
        segments, index, next_pts = SegmentNumbering(), 0, 0
        jumps, first_error = 0, None
        before: _File | None = None
        for file in self._files:
            is_next_still = before is not None and before.is_still and file.is_still and before.series == file.series
            jumps += before is not None and not is_next_still
            start, before = next_pts, file
            try:
                with _open(file.path, self._clock, self._spacing, self.info) as source:
                    period = round(1 / ((source.info.frame_rate_hz or DEFAULT_RATE_HZ) * TIME_BASE))
                    for frame in source:
                        placed = replace(frame, index=index, pts=start + frame.pts)
                        yield segments.numbered(placed, jumps=jumps)
                        index, next_pts = index + 1, placed.pts + period
            except SourceError as error:
                first_error = first_error or error
            if self._closed.is_set():
                return
        if first_error:
            raise first_error


def _open(path: Path, clock: Clock, spacing: PixelSpacing | None, info: SourceInfo) -> DicomSource:
    """Opens a file; the user's spacing holds for pictures of the size it was said of."""
    source = DicomSource(path, clock=clock, spacing=spacing)
    if spacing is None or (source.info.width, source.info.height) == (info.width, info.height):
        return source
    source.close()
    return DicomSource(path, clock=clock)


def open_dicom_path(path: Path, *, clock: Clock, spacing: PixelSpacing | None = None) -> RecordingSource:
    """Opens a DICOM file, a folder of them, or the index of one; errors are those of the sources."""
    if path.is_dir() or is_directory_index(path):
        return DicomFolderSource(path, clock=clock, spacing=spacing)
    return DicomSource(path, clock=clock, spacing=spacing)


def is_directory_index(path: Path) -> bool:
    """Whether a file is the index of a folder, by its file meta information."""
    with path.open("rb") as file:
        return _DIRECTORY_STORAGE.encode() in file.read(1024)


def listed_files(path: Path) -> tuple[list[Path], str]:
    """The files of a folder or of an index, and words on those that are missing or not listed."""
    if path.is_file():
        listed, missing = _in_index(path)
        return listed, f"{missing} files of the index are missing" if missing else ""
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file() and is_dicom(entry))
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be listed ({error.strerror}); check its permissions") from error
    index = path / DIRECTORY
    files = [file for file in files if file != index]
    if not index.is_file():
        return files, ""
    try:
        listed, missing = _in_index(index)
    except SourceError:
        listed, missing = [], 0
    if not listed and files:
        return files, f"its index ({DIRECTORY}) leads to no file; the files beside it are played"
    beside = len(set(files) - set(listed))
    lost = f"{missing} files of the index are missing" if missing else ""
    return listed, join_notes(lost, f"not in the index, and not played: {beside} DICOM files" if beside else "")


def _in_index(index: Path) -> tuple[list[Path], int]:
    """The files that an index lists, and how many of them are not there."""
    with open_dicom(index) as file:
        records = read_header(file, index, keywords=("DirectoryRecordSequence",)).items("DirectoryRecordSequence")
    names = [record.texts("ReferencedFileID") for record in records if record.text("DirectoryRecordType") == "IMAGE"]
    found = [_found(index.parent, parts) for parts in names]
    return list(dict.fromkeys(file for file in found if file)), found.count(None)


def _found(folder: Path, parts: list[str]) -> Path | None:
    """A file that an index lists, in the case of letters in which it was copied; None where it is not there."""
    if not parts or not all(_PART.fullmatch(part) for part in parts):
        return None
    paths = (folder.joinpath(*parts), folder.joinpath(*(part.lower() for part in parts)))
    return next((path for path in paths if path.is_file()), None)


def _looked_at(path: Path, clock: Clock, spacing: PixelSpacing | None) -> _File:
    with DicomSource(path, clock=clock, spacing=spacing) as source:
        series, order = source.place
        return _File(path, source.info, series, (*order, natural_key(str(path))))
