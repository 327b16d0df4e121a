"""Marks added to a finished run: from the review page, the command line, or a file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import OptionError
from stream.labour.recorded_run import MARKS
from stream.outputs.marks import MarkFile, MarkKind, parse_kind
from stream.outputs.run_log import log_file_change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.labour.recorded_run import RecordedRun
    from stream.labour.time_axis import TimeAxis

COLUMNS = ("time_s", "kind", "note")
FORM = f"give a CSV file with the columns {', '.join(COLUMNS)} (kind and note may be missing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedMark:
    """A mark as a person gives it.

    Attributes:
        time_s: seconds from the first frame, as report and review count them.
        kind: what is marked.
        note: words, or "".
    """

    time_s: float
    kind: MarkKind = MarkKind.MARK
    note: str = ""


def read_marks(path: Path) -> Sequence[TypedMark]:
    """The marks of a CSV file.

    Raises:
        OptionError: it is not such a file; says in which line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "time_s" not in (reader.fieldnames or ()):
                raise OptionError(f"{path}: has no column time_s; {FORM}")
            return [_parsed(row, f"{path}: line {reader.line_num}") for row in reader]
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror}); {FORM}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path}: is no table of text ({error}); {FORM}") from error


def _parsed(row: dict[str, Any], where: str) -> TypedMark:
    try:
        time_s = float(row["time_s"] or "")
    except ValueError:
        raise OptionError(f"{where}: {row['time_s']!r} is no time in seconds") from None
    try:
        kind = parse_kind((row.get("kind") or MarkKind.MARK).strip())
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error
    return TypedMark(time_s=time_s, kind=kind, note=row.get("note") or "")


def frame_at(axis: TimeAxis, time_s: float) -> int:
    """The frame that is shown at a time: the last that began by then.

    Raises:
        OptionError: the run has no such time.
    """
    if not len(axis.time_s):
        raise OptionError("the run has no frame, so there is nothing to mark")
    if not 0 <= time_s <= axis.end_s + 1.0:
        raise OptionError(f"{time_s:g} s lies outside of the run; give a time from 0 to {axis.end_s:.1f} s")
    return max(0, int(np.searchsorted(axis.time_s, time_s + 1e-6, side="right")) - 1)


def add_marks(run: RecordedRun, axis: TimeAxis, marks: Sequence[TypedMark], *, by: str) -> Sequence[dict[str, object]]:
    """Adds marks to `marks.jsonl` of a run, all or none; returns their lines.

    Args:
        run: finished.
        axis: its time.
        marks: to add.
        by: who, or what, sets them.

    Raises:
        OptionError: a time lies outside of the run.
        OutputError: the file cannot be written.
        RunUnreadable: the marks that are there cannot be read.
    """
    rows = [frame_at(axis, mark.time_s) for mark in marks]
    file = MarkFile(run.folder / MARKS, count=len(run.read_marks()))
    try:
        return [
            file.add_at(run.table.record(row), mark.kind, note=mark.note, by=by)
            for row, mark in zip(rows, marks, strict=True)
        ]
    finally:
        file.close()
        log_file_change(run.folder, MARKS)
