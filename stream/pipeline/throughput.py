"""Throughput: frames measured and dropped per second, and overload."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.frames.reason import Reason
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.pipeline.record import Measurement
    from stream.pipeline.statistics import RunStatistics

WINDOW_S = 3.0
"""Rates are those of so many seconds."""
FEWEST_FRAMES = 5
OVERLOADED_SHARE = 0.15
"""From this share of frames dropped for want of time on, the machine does not keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Frames a second, over the last `WINDOW_S` seconds.

    Attributes:
        processed_hz: frames looked at: measured, or refused with a reason.
        measured_hz: those of them that were measured.
        dropped_hz: frames dropped because the machine was still busy with those before.
        is_overloaded: more than `OVERLOADED_SHARE` of them were dropped.
    """

    processed_hz: float = 0.0
    measured_hz: float = 0.0
    dropped_hz: float = 0.0
    is_overloaded: bool = False

    @property
    def arriving_hz(self) -> float:
        """Frames that came: looked at, or dropped."""
        return self.processed_hz + self.dropped_hz

    @property
    def message(self) -> str:
        """Warning where the machine does not keep up; empty where it does."""
        if not self.is_overloaded:
            return ""
        done = f"{self.processed_hz:.0f}" if self.processed_hz >= 1 else f"{self.processed_hz:.1f}"
        return f"this machine measures {done} of {self.arriving_hz:.0f} frames a second"


class ThroughputMeter:
    """Counts results over a sliding window of time; pictures shown again are not counted."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, FrameState]] = deque()
        self._counts: Counter[FrameState] = Counter()

    def add(self, measurement: Measurement, now_ns: int) -> None:
        """Takes a result, at the time it came."""
        if measurement.reason is Reason.REPEATED:
            return
        self._events.append((now_ns, measurement.state))
        self._counts[measurement.state] += 1
        self._forget(now_ns)

    def at(self, now_ns: int) -> Throughput:
        """The rates at that time."""
        self._forget(now_ns)
        if len(self._events) < 2 or now_ns <= self._events[0][0]:
            return Throughput()
        # What came first only marks the beginning of the time in which the rest came.
        first_ns, first = self._events[0]
        span_s = (now_ns - first_ns) / 1e9
        measured, refused, dropped = (
            (self._counts[state] - (state is first)) / span_s
            for state in (FrameState.MEASURED, FrameState.REFUSED, FrameState.DROPPED)
        )
        lost = self._counts[FrameState.DROPPED]
        return Throughput(
            processed_hz=measured + refused,
            measured_hz=measured,
            dropped_hz=dropped,
            is_overloaded=lost >= FEWEST_FRAMES and lost > OVERLOADED_SHARE * len(self._events),
        )

    def _forget(self, now_ns: int) -> None:
        while self._events and now_ns - self._events[0][0] > WINDOW_S * 1e9:
            self._counts[self._events.popleft()[1]] -= 1


def overload_message(statistics: RunStatistics, helps: Sequence[str]) -> str:
    """What is said of a whole run on a machine that did not keep up, and what would help; empty where it did."""
    dropped, frames = statistics.drops[str(Reason.OVERLOAD)], statistics.frames_in
    if dropped < FEWEST_FRAMES or dropped <= OVERLOADED_SHARE * frames:
        return ""
    return f"this machine measured {frames - dropped} of {frames} frames; what helps: {', '.join(helps)}"
