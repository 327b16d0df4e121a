"""The records of a finished run as columns: the cells of `measurements.csv`, typed, read from `measurements.jsonl`."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import RunUnreadable
from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import RECORD_FIELDS, RECORD_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.pipeline.record_field import RecordField

LEAST_FIELDS = frozenset({"schema", "index", "pts_s", "segment", "state", "reason", "protocol", "aop_deg"})
"""A record without one of these is none; others may be missing, where an earlier version did not know them yet."""
STATES = frozenset(map(str, FrameState))


class RunTable:
    """One row for each frame, in order; row i is frame i.

    Numbers are float64 with NaN where there is none, counts int64 with -1, everything else `str`, `bool` or None. An
    hour of 30 frames a second takes about 50 MB.

    Args:
        path: of `measurements.jsonl`.
        is_cut_off: whether a last line that was not written whole is left out; else it is an error.

    Raises:
        RunUnreadable: it is missing, of another version, or not what such a file is; says in which line.
    """

    def __init__(self, path: Path, *, is_cut_off: bool = False) -> None:
        self._path = path
        cells: dict[str, list[Any]] = {column: [] for field in RECORD_FIELDS for column in _columns(field)}
        self._offsets: list[int] = []
        for offset, line in _whole_lines(path, is_cut_off=is_cut_off):
            record = _parsed(line, path=path, number=len(self._offsets) + 1)
            self._offsets.append(offset)
            for field in RECORD_FIELDS:
                for column, cell in zip(_columns(field), _spread(field, record.get(field.name)), strict=True):
                    cells[column].append(sys.intern(cell) if isinstance(cell, str) else cell)
        numbers = {column for field in RECORD_FIELDS if field.is_number for column in _columns(field)}
        try:
            self._numbers = {column: np.array(cells.pop(column), np.float64) for column in numbers}
            counts = {column for field in RECORD_FIELDS if _is_count(field) for column in _columns(field)}
            self._counts = {
                column: np.array([-1 if cell is None else cell for cell in cells.pop(column)], np.int64)
                for column in counts
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise RunUnreadable(f"{path}: holds text where numbers belong ({error}); run it again") from error
        self._words = cells

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def path(self) -> Path:
        """Of the file that the rows were read from."""
        return self._path

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(N,) values of a column of `measurements.csv`; NaN where there is none. Raises KeyError for another name."""
        if column in self._counts:
            return self._counts[column].astype(np.float64)
        return self._numbers[column]

    def counts(self, column: str) -> NDArray[np.int64]:
        """(N,) values of `index`, `segment`, `origin_x_px`, `origin_y_px`. Raises KeyError for another name."""
        return self._counts[column]

    def words(self, column: str) -> list[Any]:
        """N values of a column of text or of yes and no; None where there is none. Raises KeyError likewise."""
        return self._words[column]

    def points(self, name: str) -> NDArray[np.float64]:
        """(N, 2) xy of a landmark (`ps_inferior`, `tangent`, ...) in pixels of the frame; NaN where there is none."""
        return np.stack([self._numbers[f"{name}_{axis}_px"] for axis in "xy"], axis=1)

    def is_in(self, state: FrameState) -> NDArray[np.bool_]:
        """(N,) whether each frame has this state."""
        return np.array([each == state for each in self._words["state"]], bool)

    def record(self, row: int) -> dict[str, Any]:
        """The record of a frame as it was written, read from the file again.

        Raises:
            IndexError: there is no such frame.
            RunUnreadable: the file has changed since.
        """
        offset = self._offsets[row]
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                line = file.readline()
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return _parsed(line, path=self._path, number=row + 1)


def _whole_lines(path: Path, *, is_cut_off: bool) -> Iterator[tuple[int, bytes]]:
    """Each line with its place in the file."""
    offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if is_cut_off:
                        return
                    raise RunUnreadable(f"{path}: its last line is not whole, so it was damaged or is still written")
                yield offset, line
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunUnreadable:
    return RunUnreadable(f"{path}: cannot be read ({error.strerror}); name the folder of a finished run")


def _parsed(line: bytes, *, path: Path, number: int) -> dict[str, Any]:
    """A line as a record of frame `number - 1`."""
    try:
        record = json.loads(line, parse_constant=_refused)
        if not isinstance(record, dict):
            raise ValueError("it is no object")
        check_schema(record.get("schema"), RECORD_SCHEMA)
        if missing := sorted(LEAST_FIELDS - record.keys()):
            raise ValueError(f"{missing[0]} is missing")
        if record["index"] != number - 1 or isinstance(record["index"], bool):
            raise ValueError(f"index is {record['index']!r}, not {number - 1}")
        if record["state"] not in STATES:
            raise ValueError(f"state is {record['state']!r}")
        if not isinstance(record["pts_s"], (int, float)) or not math.isfinite(record["pts_s"]):
            raise ValueError(f"pts_s is {record['pts_s']!r}")
    except (ValueError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise RunUnreadable(f"{path}: line {number} is no record of a frame ({said})") from error
    return record


def check_schema(found: object, known: str) -> None:
    """Refuses a form of another version, and what has none.

    Raises:
        ValueError: says which.
    """
    if found != known:
        said = f"its form is {found!r}, and {known!r} is known" if isinstance(found, str) else "it has no schema"
        raise ValueError(f"{said}; replay the recording with this version")


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _columns(field: RecordField) -> tuple[str, ...]:
    return field.columns or (field.name,)


def _spread(field: RecordField, value: object) -> list[object]:
    """The cells of a value; of a list or object that has not the cells it should have, as far as it has them."""
    if not field.columns:
        return [value]
    try:
        cells = list(field.spread(value))
    except (TypeError, AttributeError):
        cells = []
    return cells if len(cells) == len(field.columns) else [None] * len(field.columns)


def _is_count(field: RecordField) -> bool:
    return "integer" in repr(field.form.get("type")) or "integer" in repr(field.form.get("items"))
