"""The newest result, trend and counters of a stream, kept for the web page.

The pipeline writes and goes on at once; whoever watches takes the newest. So a slow viewer, or none, costs it nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from stream.common.errors import OutputError
from stream.outputs.marks import MarkKind
from stream.outputs.web.state import Snapshot
from stream.outputs.web.trend import TREND_S, TrendBuffer
from stream.pipeline.record import FrameState
from stream.pipeline.statistics import RunStatistics
from stream.pipeline.throughput import Throughput, ThroughputMeter
from stream.preprocessing.preprocessor import PreprocessorState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stream.common.clock import Clock
    from stream.outputs.marks import MarkSink
    from stream.outputs.web.trend import TrendPoint
    from stream.pipeline.record import Measurement
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.live.base import LiveSource

MOST_MARKS = 1000
MOST_ANSWERS = 16
"""The last so many askers hear what came of the marks that they asked for."""


class Board:
    """A `stream.outputs.base.Sink` that keeps the newest.

    Args:
        clock: of the pipeline.
        source: a live one, whose link is shown; None for a recording.
        name: of the stream, where several are shown.
        facts: small print: model, engine, protocol.
        preprocessor: says where the picture was found, and where its scale comes from.
        marks: where viewers' marks are written to; None keeps them in memory alone.
        remedies: what would help where this machine does not keep up, see `stream.app.remedies.suggest_remedies`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        source: LiveSource | None = None,
        name: str = "",
        facts: Mapping[str, Any] | None = None,
        preprocessor: Preprocessor | None = None,
        marks: MarkSink | None = None,
        remedies: Sequence[str] = (),
    ) -> None:
        self._mark_file = marks
        self._remedies = tuple(remedies)
        self._clock, self._source = clock, source
        self.name, self.facts, self._preprocessor = name, dict(facts or {}), preprocessor
        self._lock = threading.RLock()
        self._marking = threading.Lock()
        """Marks are written one after the other."""
        self._newest: Measurement | None = None
        self._meter = ThroughputMeter()
        self._trend = TrendBuffer()
        self.listeners: list[Callable[[], None]] = []
        """Each is called after each change, in the thread that made it."""
        self._has_ended = False
        self._marks: list[tuple[float, MarkKind]] = []
        self._mark_answers: dict[str, int | str] = {}
        self.statistics = RunStatistics()

    def write(self, measurement: Measurement) -> None:
        """Takes a result; dropped frames are only counted."""
        now_ns = self._clock.now_ns()
        with self._lock:
            self.statistics.add(measurement)
            self._meter.add(measurement, now_ns)
            if measurement.state is FrameState.DROPPED:
                return
            self._newest = measurement
            self._trend.add(measurement)
        self._say_changed()

    def close(self) -> None:
        """Says that the stream is over."""
        with self._lock:
            self._has_ended = True
        if self._mark_file:
            with self._marking:  # one that is being set is still written
                self._mark_file.close()
        self._say_changed()

    def _say_changed(self) -> None:
        for listener in self.listeners:
            listener()

    def snapshot(self) -> Snapshot:
        """What decides the display state, now."""
        with self._lock:
            now_ns = self._clock.now_ns()
            return Snapshot(
                measurement=self._newest,
                age_s=self._newest.age_s(now_ns) if self._newest else 0.0,
                link=self._source.status if self._source else None,
                has_ended=self._has_ended,
                throughput=self._meter.at(now_ns),
                remedies=self._remedies,
            )

    @property
    def seen(self) -> PreprocessorState:
        """What is known of the picture."""
        return self._preprocessor.state if self._preprocessor else PreprocessorState()

    def mark(self, kind: MarkKind = MarkKind.MARK, note: str = "", request: str = "") -> None:
        """Writes down a viewer's mark at the newest result; one that cannot be kept is not counted.

        Args:
            kind: of mark.
            note: a viewer's words.
            request: under which the answer is found in `mark_answers`.
        """
        with self._lock:
            newest = self._newest  # the moment that is marked, however long those before take to be written
        with self._marking:
            with self._lock:
                why_not = self._why_no_mark(newest)
            if newest is not None and not why_not and self._mark_file:
                try:  # a disk that hangs must not hold up what is measured
                    self._mark_file.add(newest, kind, note=note)
                except OutputError as error:
                    why_not = str(error)
            with self._lock:
                if newest is not None and not why_not:
                    self._marks.append((self._trend.time_of(newest.frame.pts_s), kind))
                if request:
                    self._mark_answers[request] = why_not or len(self._marks)
                    if len(self._mark_answers) > MOST_ANSWERS:
                        del self._mark_answers[next(iter(self._mark_answers))]
        self._say_changed()

    def _why_no_mark(self, newest: Measurement | None) -> str:
        if newest is None:
            return "there is no picture to mark yet"
        if self._has_ended:
            return "the stream is over"
        return f"there are {MOST_MARKS} marks already" if len(self._marks) >= MOST_MARKS else ""

    @property
    def mark_answers(self) -> Mapping[str, int | str]:
        """What came of the last requests: the mark's number, or for people why it was not kept."""
        with self._lock:
            return dict(self._mark_answers)

    @property
    def marks_s(self) -> list[float]:
        """All marks, in seconds of the trend."""
        with self._lock:
            return [time_s for time_s, _ in self._marks]

    @property
    def is_push_open(self) -> bool:
        """Whether the start of a push was marked, and its end was not yet."""
        with self._lock:
            kinds = [kind for _, kind in self._marks if kind in (MarkKind.PUSH_START, MarkKind.PUSH_END)]
        return kinds[-1:] == [MarkKind.PUSH_START]

    def now_s(self) -> float | None:
        """The present in seconds of the trend: of a live source it goes on while nothing comes."""
        with self._lock:
            if self._newest is None:
                return None
            age_s = 0.0 if self._source is None else self._newest.age_s(self._clock.now_ns())
            return round(self._trend.time_of(self._newest.frame.pts_s) + age_s, 3)

    def recent_marks(self) -> Sequence[tuple[float, str]]:
        """The marks of the time that the trend shows: seconds of it, and the kind."""
        now_s = self.now_s() or 0.0
        with self._lock:
            return [(mark_s, str(kind)) for mark_s, kind in self._marks if mark_s >= now_s - TREND_S]

    @property
    def throughput(self) -> Throughput:
        """Frames measured and dropped a second, of late."""
        with self._lock:
            return self._meter.at(self._clock.now_ns())

    @property
    def trend(self) -> Sequence[TrendPoint]:
        """The last minutes, oldest first."""
        with self._lock:
            return self._trend.points

    def trend_since(self, number: int) -> tuple[int, Sequence[TrendPoint]]:
        """The points of the trend after the first `number`, and how many there were ever; see `TrendBuffer.since`."""
        with self._lock:
            return self._trend.since(number)
