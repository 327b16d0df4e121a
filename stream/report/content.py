"""What a report says of a finished run, computed from its records; nothing here draws or lays out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import PartumError
from stream.common.errors import StreamError
from stream.exports.verification import changes_of, said_of_changes
from stream.frames.frame import SegmentCause
from stream.labour.course import aop_course, run_noise, run_pushes
from stream.labour.pushes import resting
from stream.labour.run_pictures import RunPictures
from stream.labour.time_axis import TimeAxis, time_axis
from stream.labour.trend import fit_trend, rest_course
from stream.measurement.biometry import LANDMARK_NAMES, Landmarks
from stream.pipeline.record import FrameState
from stream.report.pictures import draw_frame
from stream.report.values import NONE, Value, clock
from stream.tracking.smoother import SmoothedCourse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.labour.pushes import Level, Push
    from stream.labour.recorded_run import RecordedRun
    from stream.labour.run_network import RunNetwork
    from stream.labour.trend import RestCourse, Trend
    from stream.measurement.biometry import Outlines

    Rows = NDArray[np.intp]

NEW_PART_S = 600.0
"""A pause of a recording that is longer begins a part of its own: nobody saw what happened meanwhile."""
MOST_PICTURES = 6
APART_S = 3.0
"""Best frames of one recording are at least so far apart."""
LEAST_SLOPE_S = 300.0
"""Rest is watched for so long at least before it is said to change by so much an hour."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Part:
    """A stretch of a run that is surely of one patient: without a cut to another picture, and without a jump of time.

    Attributes:
        rows: of its frames.
        cause: why it begins: `start`, `cut`, `time` or `pause`.
        pushes: in it.
    """

    rows: Rows
    cause: str
    pushes: Sequence[Push]


