"""Holds results back for a fixed lag, and smooths them by what was measured meanwhile."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from stream.tracking.fixed_lag import smoothed_estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream.pipeline.record import Measurement
    from stream.tracking.tracker import TrackStates

MOST_LAG_S = 0.7
"""A live value is shown until `stream.pipeline.record.STALE_S` after its capture: the lag leaves time for the rest."""


class LagBuffer:
    """Gives every result on, in order, `lag_s` of the stream's time later; one at the end of its segment at once.

    Args:
        lag_s: 0 gives each on as it is.
        now_ns: the clock that stamped the frames: the latency of a result counts until it is given on.
    """

    def __init__(self, lag_s: float, *, now_ns: Callable[[], int]) -> None:
        self._lag_s, self._now_ns = lag_s, now_ns
        self._held: deque[tuple[Measurement, TrackStates | None]] = deque()

    def add(self, measurement: Measurement, states: TrackStates | None) -> Iterator[Measurement]:
        """Takes a result and what the tracks believed then, and yields those whose time has come.

        Args:
            measurement: the next frame's.
            states: None for a frame that the tracks were not told of.
        """
        if not self._lag_s:
            yield measurement
            return
        if self._held and self._held[-1][0].frame.segment != measurement.frame.segment:
            yield from self.flush()
        self._held.append((measurement, states))
        while measurement.frame.pts_s - self._held[0][0].frame.pts_s >= self._lag_s:
            yield self._next()

    def flush(self) -> Iterator[Measurement]:
        """Yields all that are held, each smoothed by those after it."""
        while self._held:
            yield self._next()

    def _next(self) -> Measurement:
        measurement, own = self._held[0]
        known = [states for _, states in self._held if states is not None]
        self._held.popleft()
        latency_ms = max(measurement.latency_ms, (self._now_ns() - measurement.frame.captured_ns) / 1e6)
        if own is None:
            return replace(measurement, latency_ms=latency_ms)
        return replace(
            measurement,
            latency_ms=latency_ms,
            aop=smoothed_estimate(measurement.aop, [states.aop for states in known]),
            hsd_min=smoothed_estimate(measurement.hsd_min, [states.hsd_min for states in known]),
            hsd_perp=smoothed_estimate(measurement.hsd_perp, [states.hsd_perp for states in known]),
        )
