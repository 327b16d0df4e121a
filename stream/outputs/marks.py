"""`marks.jsonl`: moments that viewers of the web page marked, one line each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stream.outputs.manifest import now_utc
from stream.outputs.tables import LineWriter
from stream.pipeline.record_fields import record_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream.pipeline.record import Measurement

MARK_SCHEMA = "partum.mark/1"
FIELDS = ("index", "pts_s", "segment", "state", "reason", "aop_deg", "aop_extrapolated_deg")
"""Of the result's own record."""


class MarkFile:
    """Made with the first mark: a run without any has no such file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: LineWriter | None = None
        self._count = 0

    def add(self, measurement: Measurement) -> None:
        """Adds a mark at a result; `index` is that of its line in `measurements.jsonl`.

        Raises:
            OutputError: it cannot be written.
        """
        self._lines = self._lines or LineWriter(self._path)
        record = record_of(measurement)
        line = {"schema": MARK_SCHEMA, "mark": self._count + 1, "marked_utc": now_utc()}
        line |= {name: record[name] for name in FIELDS}
        self._lines.add(json.dumps(line, allow_nan=False) + "\n")
        self._count += 1

    def close(self) -> None:
        """Closing twice is harmless."""
        if self._lines is not None:
            self._lines.close()
