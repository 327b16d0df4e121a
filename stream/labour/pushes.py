"""Pushes and rest, found from the smoothed course of AoP itself, or between times that a person marked.

A push is a rise of AoP above the rest just before it, and its fall. Its peak is the 95th percentile of the smoothed
course between start and end, never a maximum of single readings, which only says how wrong the worst one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from stream.tracking.smoother import SmoothedCourse

    Series = NDArray[np.float64]

PEAK_PERCENTILE = 95.0
"""Of the smoothed course within a push: what is called its peak."""
REST_S = 6.0
"""The rest of a push is the mean of the smoothed course over so long before it, or after it where too little is."""
LEAST_RISE_DEG = 7.0
"""A push rises by so much at least, from rest to peak."""
LEAST_PUSH_S, MOST_PUSH_S = 2.0, 30.0
"""A push lasts so long, at half its height. What stays up longer is another rest, or another view."""
EDGE_SHARE = 0.2
"""A push starts and ends where the course passes this share of its height."""
BRIDGE_S = 5.0
"""A gap in the course that is no longer does not end a push."""
FALL_S = 5.0
"""After half of a push has gone, the course is back at rest within so long."""
TRIGGER_DEG = 5.0
"""A rise of the course by so much is looked at."""
SUREST = 3.5
"""A push rises by so many of its own deviations at least."""
LOW_S = 8.0
"""A rise is looked for above the lowest value of so long before it; a slower one is no push."""
_STEP_S, _SMOOTH_S = 0.1, 1.0  # grid on which pushes are looked for, and the mean over which small waves vanish
_ERROR_LASTS_S = 0.7  # errors of the smoothed course are alike for about so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A value in degrees with its 95 % intervals.

    Attributes:
        lo95, hi95: of repeatability: what the same scan would give again.
        absolute: where an expert would put it; None where it is not known.
    """

    value: float
    lo95: float
    hi95: float
    absolute: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedSpan:
    """A push as a person marked it: its start and its end, on the clock of a segment's frames.

    Attributes:
        by: who marked its start; None where nobody said so.
    """

    start_s: float
    end_s: float
    segment: int
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One push.

    Attributes:
        start_s, end_s: where the course leaves the rest, and is back at it (`EDGE_SHARE`), or as marked; on the clock
            of the course.
        rest: AoP before it; None of a marked push where no frame was measured near it.
        peak: `PEAK_PERCENTILE` of the smoothed course from start to end; None likewise.
        difference: peak less rest.
        best_row: row of the course of its best frame: of those whose value lies in the peak's interval the one with
            the best reading; None where no frame there was measured.
        measured: frames in it whose reading was accepted.
        is_whole: it was seen from rest to rest: not cut by the recording's start or end, or a long gap.
        segment: of the frames.
        marked: the marks that its times are of; None of one that was found in the course.
        found_s: of a marked one, start and end of what was found in the course there; None where nothing was.
    """

    start_s: float
    end_s: float
    rest: Level | None
    peak: Level | None
    difference: Level | None
    best_row: int | None
    measured: int
    is_whole: bool
    segment: int
    marked: MarkedSpan | None = None
    found_s: tuple[float, float] | None = None

    @property
    def duration_s(self) -> float:
        """From start to end."""
        return self.end_s - self.start_s


def find_pushes(course: SmoothedCourse, *, quality: Series | None = None) -> list[Push]:
    """Finds the pushes of a recording, in the order of its frames; none where there is no course.

    Args:
        course: of AoP in degrees (`stream.tracking.smoother.smooth_course`).
        quality: (N,) 0 to 1 of each frame's reading, for the choice of the best frame; None takes the surest frame.
    """
    pushes: list[Push] = []
    for rows in _runs(course):
        times, values = _grid(course.t_s[rows], course.value[rows])
        free_s = float(times[0])
        for up, down, is_ended in _rises(values):
            piece = _Piece(course, rows, times, values)
            push = piece.push(up, down, free_s=free_s, is_ended=is_ended, quality=quality)
            if push is not None:
                pushes.append(push)
                free_s = push.end_s
    return pushes


def with_marked(
    found: Sequence[Push], spans: Sequence[MarkedSpan], course: SmoothedCourse, *, quality: Series | None = None
) -> list[Push]:
    """All pushes of a recording in order: those that were marked, and those that were found where none was marked.

    A push that was found within a marked one is the same: the times are then those of the marks, its levels are taken
    between them, and what was found stays beside them (`Push.found_s`).

    Args:
        found: by `find_pushes`.
        spans: that were marked; they do not overlap.
        course: both lie in.
        quality: as of `find_pushes`.
    """
    pushes = [push for push in found if not any(_overlap(push, span) for span in spans)]
    for span in spans:
        same = [push for push in found if _overlap(push, span)]
        before = [each.end_s for each in spans if each.segment == span.segment and each.end_s <= span.start_s]
        before += [each.end_s for each in pushes if each.segment == span.segment and each.end_s <= span.start_s]
        push = _of_span(course, span, free_s=max(before, default=-math.inf), quality=quality)
        found_s = (min(each.start_s for each in same), max(each.end_s for each in same)) if same else None
        pushes.append(replace(push, found_s=found_s))
    order = {int(number): place for place, number in enumerate(dict.fromkeys(course.segment.tolist()))}
    return sorted(pushes, key=lambda push: (order.get(push.segment, len(order)), push.start_s))


def _overlap(push: Push, span: MarkedSpan) -> bool:
    return push.segment == span.segment and push.start_s < span.end_s and span.start_s < push.end_s


def _of_span(course: SmoothedCourse, span: MarkedSpan, *, free_s: float, quality: Series | None) -> Push:
    """A marked push: its levels by the stretch of the course that covers most of it; none where no stretch does."""

    def covered_s(rows: NDArray[np.intp]) -> float:
        return float(min(course.t_s[rows[-1]], span.end_s) - max(course.t_s[rows[0]], span.start_s))

    runs = [rows for rows in _runs(course) if course.segment[rows[0]] == span.segment]
    rows = max(runs, key=covered_s, default=None)
    if rows is None or covered_s(rows) <= 0:
        levels: dict[str, Any] = {"rest": None, "peak": None, "difference": None, "best_row": None, "measured": 0}
        is_whole = False
    else:
        piece = _Piece(course, rows, *_grid(course.t_s[rows], course.value[rows]))
        levels = piece.levels(span.start_s, span.end_s, free_s=free_s, quality=quality)
        is_whole = bool(course.t_s[rows[0]] <= span.start_s and span.end_s <= course.t_s[rows[-1]])
    return Push(start_s=span.start_s, end_s=span.end_s, segment=span.segment, marked=span, is_whole=is_whole, **levels)


def resting(course: SmoothedCourse, pushes: Sequence[Push]) -> NDArray[np.bool_]:
    """Which frames of the course lie outside every push, with a value: (N,)."""
    rest = np.isfinite(course.value)
    for push in pushes:
        rest &= (course.t_s < push.start_s) | (course.t_s > push.end_s) | (course.segment != push.segment)
    return rest


def _runs(course: SmoothedCourse) -> Iterator[NDArray[np.intp]]:
    """Rows of frames with a value, of one segment, without a gap longer than `BRIDGE_S`."""
    for number in dict.fromkeys(course.segment.tolist()):
        rows = np.flatnonzero((course.segment == number) & np.isfinite(course.value))
        for run in np.split(rows, np.flatnonzero(np.diff(course.t_s[rows]) > BRIDGE_S) + 1):
            if len(run) > 1 and course.t_s[run[-1]] - course.t_s[run[0]] > LEAST_PUSH_S:
                yield run


def _grid(t_s: Series, value: Series) -> tuple[Series, Series]:
    """The course on an even grid, as a mean over `_SMOOTH_S`."""
    times = np.arange(t_s[0], t_s[-1], _STEP_S)
    return times, _moving_mean(np.interp(times, t_s, value), round(_SMOOTH_S / _STEP_S))


def _moving_mean(values: Series, width: int) -> Series:
    width |= 1
    padded = np.pad(values, width // 2, mode="edge")
    mean: Series = np.convolve(padded, np.full(width, 1 / width), "valid")
    return mean


def _rises(values: Series) -> Iterator[tuple[int, int, bool]]:
    """Rises above the lowest value of the last `LOW_S`, each up to where half of it has gone again.

    Yields the first and the last place of the grid above half its height, and whether it came down again.
    """
    most, window, row, begin = round(MOST_PUSH_S / _STEP_S), round(LOW_S / _STEP_S), 0, 0
    while row < len(values):
        first = max(begin, row - window)
        foot = first + int(values[first : row + 1].argmin())
        if values[row] - values[foot] < TRIGGER_DEG:
            row += 1
            continue
        low, top, down = float(values[foot]), row, row
        while down < len(values) and values[down] > (low + values[top]) / 2 and down - row <= most + window:
            top = down if values[down] > values[top] else top
            down += 1
        up = foot + int(np.flatnonzero(values[foot : top + 1] <= (low + values[top]) / 2)[-1]) + 1
        if down - up <= most:
            yield up, down - 1, down < len(values)
        begin = row = down


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A run of frames of a course: their rows, and the same on the grid."""

    course: SmoothedCourse
    rows: NDArray[np.intp]
    times: Series
    values: Series

    def push(self, up: int, down: int, *, free_s: float, is_ended: bool, quality: Series | None) -> Push | None:
        """The push that is above half its height from `up` to `down` on the grid; None where it is none."""
        if self.times[down] - self.times[up] < LEAST_PUSH_S:
            return None
        top = float(np.median(self.values[up : down + 1]))
        start, end = self._start(up, top, free_s), self._end(down, top)
        rest = self._rest(start, end, free_s)
        peak = self._peak(start, end, up, down)
        if rest is None:
            return None
        difference = peak[0] - rest[0], math.hypot(peak[1], rest[1])
        if difference[0] < LEAST_RISE_DEG or top - rest[0] < SUREST * difference[1]:
            return None
        best, measured = self._best(start, end, peak, quality)
        return Push(
            start_s=start,
            end_s=end,
            rest=_bounded(*rest),
            peak=_bounded(*peak),
            difference=_bounded(*difference),
            best_row=best,
            measured=measured,
            is_whole=is_ended,
            segment=int(self.course.segment[self.rows[0]]),
        )

    def levels(self, start: float, end: float, *, free_s: float, quality: Series | None) -> dict[str, Any]:
        """Levels, best frame and measured frames between two times, whatever the course does there."""
        rest, peak, difference = self._rest(start, end, free_s), None, None
        inside = np.flatnonzero((self.times >= start) & (self.times <= end))
        if len(inside) and len(self._between(start, end)):
            values = self.values[inside]
            low = min(rest[0], float(values.max())) if rest else float(values.min())
            high = inside[values >= (low + values.max()) / 2]
            peak = self._peak(start, end, int(high[0]), int(high[-1]))
        if rest and peak:
            difference = peak[0] - rest[0], math.hypot(peak[1], rest[1])
        best, measured = self._best(start, end, peak, quality) if peak else (None, 0)
        return {
            "rest": rest and _bounded(*rest),
            "peak": peak and _bounded(*peak),
            "difference": difference and _bounded(*difference),
            "best_row": best,
            "measured": measured,
        }

    def _start(self, up: int, top: float, free_s: float) -> float:
        """Where the course leaves the rest, on the way up."""
        before = np.flatnonzero((self.times >= max(free_s, self.times[up] - REST_S)) & (self.times < self.times[up]))
        if not len(before):
            return float(self.times[up])
        low = np.quantile(self.values[before], 0.25)
        below = before[self.values[before] <= low + EDGE_SHARE * (top - low)]
        return float(self.times[below[-1]]) if len(below) else float(self.times[before[0]])

    def _end(self, down: int, top: float) -> float:
        """Where it is back at rest."""
        after = np.flatnonzero((self.times > self.times[down]) & (self.times <= self.times[down] + FALL_S))
        if not len(after):
            return float(self.times[down])
        low = self.values[after].min()
        below = after[self.values[after] <= low + EDGE_SHARE * (top - low)]
        return float(self.times[below[0]])

    def _rest(self, start: float, end: float, free_s: float) -> tuple[float, float] | None:
        """Value and deviation of the rest before the push; of that after it where less than 1 s is before it."""
        before = max(free_s, start - REST_S)
        inside = self._between(before, start) if start - before >= 1.0 else self._between(end, end + REST_S)
        return (float(np.mean(self.course.value[inside])), self._deviation(inside)) if len(inside) else None

    def _peak(self, start: float, end: float, up: int, down: int) -> tuple[float, float]:
        """`PEAK_PERCENTILE` of the course from start to end as a mean over half the push, and its deviation.

        A percentile of a course that still trembles is too high: by 1.5 degrees where a frame errs by 3.
        """
        mean = _moving_mean(self.values, (down + 1 - up) // 2)
        inside = (self.times >= start) & (self.times <= end)
        seen = self._between(self.times[up], self.times[down])
        seen = seen if len(seen) else self._between(start, end)
        return float(np.percentile(mean[inside], PEAK_PERCENTILE)), self._deviation(seen, share=0.5)

    def _between(self, from_s: float, to_s: float) -> NDArray[np.intp]:
        """Rows of the frames between two times."""
        t_s = self.course.t_s[self.rows]
        return self.rows[(t_s >= from_s) & (t_s <= to_s)]

    def _deviation(self, inside: NDArray[np.intp], *, share: float = 1.0) -> float:
        """Of a mean over a share of these frames: errors further apart than `_ERROR_LASTS_S` are independent."""
        length = share * float(self.course.t_s[inside[-1]] - self.course.t_s[inside[0]])
        independent = max(1.0, length / (2 * _ERROR_LASTS_S))
        return float(np.sqrt(np.mean(self.course.std[inside] ** 2) / independent))

    def _best(
        self, start: float, end: float, peak: tuple[float, float], quality: Series | None
    ) -> tuple[int | None, int]:
        """Row of the best frame near the peak, and how many frames were measured from start to end."""
        course, t_s = self.course, self.course.t_s[self.rows]
        inside = self.rows[(t_s >= start) & (t_s <= end) & course.accepted[self.rows]]
        if not len(inside):
            return None, 0
        off = np.abs(course.value[inside] - peak[0])
        near = inside[off <= max(1.96 * peak[1], float(off.min()))]
        score = -course.std[near] if quality is None else quality[near]
        return int(near[int(score.argmax())]), len(inside)


def _bounded(value: float, std: float) -> Level:
    return Level(value=value, lo95=value - 1.96 * std, hi95=value + 1.96 * std)
