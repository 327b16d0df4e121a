"""Detects a reader too slow for its feed, as opposed to a stalled feed."""

from __future__ import annotations

from collections import deque

LATE_NS = 500_000_000
SPAN_NS = 1_000_000_000
"""A stall on the way is caught up in less than this, where the reader can keep up."""
MOST_WAITING = 0.3
"""A reader that waits for more of its time than this share has time left."""


class Backlog:
    """Follows how late pictures are, and how long the reader waited for each."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int, int]] = deque()

    def add(self, now_ns: int, late_ns: int, waited_ns: int) -> None:
        """Takes a picture: when it came, by how much too late, and for how long it was waited for."""
        self._seen.append((now_ns, late_ns, waited_ns))
        while now_ns - self._seen[1][0] > SPAN_NS if len(self._seen) > 1 else False:
            self._seen.popleft()

    @property
    def is_growing(self) -> bool:
        """Whether for a second the reader has hardly waited, and is no less late than it was."""
        if len(self._seen) < 2:
            return False
        (begun_ns, before_ns, _), (now_ns, late_ns, _) = self._seen[0], self._seen[-1]
        waited_ns = sum(waited for _, _, waited in self._seen) - self._seen[0][2]
        span_ns = now_ns - begun_ns
        return span_ns >= SPAN_NS and LATE_NS < late_ns >= before_ns and waited_ns < MOST_WAITING * span_ns

    def forget(self) -> None:
        """Begins anew, after something was done about it."""
        self._seen.clear()
