"""What a process spent lately: differences of sums that only grow."""

from __future__ import annotations

from collections import deque

RECENT_S = 10.0
"""What a process takes is that of so many seconds."""
FEWEST_FRAMES = 60
"""From so many frames on it is known what one takes."""


class Recent:
    """Sums of the last seconds. One that has become smaller is of another process: all begins anew."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, tuple[float, ...]]] = deque()

    def gained(self, now_ns: int, *sums: float) -> tuple[float, ...]:
        """Takes the sums of now; returns the seconds that are looked back on, and what each sum gained in them."""
        if self._looks and any(now < before for now, before in zip(sums, self._looks[-1][1], strict=True)):
            self._looks.clear()
        self._looks.append((now_ns, sums))
        first_ns, first = self._looks[0]
        while now_ns - self._looks[0][0] > RECENT_S * 1e9:
            self._looks.popleft()
        return ((now_ns - first_ns) / 1e9, *(now - before for now, before in zip(sums, first, strict=True)))
