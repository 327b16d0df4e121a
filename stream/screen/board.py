"""Where the stream leaves what the screen shows: the newest result, a trend, and counters; never more.

The pipeline writes and goes on at once; whoever watches takes the newest. So a slow viewer, or none, costs it nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from stream.measurement import State
from stream.screen.shown import Moment
from stream.telemetry import RunStatistics
from stream.watch.watch import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.clock import Clock
    from stream.measurement import Measurement
    from stream.sources.live import LiveSource
    from stream.watch.watch import Looks

TREND_S = 300.0
TREND_STEP_S = 0.1
"""One point of the trend for each such step, so that five minutes stay small at any frame rate."""
MOST_MARKS = 1000
RATE_FRAMES = 60
"""The frame rate is that of so many results."""

TrendPoint = tuple[float, float | None, float | None, float | None]
"""Seconds, AoP and its interval; None where nothing was shown."""


class Board:
    """A `stream.sinks.base.Sink` that keeps the newest.

    Args:
        clock: of the pipeline.
        source: a live one, whose link is shown; None for a recording.
        name: of the stream, where several are shown.
        facts: small print: model, engine, protocol.
        watch: says where the picture was found, and where its scale comes from.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        source: LiveSource | None = None,
        name: str = "",
        facts: Mapping[str, Any] | None = None,
        watch: Looks | None = None,
    ) -> None:
        self._clock, self._source = clock, source
        self.name, self.facts, self._watch = name, dict(facts or {}), watch
        self._changed = threading.Condition()
        self._newest: Measurement | None = None
        self._newest_ns = 0
        self._arrivals: deque[int] = deque(maxlen=RATE_FRAMES)
        self._trend: deque[TrendPoint] = deque()
        self._has_ended = False
        self._marks: list[float] = []
        self.statistics = RunStatistics()
        self.version = 0

    def write(self, measurement: Measurement) -> None:
        """Takes a result; dropped frames are only counted."""
        now_ns = self._clock.now_ns()
        with self._changed:
            self.statistics.add(measurement)
            if measurement.state is State.DROPPED:
                return
            self._newest, self._newest_ns = measurement, now_ns
            self._arrivals.append(now_ns)
            self._add_to_trend(measurement)
            self.version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Says that the stream is over."""
        with self._changed:
            self._has_ended = True
            self.version += 1
            self._changed.notify_all()

    def wait_beyond(self, version: int, timeout_s: float) -> int:
        """Waits for something newer than `version`, or for the time to pass; returns the version there is."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version, timeout_s)
            return self.version

    def moment(self) -> Moment:
        """What decides the screen, now."""
        with self._changed:
            age_s = (self._clock.now_ns() - self._newest_ns) / 1e9 if self._newest else 0.0
            return Moment(
                measurement=self._newest,
                age_s=age_s,
                link=self._source.status if self._source else None,
                has_ended=self._has_ended,
            )

    @property
    def seen(self) -> Seen:
        """What is known of the picture."""
        return self._watch.seen if self._watch else Seen()

    def mark(self) -> None:
        """Notes a viewer's mark at the newest result."""
        with self._changed:
            if self._newest is not None and len(self._marks) < MOST_MARKS:
                self._marks.append(round(self._newest.frame.pts_s, 3))

    @property
    def marks_s(self) -> list[float]:
        """The marks, in seconds of the stream."""
        with self._changed:
            return list(self._marks)

    @property
    def frame_rate_hz(self) -> float | None:
        """Of the newest results; None where there are too few, or none came lately."""
        with self._changed:
            if len(self._arrivals) < 2:
                return None
            span_s = (max(self._clock.now_ns(), self._arrivals[-1]) - self._arrivals[0]) / 1e9
            return (len(self._arrivals) - 1) / span_s if span_s else None

    @property
    def trend(self) -> list[TrendPoint]:
        """The last minutes, oldest first."""
        with self._changed:
            return list(self._trend)

    def _add_to_trend(self, measurement: Measurement) -> None:
        now_s, trend = measurement.frame.pts_s, self._trend
        if trend and now_s < trend[-1][0]:
            trend.clear()
        if trend and now_s - trend[-1][0] < TREND_STEP_S:
            return
        aop = measurement.aop
        trend.append((now_s, aop.value, aop.lo95, aop.hi95) if aop else (now_s, None, None, None))
        while trend[0][0] < now_s - TREND_S:
            trend.popleft()
