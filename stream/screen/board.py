"""Where the stream leaves what the screen shows: the newest result, a trend, and counters; never more.

The pipeline writes and goes on at once; whoever watches takes the newest. So a slow viewer, or none, costs it nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from stream.errors import OutputError
from stream.measurement import State
from stream.screen.shown import Moment
from stream.telemetry import RunStatistics
from stream.throughput import Throughput, ThroughputMeter
from stream.watch.watch import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream.clock import Clock
    from stream.measurement import Measurement
    from stream.sinks.marks import MarkFile
    from stream.sources.live import LiveSource
    from stream.watch.watch import Looks

TREND_S = 300.0
TREND_STEP_S = 0.1
"""One point of the trend for each such step, so that five minutes stay small at any frame rate."""
MOST_MARKS = 1000

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
        marks: where viewers' marks are written to; None keeps them in memory alone.
        remedies: what would help where this machine does not keep up, see `stream.throughput.remedies`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        source: LiveSource | None = None,
        name: str = "",
        facts: Mapping[str, Any] | None = None,
        watch: Looks | None = None,
        marks: MarkFile | None = None,
        remedies: Sequence[str] = (),
    ) -> None:
        self._mark_file = marks
        self._remedies = tuple(remedies)
        self._clock, self._source = clock, source
        self.name, self.facts, self._watch = name, dict(facts or {}), watch
        self._changed = threading.Condition()
        self._newest: Measurement | None = None
        self._meter = ThroughputMeter()
        self._trend: deque[TrendPoint] = deque()
        self._has_ended = False
        self._marks: list[float] = []
        self.mark_error = ""
        """Why the last mark could not be written, for people; empty where it was."""
        self.statistics = RunStatistics()
        self.version = 0

    def write(self, measurement: Measurement) -> None:
        """Takes a result; dropped frames are only counted."""
        now_ns = self._clock.now_ns()
        with self._changed:
            self.statistics.add(measurement)
            self._meter.add(measurement, now_ns)
            if measurement.state is State.DROPPED:
                return
            self._newest = measurement
            self._add_to_trend(measurement)
            self.version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Says that the stream is over."""
        with self._changed:
            self._has_ended = True
            self.version += 1
            self._changed.notify_all()
            if self._mark_file:
                self._mark_file.close()

    def wait_beyond(self, version: int, timeout_s: float) -> int:
        """Waits for something newer than `version`, or for the time to pass; returns the version there is."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version, timeout_s)
            return self.version

    def moment(self) -> Moment:
        """What decides the screen, now."""
        with self._changed:
            now_ns = self._clock.now_ns()
            return Moment(
                measurement=self._newest,
                age_s=self._newest.age_s(now_ns) if self._newest else 0.0,
                link=self._source.status if self._source else None,
                has_ended=self._has_ended,
                throughput=self._meter.at(now_ns),
                remedies=self._remedies,
            )

    @property
    def seen(self) -> Seen:
        """What is known of the picture."""
        return self._watch.seen if self._watch else Seen()

    def mark(self) -> None:
        """Writes down a viewer's mark at the newest result; one that cannot be written is not counted."""
        with self._changed:
            if self._newest is None or self._has_ended or len(self._marks) == MOST_MARKS:
                return
            try:
                if self._mark_file:
                    self._mark_file.add(self._newest)
                self.mark_error = ""
                self._marks.append(round(self._newest.frame.pts_s, 3))
            except OutputError as error:
                self.mark_error = str(error)

    @property
    def marks_s(self) -> list[float]:
        """The marks, in seconds of the stream."""
        with self._changed:
            return list(self._marks)

    @property
    def throughput(self) -> Throughput:
        """Frames measured and dropped a second, of late."""
        with self._changed:
            return self._meter.at(self._clock.now_ns())

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
