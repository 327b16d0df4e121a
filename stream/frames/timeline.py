"""Monotonic stream time from file timestamps that may be missing, repeated or reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

JUMP_S = 1
"""Going back by more than this many seconds is a jump."""

STANDING = 2
"""Timestamps in a row that do not move on: the clock that made them stands still."""


class Timeline:
    """Places frames in time so that it only moves forward.

    Convention: ticks are integers in units of `time_base` seconds; the first frame is at 0. A frame without
    a timestamp follows the one before at the nominal period. A timestamp that repeats or goes back by up to
    one second is taken as one tick after the frame before, so that true timestamps hold again as soon as they
    are ahead; from the second in a row that does not move on, frames follow at the nominal period, and what
    comes then keeps its distance to them. One that goes back by more starts a new segment, one period after the
    frame before, and what follows keeps its distance to it. Gaps forward are true time and stay.
    Worked value: time base 1/25, one period a tick, timestamps 50, 51, none, 53, 53, 54, 10, 11 become
    0, 1, 2, 3, 4, 5; then 10 starts segment 1 at 6, and 11 is at 7.
    """

    def __init__(self, *, time_base: Fraction, period_s: Fraction) -> None:
        self._period = max(1, round(period_s / time_base))
        self._jump = JUMP_S / time_base
        self._last = -self._period
        self._last_stamp: int | None = None
        self._standing = 0
        self._origin: int | None = None
        self.segment = 0

    def place(self, stamp: int | None) -> int:
        """Returns the frame's pts; `segment` is then the frame's segment.

        Args:
            stamp: the file's timestamp in units of the time base, from any start; None where it has none.
        """
        following = self._last + self._period
        if stamp is None:
            pts = following
        else:
            is_moving = self._last_stamp is None or stamp > self._last_stamp
            was_stuck = self._standing >= STANDING
            self._standing = 0 if is_moving else self._standing + 1
            self._last_stamp = stamp
            if self._origin is None:
                self._origin = stamp - following
            pts = stamp - self._origin
            if self._last - pts > self._jump and not was_stuck:
                self.segment += 1
                self._standing = 0
                pts, self._origin = following, stamp - following
            elif self._standing >= STANDING or (was_stuck and pts < following):
                pts, self._origin = following, stamp - following
        self._last = max(pts, self._last + 1)
        return self._last
