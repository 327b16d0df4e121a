"""Marks of a finished run: those added from the review page, the command line or a file; the pushes that they make."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.csv_cells import unmarked
from stream.common.errors import OptionError
from stream.labour.pushes import MarkedSpan
from stream.labour.recorded_run import MARKS
from stream.outputs.marks import MarkFile, MarkKind, parse_kind
from stream.outputs.run_log import log_file_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        OptionError: it is not such a file, or holds no mark; says in which line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "time_s" not in (reader.fieldnames or ()):
                raise OptionError(f"{path}: has no column time_s; {FORM}")
            marks = [_parsed(row, f"{path}: line {reader.line_num}") for row in reader]
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror}); {FORM}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path}: is no table of text ({error}); {FORM}") from error
    if not marks:
        raise OptionError(f"{path}: holds no mark; give a line for each below the names of the columns")
    return marks


def _parsed(row: dict[str, Any], where: str) -> TypedMark:
    try:
        time_s = float(row["time_s"] or "")
    except ValueError:
        raise OptionError(f"{where}: {row['time_s']!r} is no time in seconds") from None
    try:
        kind = parse_kind((row.get("kind") or MarkKind.MARK).strip())
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error
    return TypedMark(time_s=time_s, kind=kind, note=unmarked(row.get("note") or ""))


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
        OptionError: a time lies outside of the run, or an end of a push would have no start.
        OutputError: the file cannot be written.
        RunUnreadable: the marks that are there cannot be read.
    """
    records = [run.table.record(frame_at(axis, mark.time_s)) for mark in marks]
    there = run.read_marks()
    new = [
        {"mark": number, "kind": mark.kind, **{name: record[name] for name in ("pts_s", "segment")}}
        for number, (mark, record) in enumerate(zip(marks, records, strict=True), len(there) + 1)
    ]
    _check_ends(there, new, axis)
    file = MarkFile(run.folder / MARKS, count=len(there))
    try:
        return [
            file.add_at(record, mark.kind, note=mark.note, by=by) for record, mark in zip(records, marks, strict=True)
        ]
    finally:
        file.close()
        log_file_change(run.folder, MARKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPushes:
    """What the marks of a run say of its pushes.

    Attributes:
        spans: start and end of each.
        lone: by their numbers, marks of a start or an end that make no push, and why, for people.
    """

    spans: Sequence[MarkedSpan]
    lone: Mapping[int, str]


def marked_pushes(marks: Sequence[Mapping[str, Any]]) -> MarkedPushes:
    """The pushes that marks make, whatever the order in which they were set.

    Convention: a start and the next end after it, in one segment, are a push where no other start lies between. Of two
    starts without an end between them the later holds: so a start that was set too early is mended by another. What is
    left over makes no push.
    """
    spans: list[MarkedSpan] = []
    lone: dict[int, str] = {}
    of_pushes = [mark for mark in marks if mark.get("kind") in (MarkKind.PUSH_START, MarkKind.PUSH_END)]
    for segment in dict.fromkeys(mark["segment"] for mark in of_pushes):
        begun: Mapping[str, Any] | None = None
        inside = [mark for mark in of_pushes if mark["segment"] == segment]
        for mark in sorted(inside, key=lambda mark: (mark["pts_s"], mark["mark"])):
            if mark["kind"] == MarkKind.PUSH_START:
                if begun is not None:
                    lone[begun["mark"]] = "another start follows before an end"
                begun = mark
            elif begun is None or begun["pts_s"] >= mark["pts_s"]:
                lone[mark["mark"]] = "no start before it"
            else:
                by = begun.get("by")
                spans.append(MarkedSpan(start_s=begun["pts_s"], end_s=mark["pts_s"], segment=segment, by=by))
                begun = None
        if begun is not None:
            lone[begun["mark"]] = "no end after it"
    return MarkedPushes(spans=spans, lone=lone)


def _check_ends(there: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], axis: TimeAxis) -> None:
    """Refuses marks that leave an end without a start, which nothing that is added later would mend.

    Raises:
        OptionError: says which.
    """
    known, lone = marked_pushes(there).lone, marked_pushes([*there, *new]).lone
    wrong = [mark for mark in (*there, *new) if mark["kind"] == MarkKind.PUSH_END and mark["mark"] in lone]
    for mark in wrong:
        if mark["mark"] not in known:
            raise OptionError(
                f"the end of a push at {axis.of(mark['pts_s'], mark['segment']):.1f} s would have no start of its own;"
                " mark the start of that push first"
            )
