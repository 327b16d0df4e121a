"""Open-loop schedule: frames arrive on time however late the program is.

Latency counted from a frame's arrival in the schedule holds whatever made it late, a stall of an earlier frame too.
Counted from when the program got round to it, a stall would hide itself (coordinated omission).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from stream.sources.wrappers import SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Generator

    from stream.common.clock import Clock
    from stream.frames.frame import Frame
    from stream.sources.base import FrameSource

TIME_BASE = Fraction(1, 1_000_000)


class ScheduledSource(SourceWrapper):
    """Reads a frame of another source when it is due, not before: what it costs to decode counts as latency.

    Frame `i` is due at `i / rate_hz` after the first; that is its `captured_ns`, and its `pts`.

    Args:
        source: closed with this.
        rate_hz: of arrivals.
        count: ends after so many frames.
        clock: tells and waits for the time.
        delay_s: before the first frame: feeds of several scanners are not in step.

    Attributes:
        lags_ms: how late each frame was asked for: the schedule's own fault where nothing was behind.
    """

    def __init__(self, source: FrameSource, *, rate_hz: float, count: int, clock: Clock, delay_s: float = 0.0) -> None:
        self._period_ns, self._delay_ns = 1e9 / rate_hz, round(delay_s * 1e9)
        self._count, self._clock = count, clock
        self.lags_ms: list[float] = []
        super().__init__(source, replace(source.info, frame_count=count))

    def _read(self) -> Generator[Frame, None, None]:
        frames = iter(self._source)
        start_ns = self._clock.now_ns() + self._delay_ns
        for index in range(self._count):
            due_ns = start_ns + round(index * self._period_ns)
            is_behind = self._clock.now_ns() >= due_ns
            self._clock.wait_until(due_ns, self._closed)
            if self._closed.is_set():
                return
            if not is_behind:
                self.lags_ms.append((self._clock.now_ns() - due_ns) / 1e6)
            frame = next(frames, None)
            if frame is None:
                return
            pts = round((due_ns - start_ns) / 1e9 / TIME_BASE)
            yield replace(frame, index=index, pts=pts, time_base=TIME_BASE, captured_ns=due_ns)


class LimitedSource(SourceWrapper):
    """The first frames of another source, as fast as they are taken."""

    def __init__(self, source: FrameSource, *, count: int) -> None:
        self._count = count
        super().__init__(source, replace(source.info, frame_count=count))

    def _read(self) -> Generator[Frame, None, None]:
        for frame, _ in zip(self._source, range(self._count), strict=False):
            yield frame
