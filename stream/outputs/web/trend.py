"""The last five minutes of AoP and HSD, kept on the server for pages that reload."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.pipeline.record import Measurement
    from stream.tracking.tracker import Estimate

TREND_S = 300.0
TREND_STEP_S = 0.1
"""One point for each such step, so that five minutes stay small at any frame rate."""

TrendPoint = tuple[float, float | None, float | None, float | None, float | None, float | None, float | None, str]
"""Seconds; AoP in degrees and its interval; HSD in mm and its interval; None where nothing was shown.

Last, why a new segment begins here; empty within one.
"""


class TrendBuffer:
    """Points of the trend, each with a number that only grows, so that a viewer gets what it has not got yet.

    Time is that of the recording or feed; where it goes back, as at a loop's seam, the trend goes on.
    """

    def __init__(self) -> None:
        self._points: deque[TrendPoint] = deque()
        self._count = 0
        self._offset_s = 0.0
        self._segment: int | None = None

    def add(self, measurement: Measurement) -> None:
        """Takes a result. Dropped frames are no point, and no gap either: of them nothing is known."""
        frame = measurement.frame
        seam = "" if self._segment in (None, frame.segment) else str(frame.segment_cause)
        if measurement.state is FrameState.DROPPED:
            return
        self._segment = frame.segment
        last_s = self._points[-1][0] if self._points else None
        now_s = self.time_of(frame.pts_s)
        if last_s is not None and now_s <= last_s:
            if not seam:
                return
            self._offset_s += last_s + TREND_STEP_S - now_s
            now_s = self.time_of(frame.pts_s)
        if last_s is not None and now_s - last_s < TREND_STEP_S - 1e-9 and not seam:
            return
        self._points.append((now_s, *_of_aop(measurement.aop), *_of_hsd(measurement), seam))
        self._count += 1
        while self._points[0][0] < now_s - TREND_S:
            self._points.popleft()

    def time_of(self, pts_s: float) -> float:
        """A time of the stream as the trend counts it."""
        return round(pts_s + self._offset_s, 3)

    @property
    def points(self) -> Sequence[TrendPoint]:
        """All, oldest first."""
        return list(self._points)

    def since(self, number: int) -> tuple[int, Sequence[TrendPoint]]:
        """The points after the first `number` ever added, as far as they are kept, and how many there were."""
        wanted = min(self._count - number, len(self._points))
        return self._count, list(self._points)[len(self._points) - wanted :] if wanted else []


Values = tuple[float | None, float | None, float | None]


def _of_aop(aop: Estimate | None) -> Values:
    return (round(aop.value, 2), round(aop.lo95, 2), round(aop.hi95, 2)) if aop else (None, None, None)


def _of_hsd(measurement: Measurement) -> Values:
    hsd, scale = measurement.hsd_min, measurement.mm_per_px
    if hsd is None or scale is None:
        return None, None, None
    return round(hsd.value * scale, 2), round(hsd.lo95 * scale, 2), round(hsd.hi95 * scale, 2)
