"""The parts that a long recording is measured in, as they lie in the dataset until they are joined.

    _parts/model=.../SHA256/plan.json                       the parts; written last, so that it tells of whole files
    _parts/model=.../SHA256/000000000-000009121.log         what preprocessing made of the frames of a part
    _parts/model=.../SHA256/000000000-000009121.parquet     its frames, once they are measured

Readers of datasets pass over names that begin so.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.outputs.manifest import NOTICE
from stream.sources.decoding.picture_reader import DecodingEntry

if TYPE_CHECKING:
    from stream.archive.locations import Location

SCHEMA = "partum.archive.plan/1"
PARTS, PLAN = "_parts", "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPart:
    """Whole segments of a recording that are measured by themselves.

    Attributes:
        begin, end: its frames, from 0; the last one is `end - 1`.
        before: the last frame before it that was looked at. It is measured too, and left out: tracks that begin know
            whether it was refused. None of the first part.
        entry: where decoding may begin to have that frame, in packets and pictures; None where at the start only.
        checksum: of the pictures of that frame and of the first one, CRC-32, by which an entry is judged.
    """

    begin: int
    end: int
    before: int | None = None
    entry: tuple[int, int] | None = None
    checksum: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.begin:09d}-{self.end:09d}"

    @property
    def decoding(self) -> DecodingEntry | None:
        """`entry` as decoders take it."""
        return DecodingEntry(*self.entry) if self.entry else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a recording is cut.

    Attributes:
        parts: in order, two or more.
        error: why the recording cannot be read to its end; None where it can.
        note: of its source.
        warnings: of what reads and preprocesses it.
    """

    parts: tuple[RecordingPart, ...]
    error: str | None
    note: str
    warnings: tuple[str, ...]

    def as_bytes(self) -> bytes:
        """The file of it."""
        facts = {"schema": SCHEMA, "notice": NOTICE, "partum": metadata.version("partum"), **asdict(self)}
        return (json.dumps(facts, allow_nan=False) + "\n").encode()


def read_plan(folder: Location) -> Plan | None:
    """The plan in a folder; None where there is none, or one of another version."""
    try:
        facts: dict[str, Any] = json.loads((folder / PLAN).read() or b"")
        if (facts["schema"], facts["partum"]) != (SCHEMA, metadata.version("partum")):
            return None
        parts = tuple(
            RecordingPart(
                begin=each["begin"],
                end=each["end"],
                before=each["before"],
                entry=_pair(each["entry"]),
                checksum=_pair(each["checksum"]),
            )
            for each in facts["parts"]
        )
        return Plan(parts=parts, error=facts["error"], note=facts["note"], warnings=tuple(facts["warnings"]))
    except (ValueError, LookupError, TypeError):
        return None


def clear_folder(folder: Location) -> None:
    """Removes the files in a folder, the plan first, as it tells of whole files; and a local folder itself."""
    entries = sorted(folder.entries(), key=lambda entry: entry.location.name != PLAN)
    for entry in entries:
        entry.location.remove()
    if folder.is_local:
        with suppress(OSError):
            Path(folder.path).rmdir()


def _pair(value: Any) -> tuple[int, int] | None:
    return (int(value[0]), int(value[1])) if value else None
