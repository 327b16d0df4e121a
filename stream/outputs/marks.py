"""`marks.jsonl`: moments that people marked, one line each: on the web page, in review, or by a file.

    {"schema": "partum.mark/1", "mark": 2, "marked_utc": "2026-11-26T09:12:40+00:00", "kind": "push_start",
     "note": null, "by": "web page", "index": 812, "pts_s": 27.066667, "segment": 0, "state": "measured",
     "reason": null, "aop_deg": 118.2, "aop_extrapolated_deg": null}

`index` is the line in `measurements.jsonl` that was newest, or shown, when the mark was set.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from stream.common.errors import OptionError
from stream.common.text import did_you_mean
from stream.outputs.manifest import now_utc
from stream.outputs.tables import LineWriter
from stream.pipeline.record_fields import record_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream.pipeline.record import Measurement

MARK_SCHEMA = "partum.mark/1"
FIELDS = ("index", "pts_s", "segment", "state", "reason", "aop_deg", "aop_extrapolated_deg")
"""Of the result's own record."""
LONGEST_NOTE = 200
"""Letters of a note, and of a name."""
WEB_PAGE = "web page"


class MarkKind(StrEnum):
    """What is marked. The values are the codes written to files; a line without one is a `MARK`."""

    MARK = "mark"
    PUSH_START = "push_start"
    PUSH_END = "push_end"
    NOTE = "note"

    @property
    def text(self) -> str:
        """For people."""
        return str(self).replace("_", " ").replace("push start", "push starts").replace("push end", "push ends")


def parse_kind(word: str) -> MarkKind:
    """The kind of that code.

    Raises:
        OptionError: there is none.
    """
    try:
        return MarkKind(word)
    except ValueError:
        known = [str(kind) for kind in MarkKind]
        raise OptionError(
            f"{word!r} is no kind of mark; choose one of: {', '.join(known)}.{did_you_mean(word, known)}"
        ) from None


def plain_text(text: str) -> str | None:
    """What a person typed as one line without control characters, cut to `LONGEST_NOTE`; None where nothing is left."""
    kept = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return kept[:LONGEST_NOTE] or None


class MarkSink(Protocol):
    """What keeps a viewer's marks."""

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        """Raises OutputError where it cannot be kept."""

    def close(self) -> None: ...


class MarkFile:
    """Made with the first mark: a run without any has no such file.

    Args:
        path: of the file.
        count: marks that it has already; new ones are added behind them.
    """

    def __init__(self, path: Path, *, count: int = 0) -> None:
        self._path = path
        self._lines: LineWriter | None = None
        self._count = count

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        """Adds a viewer's mark at a result.

        Raises:
            OutputError: it cannot be written.
        """
        self.add_at(record_of(measurement), kind, note=note, by=WEB_PAGE)

    def add_at(self, record: Mapping[str, object], kind: MarkKind, *, note: str, by: str) -> dict[str, object]:
        """Adds a mark at a frame's record; returns the line.

        Raises:
            OutputError: it cannot be written.
        """
        self._lines = self._lines or LineWriter(self._path, append=self._count > 0)
        line: dict[str, object] = {"schema": MARK_SCHEMA, "mark": self._count + 1, "marked_utc": now_utc()}
        line |= {"kind": str(kind), "note": plain_text(note), "by": plain_text(by)}
        line |= {name: record.get(name) for name in FIELDS}
        self._lines.add(json.dumps(line, allow_nan=False) + "\n")
        self._count += 1
        return line

    def close(self) -> None:
        """Closing twice is harmless."""
        if self._lines is not None:
            self._lines.close()