class RunContent:
    """The numbers of a run's report.

    Args:
        run: finished.

    Attributes:
        run: the same.
        axis: the time of each frame, as charts and tables count it.
    """

    def __init__(self, run: RecordedRun) -> None:
        self.run = run
        self.pictures: list[dict[str, str]] = []
        self.why_no_pictures = self.why_no_outlines = ""
        self._table = run.table
        self.axis: TimeAxis = time_axis(self._table.numbers("pts_s"), self._table.counts("segment"))

    @property
    def name(self) -> str:
        """The recording in few words: a file's name without its folders, a feed's address."""
        uri = str(self.run.options.get("source") or self.run.source["uri"])
        return uri if self.run.is_live or uri.startswith("phantom:") else PurePath(uri).name

    def load_pictures(self, network: RunNetwork, source: str | None = None) -> None:
        """Draws the best frames; where the run's own pictures cannot be had, `why_no_pictures` says why.

        Args:
            network: of the run, for outlines.
            source: where the run's source has moved to.
        """
        chosen = self.best_rows()
        if not chosen and source is None:
            return
        try:
            with RunPictures(self.run, source=source) as pictures:
                frames = [(pictures[row], row, what) for row, what in chosen]
        except StreamError as error:
            if source is not None:  # it was named for its pictures
                raise
            self.why_no_pictures = f"Not shown: {error}."
            return
        self.pictures = [self._picture(frame, row, what, self._outlines(network, frame)) for frame, row, what in frames]

    def _outlines(self, network: RunNetwork, frame: Frame) -> Outlines | None:
        """What the network sees in a frame, where it is what the run saw."""
        try:
            seen = network.segmented(frame)
        except PartumError as error:
            self.why_no_outlines = str(error)
            return None
        if not seen.is_as_recorded:
            self.why_no_outlines = "the network here does not see what the run saw"
            return None
        return seen.outlines

    def _picture(self, frame: Frame, row: int, what: str, outlines: Outlines | None) -> dict[str, str]:
        mirrored = bool(self._table.words("mirrored")[row])
        landmarks = self.landmarks(row)
        rows = np.array([row])
        tracked, hsd = self._typical(rows, "aop", "deg", "°"), self._typical(rows, "hsd_min", "mm", " mm")
        aop = tracked or self._typical(rows, "aop_raw", "deg", "°")
        title = clock(self.axis.time_s[row]) + (f", {what}" if what else "")
        said = [f"AoP{'' if tracked else ' of this frame alone'} {aop.shown(0) if aop else NONE}"]
        if aop and aop.absolute:
            said.append(f"absolute {aop.range(aop.absolute, 0)}")
        if aop and aop.repeatability:
            said.append(f"repeatability {aop.range(aop.repeatability, 0)}")
        if hsd:
            said.append(f"HSD {hsd.shown(1)}")
        said.append(f"quality {self.quality[row]:.2f}, frame {row}")
        return {
            "uri": draw_frame(frame, landmarks, is_mirrored=mirrored, outlines=outlines),
            "title": title,
            "text": "; ".join(said),
            "alt": f"Ultrasound frame {row} with the lines that AoP was measured by",
        }

    def landmarks(self, row: int) -> Landmarks | None:
        """The points a frame's reading was taken from; None where it has none."""
        points = {name: tuple(map(float, self._table.points(name)[row])) for name in LANDMARK_NAMES}
        there = {name: point if np.isfinite(point).all() else None for name, point in points.items()}
        if any(there[name] is None for name in ("ps_superior", "ps_inferior", "tangent")):
            return None
        return Landmarks(**there)  # type: ignore[arg-type]

    @cached_property
    def course(self) -> SmoothedCourse:
        """AoP as it is once the whole run is known."""
        return aop_course(self._table, noise=run_noise(self.run))

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """Of each frame's reading, 0 to 1; NaN where it has none."""
        return self._table.numbers("quality")

    @cached_property
    def pushes(self) -> Sequence[Push]:
        """All of the run, marked and found, in order."""
        return run_pushes(self.run, self.course)

    @cached_property
    def changes(self) -> str:
        """That files of the run were changed after it, for people; empty where they were not."""
        return said_of_changes(changes_of(self.run.folder))

    @cached_property
    def is_measured(self) -> NDArray[np.bool_]:
        return self._table.is_in(FrameState.MEASURED)

    @property
    def is_still(self) -> bool:
        """It is one frame: there is nothing to follow, and its reading stands alone."""
        return len(self.run) == 1

    @cached_property
    def counts(self) -> Counter[str]:
        """How many frames had each state."""
        return Counter(self._table.words("state"))

    @cached_property
    def reasons(self) -> Counter[str]:
        """How many frames were refused or dropped for each reason."""
        return Counter(reason for reason in self._table.words("reason") if reason)

    @cached_property
    def parts(self) -> Sequence[Part]:
        """The run, cut where another patient may begin."""
        found = []
        for rows, cause in self._part_rows():
            inside = set(self._table.counts("segment")[rows].tolist())
            span = self.axis.time_s[rows]
            pushes = [
                push
                for push in self.pushes
                if push.segment in inside
                and span[0] - 1e-6 <= self.axis.of(push.start_s, push.segment) <= span[-1] + 1e-6
            ]
            found.append(Part(rows=rows, cause=cause, pushes=pushes))
        return found

    def _part_rows(self) -> list[tuple[Rows, str]]:
        count = len(self.run)
        if not count:
            return []
        segment, causes = self._table.counts("segment"), self._table.words("segment_cause")
        begins = {0: "start"}
        steps = np.diff(self._table.numbers("pts_s"))
        for row in (np.flatnonzero((steps < 0) | (steps > NEW_PART_S)) + 1).tolist():
            if causes[row] != SegmentCause.LOOP:
                begins[row] = "time" if steps[row - 1] < 0 else "pause"
        for row in (np.flatnonzero(np.diff(segment)) + 1).tolist():
            if causes[row] == SegmentCause.CUT:
                begins[row] = "cut"
        edges = [*sorted(begins), count]
        return [(np.arange(start, end), begins[start]) for start, end in pairwise(edges)]

    def rest(self, part: Part) -> Value | None:
        """AoP between the pushes of a part; where it has none, over all that was measured of it."""
        if self.is_still:
            return self._typical(part.rows, "aop_raw", "deg", "°")
        is_rest = resting(self.course, part.pushes)[part.rows]
        return self._typical(part.rows[is_rest & self.is_measured[part.rows]], "aop", "deg", "°")

    def hsd(self, part: Part) -> Value | None:
        """The shortest HSD at rest, in millimetres where there is a scale."""
        if self.is_still:
            rows = part.rows
            return self._typical(rows, "hsd_min_raw", "mm", " mm") or self._typical(rows, "hsd_min_raw", "px", " px")
        rows = part.rows[resting(self.course, part.pushes)[part.rows] & self.is_measured[part.rows]]
        return self._typical(rows, "hsd_min", "mm", " mm") or self._typical(rows, "hsd_min", "px", " px")

    def peak(self, part: Part) -> Value | None:
        """AoP at the peak of the part's pushes: of the push in the middle, by its peak."""
        peaks = sorted((push.peak for push in part.pushes if push.peak), key=lambda peak: peak.value)
        return level_value(peaks[(len(peaks) - 1) // 2]) if peaks else None

    def rest_course(self, part: Part, *, start_s: float = 0.0) -> RestCourse:
        """AoP at rest over a part, on the axis of the run.

        Args:
            part: of this run.
            start_s: of the run on the clock of the day.
        """
        rows, whole = part.rows, self.course
        course = SmoothedCourse(
            t_s=self.axis.time_s[rows],
            value=whole.value[rows],
            std=whole.std[rows],
            accepted=whole.accepted[rows],
            segment=whole.segment[rows],
        )
        pushes = [
            replace(
                push, start_s=self.axis.of(push.start_s, push.segment), end_s=self.axis.of(push.end_s, push.segment)
            )
            for push in part.pushes
        ]
        rest = self.rest(part)
        return rest_course(course, pushes, start_s=start_s, typical=rest.value if rest else None)

    def slope(self, part: Part) -> Value | None:
        """How AoP at rest changes, in degrees an hour; None where too little of it was seen."""
        trend = fit_trend([self.rest_course(part)])
        return trend_value(trend) if trend and trend.span_s >= LEAST_SLOPE_S else None

    def measured_share(self, rows: Rows) -> tuple[int, int]:
        """Frames of those that were measured, and all of them."""
        return int(self.is_measured[rows].sum()), len(rows)

    def best_rows(self) -> Sequence[tuple[int, str]]:
        """Frames to be shown, and of what each is: the best of each push, and of the rest; at most `MOST_PICTURES`."""
        found: list[tuple[int, str]] = []
        for part in self.parts:
            rest = part.rows if self.is_still else part.rows[resting(self.course, part.pushes)[part.rows]]
            best = self._surest(rest, 1 if part.pushes else 4)
            found += [(row, "at rest" if part.pushes else "") for row in best]
            found += [
                (push.best_row, f"push {self.pushes.index(push) + 1}")
                for push in part.pushes
                if push.best_row is not None
            ]
        if len(found) > MOST_PICTURES:  # evenly over the run
            at = np.linspace(0, len(found) - 1, MOST_PICTURES).round().astype(int)
            found = [found[place] for place in dict.fromkeys(at.tolist())]
        return sorted(found)

    def _surest(self, rows: Rows, most: int) -> list[int]:
        """The measured frames of highest quality of those, `APART_S` apart."""
        rows = rows[self.is_measured[rows]]
        chosen: list[int] = []
        for row in rows[np.argsort(-np.nan_to_num(self.quality[rows]), kind="stable")].tolist():
            if all(abs(self.axis.time_s[row] - self.axis.time_s[other]) >= APART_S for other in chosen):
                chosen.append(row)
            if len(chosen) == most:
                break
        return chosen

    def _typical(self, rows: Rows, name: str, unit: str, shown: str) -> Value | None:
        """The median of a quantity of frames, with the medians of its intervals, as far as it has them."""
        value = self._median(rows, f"{name}_{unit}")
        if value is None:
            return None
        return Value(
            value=value,
            unit=shown,
            absolute=self._interval(rows, f"{name}_absolute", unit),
            repeatability=self._interval(rows, name, unit),
        )

    def _interval(self, rows: Rows, name: str, unit: str) -> tuple[float, float] | None:
        low, high = (self._median(rows, f"{name}_{bound}95_{unit}") for bound in ("lo", "hi"))
        return None if low is None or high is None else (low, high)

    def _median(self, rows: Rows, column: str) -> float | None:
        try:
            values = self._table.numbers(column)[rows]
        except KeyError:  # a record of an earlier version
            return None
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else None

    def numbers(self, column: str) -> NDArray[np.float64] | None:
        """A column of the records; None where they do not have it."""
        try:
            return self._table.numbers(column)
        except KeyError:
            return None

    def words(self, column: str) -> list[Any]:
        """A column of words of the records."""
        return self._table.words(column)


def trend_value(trend: Trend) -> Value:
    """A change of AoP an hour, with its interval."""
    return Value(value=trend.slope_deg_per_h, unit="°/h", repeatability=(trend.lo95, trend.hi95), is_change=True)


def level_value(level: Level | None, *, is_change: bool = False) -> Value | None:
    """An AoP of a push, with its intervals; None where there is none.

    Args:
        level: of the push.
        is_change: it is the difference of two.
    """
    if level is None:
        return None
    interval = (level.lo95, level.hi95)
    return Value(value=level.value, unit="°", absolute=level.absolute, repeatability=interval, is_change=is_change)
