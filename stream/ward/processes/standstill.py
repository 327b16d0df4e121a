"""How long a process has stood still; time in which the machine was busy with others does not count.

A process that hangs waits for a driver or a lock, or turns in a circle. One that is slow because the machine is busy
waits for a processor, which Linux counts for each thread (`/proc/PID/task/TID/schedstat`, see proc(5)): to replace it
would only take more time from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DOUBT_S = 1.0
"""A process that has stood still for so long is in doubt: from then on it is seen whether it waits for a processor."""
LONGEST_LOOK_S = 1.0
"""No longer is counted between two looks: the ward itself did not run, as on a machine that was suspended."""
LEAST_SHARE = 0.1
"""Of the time that counts in any case: a process of which one thread hangs while others wait is replaced, too."""


class PassedTime:
    """Time as it counts for a process.

    Args:
        now_ns: when it begins.
    """

    def __init__(self, now_ns: int) -> None:
        self._looked_ns = now_ns
        self._waited_s: float | None = None

    def since_last(self, now_ns: int, waited_s: Callable[[], float] | None) -> float:
        """Seconds that count since it was last asked.

        Args:
            now_ns: now.
            waited_s: tells how long the process has waited for a processor since it began; None where that is of no
                matter.
        """
        passed_s = min((now_ns - self._looked_ns) / 1e9, LONGEST_LOOK_S)
        self._looked_ns = now_ns
        before_s, self._waited_s = self._waited_s, None if waited_s is None else waited_s()
        if before_s is None or self._waited_s is None:
            return passed_s
        return max(passed_s - max(0.0, self._waited_s - before_s), LEAST_SHARE * passed_s)
