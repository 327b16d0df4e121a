"""Runs as tidy tables for R and pandas: a row for each frame, or for each push; the runs of a day in one table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stream.common.atomic_file import write_error
from stream.common.csv_cells import csv_line
from stream.exports.summary import run_id_of
from stream.exports.verification import changes_of
from stream.labour.course import aop_course, run_noise, run_pushes
from stream.labour.edits import edits_in_force
from stream.outputs.run_log import configuration_sha256
from stream.tracking.tracker import EstimateStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stream.labour.pushes import Push
    from stream.labour.recorded_run import RecordedRun

    Row = dict[str, Any]

BOUNDS = ("", "_lo95", "_hi95", "_absolute_lo95", "_absolute_hi95")
TRACKED = (("aop", "deg"), ("hsd_min", "px"), ("hsd_min", "mm"), ("hsd_perp", "px"), ("hsd_perp", "mm"))
"""Quantities that are followed over time."""
KINDS = {"predicted": EstimateStatus.PREDICTED, "held": EstimateStatus.HELD}
DIGITS = 6


def write_frames(runs: Sequence[RecordedRun], path: Path) -> int:
    """Writes a row for each frame of each run; returns how many.

    A value in `aop_deg` rests on that frame's own reading. One that was predicted or held stands in columns of its own,
    `aop_predicted_deg` and `aop_held_deg`. A cell without a value is empty; yes and no are `true` and `false`.

    Raises:
        OutputError: it cannot be written.
    """
    return _write(path, FRAME_COLUMNS, (row for run in runs for row in frame_rows(run)))


def write_pushes(runs: Sequence[RecordedRun], path: Path) -> int:
    """Writes a row for each push of each run; returns how many. A run without one has no row.

    Raises:
        OutputError: it cannot be written.
    """
    return _write(path, PUSH_COLUMNS, (row for run in runs for row in push_rows(run)))


def frame_rows(run: RecordedRun) -> Iterator[Row]:
    """The rows of a run's frames, with the columns of `FRAME_COLUMNS`; None where there is no value."""
    table, course, edits = run.table, aop_course(run.table, noise=run_noise(run)), edits_in_force(run)
    pushes, facts = run_pushes(run, course), _facts(run)
    marks: dict[int, list[str]] = {}
    for mark in run.marks:
        marks.setdefault(int(mark["index"]), []).append(str(mark.get("kind") or "mark"))
    copied = {name: _getter(run, name) for name in COPIED}
    tracked = {(stem, unit): _tracked(run, stem, unit) for stem, unit in TRACKED}
    for row in range(len(run)):
        time_s, segment = float(table.numbers("pts_s")[row]), int(table.counts("segment")[row])
        number = next((n for n, push in enumerate(pushes, 1) if _holds(push, time_s, segment)), None)
        values: Row = facts | {name: get(row) for name, get in copied.items()}
        values["push"] = number
        values["mark"] = " ".join(marks.get(row, ())) or None
        for get in tracked.values():
            values |= get(row)
        for name, series in (("", course.value), ("_lo95", course.lo95), ("_hi95", course.hi95)):
            values[f"aop_smoothed{name}_deg"] = _finite(float(series[row]))
        yield values | _edited(edits.get(row))


def _edited(edit: Mapping[str, Any] | None) -> Row:
    """What a reviewer said of a frame, beside its automatic values; empty where nobody said anything."""
    if edit is None:
        return dict.fromkeys(EDITED)
    numbers = {f"{stem}_edited_{unit}": edit["values"].get(f"{stem}_{unit}") for stem, unit in TRACKED}
    said = {"edit": edit["kind"], "edited_by": edit["by"], "edited_utc": edit["edited_utc"]}
    return said | {"edit_reason": edit.get("reason"), "edit_note": edit.get("note")} | numbers


def push_rows(run: RecordedRun) -> Iterator[Row]:
    """The rows of a run's pushes, with the columns of `PUSH_COLUMNS`."""
    facts, course = _facts(run), aop_course(run.table, noise=run_noise(run))
    for number, push in enumerate(run_pushes(run, course), 1):
        marked, found = push.marked, push.found_s if push.marked else (push.start_s, push.end_s)
        values: Row = dict.fromkeys(PUSH_COLUMNS) | facts
        values |= {"push": number, "segment": push.segment, "start_s": push.start_s, "end_s": push.end_s}
        values |= {"origin": "marked" if marked else "found", "marked_by": marked.by if marked else None}
        if found:
            values |= {"found_start_s": found[0], "found_end_s": found[1]}
        for name, level in {"rest": push.rest, "peak": push.peak, "difference": push.difference}.items():
            if level:
                bounds = (level.value, level.lo95, level.hi95, *(level.absolute or (None, None)))
                values |= {f"{name}{bound}_deg": value for bound, value in zip(BOUNDS, bounds, strict=True)}
        yield values | {"best_index": push.best_row, "measured": push.measured, "is_whole": push.is_whole}


