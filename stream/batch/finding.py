"""Finds the recordings that inputs name: files, folders and what is below them, globs, lists, archives."""

from __future__ import annotations

import codecs
import glob
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import PartumError
from engines.redaction import looks_like_address, redact
from stream.batch.recordings import Form, Recording
from stream.common.clock import MonotonicClock
from stream.common.errors import NoPictures, SourceError
from stream.sources.files.images.source import natural_key, natural_path_key
from stream.sources.files.kinds import SourceKind, kind_of, recognised_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stream.sources.files.unpacking import BadMember

RECORDED, RESULTS, BATCH = "frames.jsonl", ("run.json", "measurements.jsonl"), "batch.json"
"""Files that mark a folder as a recording, as the results of a run, and as those of a batch."""
NO_PICTURES, NO_FILES = "DICOM without pictures", "pipes and devices"
_DATA_SUFFIXES = frozenset({".raw", ".zraw"})


@dataclass(frozen=True, slots=True)
class BadInput:
    """An input that names nothing that can be measured.

    Attributes:
        source: as it was given.
        error: why, in one line.
        is_empty: there is nothing yet: no error while it is being watched.
    """

    source: str
    error: str
    is_empty: bool = False


@dataclass(slots=True)
class Found:
    """What inputs name.

    Attributes:
        recordings: in the order of the inputs, those of a folder in natural order.
        archives: to be unpacked.
        bad: what cannot be measured, and why.
        gone: sources of what was there or was bad, and is no longer.
        passed_over: how many files of folders are no recordings, by suffix.
    """

    recordings: list[Recording] = field(default_factory=list)
    archives: list[Recording] = field(default_factory=list)
    bad: list[BadInput] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, other: Found) -> None:
        """Adds what was found elsewhere."""
        self.recordings += other.recordings
        self.archives += other.archives
        self.bad += other.bad
        self.gone += other.gone
        self.passed_over += other.passed_over


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of a file in a folder: what it is, how many pictures it holds, and the series of a DICOM file."""

    kind: SourceKind | None
    count: int | None = None
    series: str = ""


class Finder:
    """Finds recordings. Looks into a file once, and again only when its size or time of change is another.

    Args:
        stills: each picture is a recording of its own.
        leave_out: a folder that is not looked into: that of the results.
    """

    def __init__(self, *, stills: bool = False, leave_out: Path | None = None) -> None:
        self._stills, self._leave_out = stills, leave_out.resolve() if leave_out else None
        self._known: dict[Path, tuple[tuple[int, int], _Facts]] = {}

    def find(self, inputs: Sequence[str]) -> Found:
        """What the inputs name; what two of them name is found once."""
        found = Found()
        for each in inputs:
            self._find_input(each, found)
        found.recordings = _each_once(found.recordings)
        found.archives = _each_once(found.archives)
        return found

    def find_unpacked(self, folder: Path, archive: Recording, bad: Iterable[BadMember] = ()) -> Found:
        """What an archive holds, that was unpacked into a folder; `bad` could not be, and are empty files there."""
        found = Found()
        self._walk(folder, found, set())
        names = str(folder), archive.source

        def told(text: str) -> str:
            return text.replace(*names)

        why = {str(each.path): each.why for each in bad}
        sound = [each for each in found.recordings if not why.keys() >= {*map(str, each.files or [each.path])}]
        found.recordings = [replace(each, source=told(each.source), unpacked=names) for each in sound]
        found.archives = [each for each in found.archives if each.path not in why]
        found.bad += [BadInput(path, f"{path}: cannot be unpacked ({text})") for path, text in why.items()]
        found.bad = [BadInput(told(each.source), told(each.error)) for each in found.bad]
        found.bad += [
            BadInput(told(each.source), f"{told(each.source)}: an archive in an archive; unpack it by hand")
            for each in found.archives
        ]
        found.archives = []
        if not found.recordings and not found.bad:
            found.bad.append(BadInput(archive.source, f"{archive.source}: holds no recording"))
        return found

    def _find_input(self, given: str, found: Found) -> None:
        if given.startswith("@") and not os.path.exists(given):
            self._find_list(given[1:], found)
        elif given.startswith("phantom:"):
            found.recordings.append(Recording(given, given))
        elif os.path.exists(given):
            self._find_path(Path(given), found)
        elif glob.has_magic(given):
            named = sorted(glob.glob(os.path.expanduser(given), recursive=True), key=natural_key)
            for path in map(Path, named):
                if not self._is_left_out(path):
                    self._find_path(path, found)
            if not named:
                found.bad.append(BadInput(given, f"{given}: names no file; check the pattern", is_empty=True))
        elif looks_like_address(given):
            shown = redact(given)
            found.bad.append(BadInput(shown, f"{shown}: is no recording; a live feed is watched by: partum attach"))
        else:
            found.bad.append(BadInput(given, f"{given}: no such file or folder; check the path"))

    def _is_left_out(self, path: Path) -> bool:
        return self._leave_out is not None and path.resolve() == self._leave_out

    def _find_list(self, name: str, found: Found) -> None:
        """The inputs that a text file lists, one a line, relative to its folder; `#` begins a remark."""
        path = Path(name)
        try:
            text = _decoded(path.read_bytes())
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            found.bad.append(BadInput(f"@{name}", f"{name}: a list that cannot be read ({why})"))
            return
        for line in (line.strip() for line in text.split("\n")):
            if line and not line.startswith(("#", "@")):
                is_uri = line.startswith("phantom:") or looks_like_address(line)
                self._find_input(line if is_uri else str(path.parent / line), found)
            elif line.startswith("@"):
                found.bad.append(BadInput(line, f"{name}: {line}: a list in a list is not read; name its files here"))

    def _find_path(self, path: Path, found: Found) -> None:
        """A path that was named itself: whatever it holds, it is not passed over."""
        try:
            if path.is_dir():
                before = len(found.recordings) + len(found.archives) + len(found.bad)
                self._walk(path, found, set())
                if before == len(found.recordings) + len(found.archives) + len(found.bad):
                    found.bad.append(BadInput(str(path), f"{path}: a folder without recordings", is_empty=True))
                return
            kind = kind_of(path)
            if kind is SourceKind.ARCHIVE:
                found.archives.append(Recording(str(path), str(path)))
            elif kind is SourceKind.DICOM and _is_index(path):
                self._find_index(path, found)
            else:
                found.recordings.append(Recording(str(path), str(path)))
        except PartumError as error:
            found.bad.append(BadInput(str(path), str(error)))

    def _find_index(self, path: Path, found: Found) -> None:
        """The files that a DICOMDIR lists."""
        from stream.sources.files.dicom.folder import listed_files

        files, missing = listed_files(path)
        if missing:
            found.bad.append(BadInput(str(path), f"{path}: {missing}; copy the folder whole"))
        for folder in dict.fromkeys(file.parent for file in files):
            self._add_dicom(folder, [file for file in files if file.parent == folder], found)

    def _walk(self, folder: Path, found: Found, seen: set[Path]) -> None:
        """The recordings of a folder and of those below it; links that lead in a circle are followed once."""
        real = folder.resolve()
        if real in seen or real == self._leave_out or os.path.isfile(folder / BATCH):
            return
        seen.add(real)
        if os.path.isfile(folder / RECORDED):
            found.recordings.append(Recording(str(folder), str(folder)))
            return
        try:
            entries = sorted((each for each in folder.iterdir() if each.name[0] != "."), key=natural_path_key)
        except OSError as error:
            found.bad.append(BadInput(str(folder), f"{folder}: cannot be listed ({error.strerror}); check permissions"))
            return
        if not all(os.path.isfile(folder / name) for name in RESULTS):  # else its film and plot are not recordings
            self._add_files(folder, [each for each in entries if os.path.isfile(each)], found)
        for each in entries:
            if os.path.isdir(each):
                self._walk(each, found, seen)
            elif not os.path.isfile(each):
                self._add_neither(each, found)

    def _add_neither(self, path: Path, found: Found) -> None:
        """An entry of a folder that is neither a file nor a folder, or cannot be looked at."""
        try:
            path.stat()
        except OSError as error:
            why = "a link that leads nowhere" if os.path.islink(path) else f"cannot be read ({error.strerror})"
            found.bad.append(BadInput(str(path), f"{path}: {why}; check it, and its permissions"))
        else:
            found.passed_over[NO_FILES] += 1

    def _add_files(self, folder: Path, files: Sequence[Path], found: Found) -> None:
        by_kind: dict[SourceKind | None, list[Path]] = {}
        for file in files:
            by_kind.setdefault(self._facts(file).kind, []).append(file)
        headers = [_text_of(file) for file in by_kind.get(SourceKind.STACK, []) if file.suffix.lower() != ".nrrd"]
        data = {
            file
            for file in files
            if file.suffix.lower() in _DATA_SUFFIXES or any(_names(header, file) for header in headers)
        }
        self._add_images(folder, by_kind.pop(SourceKind.IMAGES, []), found)
        self._add_dicom(folder, by_kind.pop(SourceKind.DICOM, []), found)
        for kind, alike in by_kind.items():
            for file in alike:
                if file in data:
                    continue
                if kind is None:
                    found.passed_over[file.suffix.lower() or "without suffix"] += 1
                elif kind is SourceKind.ARCHIVE:
                    found.archives.append(Recording(str(file), str(file)))
                else:
                    found.recordings.append(Recording(str(file), str(file)))

    def _add_images(self, folder: Path, files: Sequence[Path], found: Found) -> None:
        """Single images of a folder are a film; a file of several pictures is a recording of its own."""
        if self._stills:
            found.recordings += [Recording(str(file), str(file)) for file in files]
            return
        single = [file for file in files if self._facts(file).count == 1]
        found.recordings += _together(folder, single, Form.IMAGES)
        found.recordings += [Recording(str(file), str(file)) for file in files if self._facts(file).count != 1]

    def _add_dicom(self, folder: Path, files: Sequence[Path], found: Found) -> None:
        """Single frames of a series are a film; a file of several frames is a recording of its own."""
        series: dict[str, list[Path]] = {}
        for file in files:
            facts = self._facts(file)
            if facts.count == 0:
                found.passed_over[NO_PICTURES] += 1
            elif facts.count == 1 and facts.series and not self._stills:
                series.setdefault(facts.series, []).append(file)
            else:
                found.recordings.append(Recording(str(file), str(file)))
        for alike in series.values():
            found.recordings += _together(folder, alike, Form.DICOM_SERIES)

    def _facts(self, file: Path) -> _Facts:
        try:
            status = file.stat()
        except OSError:
            return _Facts(recognised_kind(file))
        stamp = status.st_size, status.st_mtime_ns
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            known = stamp, _look_into(file)
            self._known[file] = known
        return known[1]


def _decoded(text: bytes) -> str:
    """Text in UTF-8, with or without a mark, of names that may hold any byte; or in UTF-16 with its mark."""
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return text.decode("utf-16")
    return text.decode("utf-8-sig", "surrogateescape")


def _each_once(recordings: Iterable[Recording]) -> list[Recording]:
    """Each under the name it was given first, in whatever way its path is written."""
    found: dict[object, Recording] = {}
    for each in recordings:
        found.setdefault((os.path.abspath(each.path), each.files), each)
    return list(found.values())


def _together(folder: Path, files: Sequence[Path], form: Form) -> Iterator[Recording]:
    """Files that belong together as one recording; one alone is itself."""
    if len(files) > 1:
        yield Recording(_name(folder, files, form), str(folder), form, tuple(files))
    else:
        yield from (Recording(str(file), str(file)) for file in files)


def _name(folder: Path, files: Sequence[Path], form: Form) -> str:
    """A folder may hold several series: each is called by its first file, and keeps that name while it grows."""
    return str(folder) if form is Form.IMAGES else f"{files[0]} (series)"


def _look_into(file: Path) -> _Facts:
    """A file that cannot be read counts as a recording by itself, which is named when its turn comes."""
    kind = recognised_kind(file)
    try:
        if kind is SourceKind.IMAGES:
            from stream.sources.files.images.image_file import image_facts

            return _Facts(kind, image_facts(file).count)
        if kind is SourceKind.DICOM:
            from stream.sources.files.dicom.source import DicomSource

            with DicomSource(file, clock=MonotonicClock()) as source:
                return _Facts(kind, source.info.frame_count, source.place[0])
    except NoPictures:
        return _Facts(kind, 0)
    except SourceError:
        return _Facts(kind, 1 if kind is SourceKind.IMAGES else None)
    return _Facts(kind)


def _is_index(path: Path) -> bool:
    from stream.sources.files.dicom.folder import is_directory_index

    return is_directory_index(path)


def _text_of(header: Path) -> bytes:
    """The beginning of a stack's header, which may name the file of its data."""
    try:
        with header.open("rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""


def _names(header: bytes, file: Path) -> bool:
    return os.fsencode(file.name) in header


def data_files(header: Path) -> Iterable[Path]:
    """The files beside a stack's header that hold its data, by name or by a pattern of names."""
    text = _text_of(header)
    for each in sorted(header.parent.iterdir(), key=natural_path_key):
        is_of_pattern = b"%" in text and each.suffix.lower() in _DATA_SUFFIXES
        if each != header and each.is_file() and (_names(text, each) or is_of_pattern):
            yield each
