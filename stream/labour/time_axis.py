"""One axis of time for a whole run, whatever its clock did: it never goes back, and long pauses are cut out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LONGEST_PAUSE_S = 600.0
"""A pause that is longer, and longer than all that was recorded, is cut out of the axis: it would be all of it."""
CUT_PAUSE_S = 2.0
"""What is left of a jump of the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJump:
    """Where the clock of a recording did not go on.

    Attributes:
        row: first frame after it.
        by_s: what the clock went on by; negative where it went back.
    """

    row: int
    by_s: float


@dataclass(frozen=True, slots=True, eq=False)
class TimeAxis:
    """Seconds since the first frame.

    Attributes:
        time_s: (N,) of each frame; never falls.
        jumps: where the clock went back, or on by a pause that is cut out.
        offset_s: of each segment: its time less the clock of its frames.
    """

    time_s: NDArray[np.float64]
    jumps: Sequence[ClockJump]
    offset_s: dict[int, float]

    @property
    def end_s(self) -> float:
        """The last frame's time; 0 of an empty run."""
        return float(self.time_s[-1]) if len(self.time_s) else 0.0

    def of(self, pts_s: float, segment: int) -> float:
        """A time on the clock of a segment's frames, on this axis."""
        return pts_s + self.offset_s.get(segment, 0.0)


def time_axis(pts_s: NDArray[np.float64], segment: NDArray[np.int64]) -> TimeAxis:
    """The axis of a run.

    Worked value: clocks 0, 1, 2, 0, 1 in segments 0, 0, 0, 1, 1 are at 0, 1, 2, 4, 5 s: the clock went back by 2 s.

    Args:
        pts_s: (N,) seconds on the clock of the frames.
        segment: (N,) to which each belongs.
    """
    if not len(pts_s):
        return TimeAxis(np.empty(0), (), {})
    steps = np.diff(pts_s)
    usual = float(steps[(steps >= 0) & (steps <= LONGEST_PAUSE_S)].sum())
    too_long = (steps < 0) | ((steps > LONGEST_PAUSE_S) & (steps > usual))
    rows = np.flatnonzero(too_long) + 1
    shown = np.where(too_long, CUT_PAUSE_S, steps)
    time_s = np.concatenate([[0.0], np.cumsum(shown)])
    first = np.concatenate([[0], np.flatnonzero(np.diff(segment)) + 1])
    offsets = {int(segment[row]): float(time_s[row] - pts_s[row]) for row in first}
    return TimeAxis(time_s, tuple(ClockJump(row=int(row), by_s=float(steps[row - 1])) for row in rows), offsets)
