"""The monotonic clock of a run, injected so that tests control time."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock with a wait that another thread can cut short."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes backwards."""

    def wait_until(self, deadline_ns: int, cancelled: threading.Event) -> None:
        """Returns at `deadline_ns`, or as soon as `cancelled` is set."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int, cancelled: threading.Event) -> None:
        remaining_s = (deadline_ns - time.monotonic_ns()) / 1e9
        if remaining_s > 0:
            cancelled.wait(remaining_s)


class ManualClock:
    """A clock that only moves when told to; waiting moves it to the deadline at once."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance(self, step_ns: int) -> None:
        """Moves time on by `step_ns`, which must not be negative."""
        if step_ns < 0:
            raise ValueError(f"time cannot go back by {-step_ns} ns")
        self._now_ns += step_ns

    def wait_until(self, deadline_ns: int, cancelled: threading.Event) -> None:
        if not cancelled.is_set():
            self._now_ns = max(self._now_ns, deadline_ns)
