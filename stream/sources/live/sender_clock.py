"""Capture times from the sender's timestamps, so that queueing shows as age.

    arrival - stamp = offset of the two clocks + delay on the way

The offset is not known, but the least sum of late is the offset with the least delay; what a picture has more than that
it spent waiting.
"""

from __future__ import annotations

from collections import deque

DRIFT = 300e-6
"""How far two clocks may drift apart, in seconds a second: the least sum is forgotten that fast."""
LONGEST_QUEUE_NS = 30_000_000_000
"""Pictures that seem to wait longer than this, at a reader that waits for them, have stamps of another pace."""
LOOKED_AT = 100
MOST_STEPS = 5
"""More steps in so many pictures are no clock's."""
WAITING_SHARE = 0.5
"""A reader that waits for so much of its time has no backlog of its own."""


class SenderClock:
    """Follows the stamps of one connection.

    Convention: `captured = arrival - (sum - least sum)`, with the sum of offset and delay; never later than the
    arrival. Worked value: stamps 0, 1, 2 s that arrive at 10.1, 11.1, 15.1 s: the third has waited 3 s, and was
    captured at 12.1 s. Stamps that step (backwards) leave the waiting time as it was. Where they cannot be a clock's
    (constant, jumping about, of another pace) the arrival is taken, and `note` says so.

    Attributes:
        note: why the stamps are not followed, for people; empty where they are.
    """

    def __init__(self) -> None:
        self.note = ""
        self._least_ns: float | None = None
        self._last: tuple[int, int] = (0, 0)
        self._waited_ns = 0.0
        self._steps: deque[bool] = deque(maxlen=LOOKED_AT)
        self._reader: deque[tuple[int, int]] = deque(maxlen=LOOKED_AT)

    def captured_ns(self, stamp_ns: int | None, arrived_ns: int, *, reader_waited_ns: int = 0) -> int:
        """When the picture was captured, on the local clock.

        Args:
            stamp_ns: the sender's, from any start; None where it gives none.
            arrived_ns: on the local clock.
            reader_waited_ns: for how long the reader had to wait for it: 0 where it lay ready.
        """
        if stamp_ns is None:
            return arrived_ns
        sum_ns = arrived_ns - stamp_ns
        if self._least_ns is None:
            self._least_ns, self._last = float(sum_ns), (stamp_ns, arrived_ns)
            return arrived_ns
        stamps_ns, took_ns = stamp_ns - self._last[0], arrived_ns - self._last[1]
        if stamps_ns == 0 and took_ns == 0:
            return arrived_ns - round(self._waited_ns)
        self._last = stamp_ns, arrived_ns
        self._reader.append((took_ns, reader_waited_ns))
        is_step = stamps_ns <= 0 or stamps_ns > took_ns + LONGEST_QUEUE_NS
        self._steps.append(is_step)
        if is_step:
            self._least_ns = sum_ns - self._waited_ns
        else:
            self._least_ns = min(float(sum_ns), self._least_ns + DRIFT * max(took_ns, 0))
        self._waited_ns = sum_ns - self._least_ns
        self.note = self._judged()
        return arrived_ns if self.note else arrived_ns - round(self._waited_ns)

    def _judged(self) -> str:
        if sum(self._steps) > MOST_STEPS:
            return "the sender's time stamps are no clock's: ages count from arrival"
        if self._waited_ns > LONGEST_QUEUE_NS and self._reader_waits:
            return "the sender's time stamps run at another pace than the clock: ages count from arrival"
        return ""

    @property
    def _reader_waits(self) -> bool:
        took_ns = sum(took for took, _ in self._reader)
        return sum(waited for _, waited in self._reader) > WAITING_SHARE * took_ns