COPIED = (
    *("index", "pts_s", "segment", "segment_cause", "state", "reason", "protocol", "plane_probability", "quality"),
    *("track", "track_age_s", "aop_raw_deg", "aop_raw_absolute_lo95_deg", "aop_raw_absolute_hi95_deg"),
    *("hsd_min_raw_px", "hsd_min_raw_mm", "hsd_perp_raw_px", "hsd_perp_raw_mm"),
    *("mirrored", "spacing_x_mm", "spacing_y_mm"),
)
"""Columns that are as in `measurements.csv`."""
OF_RUN = ("run", "started_utc", "model_sha256", "configuration_sha256", "is_changed")
EDITED = (
    *("edit", "edited_by", "edited_utc", "edit_reason", "edit_note"),
    *(f"{stem}_edited_{unit}" for stem, unit in TRACKED),
)
"""Columns of what a reviewer did."""


def _columns_tracked(stem: str, unit: str) -> Iterator[str]:
    for kind in ("", "_predicted", "_held"):
        for bound in BOUNDS if stem == "aop" else BOUNDS[:3]:
            yield f"{stem}{kind}{bound}_{unit}"


FRAME_COLUMNS = (
    *OF_RUN,
    *COPIED,
    *("push", "mark"),
    *(column for stem, unit in TRACKED for column in _columns_tracked(stem, unit)),
    *("aop_smoothed_deg", "aop_smoothed_lo95_deg", "aop_smoothed_hi95_deg"),
    *EDITED,
)
PUSH_COLUMNS = (
    *OF_RUN,
    *("push", "segment", "start_s", "end_s", "origin", "marked_by", "found_start_s", "found_end_s"),
    *(f"{name}{bound}_deg" for name in ("rest", "peak", "difference") for bound in BOUNDS),
    *("best_index", "measured", "is_whole"),
)


def _tracked(run: RecordedRun, stem: str, unit: str) -> Callable[[int], Row]:
    """What gives the tracked values of a frame: measured, predicted and held, each in columns of its own."""
    status = run.table.words("track" if stem == "aop" else f"{stem}_track")
    bounds = BOUNDS if stem == "aop" else BOUNDS[:3]
    own = {bound: run.table.numbers(f"{stem}{bound}_{unit}") for bound in bounds}
    others = {bound: run.table.numbers(f"{stem}_extrapolated{bound}_{unit}") for bound in bounds}

    def values(row: int) -> Row:
        found = {f"{stem}{bound}_{unit}": _finite(float(series[row])) for bound, series in own.items()}
        for kind, code in KINDS.items():
            for bound, series in others.items():
                value = _finite(float(series[row])) if status[row] == code else None
                found[f"{stem}_{kind}{bound}_{unit}"] = value
        return found

    return values


def _getter(run: RecordedRun, name: str) -> Callable[[int], Any]:
    """What gives a cell of a column of `measurements.csv`."""
    table = run.table
    if name in ("index", "segment"):
        return lambda row: int(table.counts(name)[row])
    try:
        series = table.numbers(name)
    except KeyError:
        return lambda row: table.words(name)[row]
    return lambda row: _finite(float(series[row]))


def _holds(push: Push, time_s: float, segment: int) -> bool:
    return push.segment == segment and push.start_s <= time_s <= push.end_s


def _facts(run: RecordedRun) -> Row:
    return {
        "run": run_id_of(run),
        "started_utc": run.manifest["started_utc"],
        "model_sha256": run.model.get("sha256"),
        "configuration_sha256": configuration_sha256(run.manifest),
        "is_changed": bool(changes_of(run.folder)),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _write(path: Path, columns: Sequence[str], rows: Iterator[Row]) -> int:
    count = 0
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            file.write(csv_line(columns))
            for row in rows:
                file.write(csv_line(_cell(row.get(name)) for name in columns))
                count += 1
    except OSError as error:
        raise write_error(path, error) from error
    return count


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return round(value, DIGITS) if isinstance(value, float) else value
