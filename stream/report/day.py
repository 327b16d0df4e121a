"""Several runs together: the progress of AoP from one recording to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from stream.common.errors import OptionError
from stream.common.text import to_printable
from stream.labour.trend import fit_trend
from stream.report.charts import DayPoint, draw_day
from stream.report.content import trend_value
from stream.report.values import moment, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.report.content import Part, RunContent


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """A run and when it was scanned; None where nobody said so."""

    run: RunContent
    at: datetime | None


def timed_runs(runs: Sequence[RunContent], times: Sequence[str], *, made: datetime) -> Sequence[TimedRun]:
    """Runs with the times of day at which they were scanned, in the order of those where all are known.

    Args:
        runs: as named.
        times: as given, one for each; none takes those that live runs know.
        made: now; a time without a date is of that day.

    Raises:
        OptionError: a time does not read as one, or there are fewer or more of them than runs.
    """
    if times and len(times) != len(runs):
        raise OptionError(f"--at: given {len(times)} times for {len(runs)} runs; give it once for each, in their order")
    known: list[datetime | None] = [_moment(text, made) for text in times]
    known = known or [run.run.started.astimezone(made.tzinfo) if run.run.is_live else None for run in runs]
    timed = [TimedRun(run=run, at=at) for run, at in zip(runs, known, strict=True)]
    if any(each.at is None for each in timed):
        return timed
    return sorted(timed, key=lambda each: each.at or made)


def _moment(text: str, made: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(f"{made.date()}T{text}" if "T" not in text and "-" not in text else text)
    except ValueError as error:
        raise OptionError(f"--at {text}: give a time such as 08:10 or 2026-11-26T08:10") from error
    return at if at.tzinfo else at.replace(tzinfo=made.tzinfo)


def day_section(timed: Sequence[TimedRun]) -> dict[str, Any]:
    """What the template shows of several runs, each part of one in a row of its own."""
    has_times = all(each.at is not None for each in timed)
    rows, points = [], []
    for number, each in enumerate(timed, 1):
        parts = each.run.parts
        for count, part in enumerate(parts, 1):
            name = to_printable(each.run.name) + (f", part {count}" if len(parts) > 1 else "")
            row = _row(each, part, number, name)
            rows.append(row)
            label = str(number) if len(parts) == 1 else f"{number}.{count}"
            points.append(DayPoint(at=row.pop("begins"), label=label, rest=row["rest"], peak=row["peak"]))
        if not parts:
            rows.append(_empty_row(each, number))
    notes = ["Partum does not know whose recordings these are: that they show one patient is the reader's to know."]
    if not has_times:
        notes.append("When these recordings were scanned is not known; they are shown in the order given (see --at).")
    for number, each in enumerate(timed, 1):
        said = (each.run.changes, each.run.run.made_note)
        notes += [f"Recording {number}: {to_printable(words)}." for words in said if words]
    is_whole = has_times and all(len(each.run.parts) < 2 for each in timed)  # else it may go over a cut
    trend = fit_trend(
        [
            each.run.rest_course(part, start_s=(each.at - timed[0].at).total_seconds())
            for each in timed
            for part in each.run.parts
            if each.at is not None and timed[0].at is not None
        ]
    )
    return {
        "count": len(timed),
        "slope": trend_value(trend) if trend and is_whole else None,
        "lines": _lines(timed) if has_times else ["times of day not known"],
        "notes": notes,
        "rows": rows,
        "chart": draw_day(points, _words(points), has_times=has_times, is_joined=is_whole) if points else None,
        "has_times": has_times,
    }


def _lines(timed: Sequence[TimedRun]) -> Sequence[str]:
    first, last = timed[0].at, timed[-1].at
    assert first is not None
    assert last is not None
    return [f"{moment(first)} to {moment(last)}"]


def _row(each: TimedRun, part: Part, number: int, name: str) -> dict[str, Any]:
    run = each.run
    begins = None if each.at is None else each.at + timedelta(seconds=float(run.axis.time_s[part.rows[0]]))
    measured, total = run.measured_share(part.rows)
    return {
        "number": number,
        "name": name,
        "time": "" if begins is None else begins.strftime("%H:%M"),
        "measured": percent(measured, total),
        "rest": run.rest(part),
        "peak": run.peak(part),
        "hsd": run.hsd(part),
        "pushes": len(part.pushes),
        "begins": begins,
    }


def _empty_row(each: TimedRun, number: int) -> dict[str, Any]:
    time = "" if each.at is None else each.at.strftime("%H:%M")
    nothing = dict.fromkeys(("rest", "peak", "hsd"))
    return {
        "number": number,
        "name": to_printable(each.run.name),
        "time": time,
        "measured": "no frame",
        "pushes": 0,
        **nothing,
    }


def _words(points: Sequence[DayPoint]) -> str:
    rests = [point.rest.shown(0) for point in points if point.rest]
    return f"Chart of AoP at rest over {len(points)} recordings: {', '.join(rests) or 'nothing was measured'}"
