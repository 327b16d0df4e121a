"""What an archive is to measure: recordings of folders, as `partum batch` finds them, and objects of stores."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from engines.errors import PartumError
from stream.archive.locations import Location, is_object_uri
from stream.batch.content import size_of, stamp_of
from stream.batch.finding import BadInput, Finder, Found
from stream.batch.recordings import Form, Recording
from stream.common.errors import SourceError
from stream.sources.files.images.source import natural_key
from stream.sources.files.kinds import (
    ARCHIVE_SUFFIXES,
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    STACK_SUFFIXES,
    VIDEO_SUFFIXES,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.archive.locations import Entry
    from stream.archive.parts.long_recordings import PartRequest

_FILMS = frozenset({".apng", ".gif", ".mpo", ".tif", ".tiff", ".webp"})
"""Images that may hold several pictures: each is a recording of its own, as what is in it is not looked into here."""
_WHOLE = (VIDEO_SUFFIXES | DICOM_SUFFIXES | STACK_SUFFIXES | _FILMS) - {".mhd", ".nhdr"}
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ArchiveInput:
    """Something to be measured: a unit of work.

    Attributes:
        recording: what it is; of objects, with their URI in the place of a path.
        key: what it looked like when it was found: alike as long as nothing was written to it. It tells no name.
        size: in bytes.
        objects: URIs to be fetched first, in the order in which they are played; none for files.
        is_archive: a .zip, which may hold several recordings.
        part: of a long recording, the part that is to be measured; None where it is the whole.
    """

    recording: Recording
    key: str
    size: int
    objects: tuple[str, ...] = ()
    is_archive: bool = False
    part: PartRequest | None = None

    def with_part(self, part: PartRequest) -> ArchiveInput:
        """A part of it as a unit of work of its own."""
        return replace(self, part=part, key=f"{part.sha256} {part.begin}")


class InputFinder(Finder):
    """Finds recordings as `stream.batch.finding.Finder` does, and objects of stores.

    Of a store, nothing is looked into but the list of names: each video, stack, DICOM object and .zip is a recording,
    and the single images below one prefix are a film.
    """

    def __init__(self, *, stills: bool = False, leave_out: Path | None = None) -> None:
        super().__init__(stills=stills, leave_out=leave_out)
        self._of_stills = stills
        self._objects: dict[str, Sequence[Entry]] = {}

    def inputs(self, given: Sequence[str]) -> tuple[list[ArchiveInput], list[BadInput], Found]:
        """The units of work, what cannot be measured, and all that was found."""
        found, bad = self.find(given), []
        units: list[ArchiveInput] = []
        for recording in found.recordings + found.archives:
            try:
                units.append(self._unit(recording, is_archive=recording in found.archives))
            except SourceError as error:
                bad.append(BadInput(recording.source, str(error)))
        return units, [*found.bad, *bad], found

    def _unit(self, recording: Recording, *, is_archive: bool) -> ArchiveInput:
        entries = self._objects.get(recording.source)
        if entries is None:
            return ArchiveInput(recording, stamp_of(recording), size_of(recording), is_archive=is_archive)
        facts = "\n".join(f"{each.location} {each.size} {each.stamp}" for each in entries)
        return ArchiveInput(
            recording,
            hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest(),
            sum(each.size for each in entries) or 1,
            tuple(str(each.location) for each in entries),
            is_archive,
        )

    def _find_input(self, given: str, found: Found) -> None:
        if not is_object_uri(given):
            super()._find_input(given, found)
            return
        try:
            self._find_objects(given, found)
        except PartumError as error:
            found.bad.append(BadInput(given.partition("://")[0] + "://", str(error)))

    def _find_objects(self, given: str, found: Found) -> None:
        """The objects that a URI names: one, all below a prefix, or those of a pattern."""
        location = Location.parse(given)
        if location.is_local:
            super()._find_input(location.path, found)
            return
        pattern = _pattern(location.path) if _MAGIC.search(location.path) else None
        start = Location(location.store, _before_magic(location.path)) if pattern else location
        entries = [each for each in start.entries() if pattern is None or pattern.fullmatch(each.location.path)]
        entries = [each for each in entries if not _is_hidden(each.location.path)]
        if not entries:
            found.bad.append(BadInput(str(location), f"{location}: names no object; check bucket and prefix"))
        films: dict[str, list[Entry]] = defaultdict(list)
        for each in sorted(entries, key=lambda entry: natural_key(entry.location.path)):
            suffix = PurePosixPath(each.location.path).suffix.lower()
            if suffix in IMAGE_SUFFIXES - _FILMS and not self._of_stills and str(each.location) != str(location):
                films[str(PurePosixPath(each.location.path).parent)].append(each)
            elif suffix in ARCHIVE_SUFFIXES:
                found.archives.append(self._remember(str(each.location), [each]))
            elif suffix in _WHOLE | IMAGE_SUFFIXES or str(each.location) == str(location):
                found.recordings.append(self._remember(str(each.location), [each]))
            else:
                found.passed_over[suffix or "without suffix"] += 1
        for folder, alike in films.items():
            if len(alike) == 1:
                found.recordings.append(self._remember(str(alike[0].location), alike))
            else:
                found.recordings.append(self._remember(f"{location.store}/{folder}", alike, Form.IMAGES))

    def _remember(self, source: str, entries: Sequence[Entry], form: Form = Form.SINGLE) -> Recording:
        self._objects[source] = entries
        return Recording(source, source, form)


def _is_hidden(path: str) -> bool:
    return PurePosixPath(path).name.startswith(".")


def _before_magic(pattern: str) -> str:
    """The prefix that all names of a pattern share, up to a slash."""
    return _MAGIC.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def _pattern(pattern: str) -> re.Pattern[str]:
    """`**` stands for prefixes of any depth, `*` for names of one."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            inner = fnmatch.translate(part).removesuffix(r"\z").removesuffix(r"\Z")
            parts.append(inner.replace(".*", "[^/]*") + "/")
    return re.compile("".join(parts).removesuffix("/"))
