"""The absolute interval of a tracked AoP, from those of the frames it rests on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.tracking.tracker import Estimate

MEMORY_S = 1.0
"""The width follows those of the frames with this delay: the error is the patient's, so it may change slowly only."""


class AbsoluteWidth:
    """Follows half the width of the absolute interval, and lays it around the track's value.

    A bias that all frames share does not become smaller by averaging them, so neither does the width: it is the mean
    of the frames' widths. Without readings it grows as the track's own variance does.
    """

    def __init__(self) -> None:
        self._half_deg: float | None = None
        self._weight = 0.0
        self._time_s = -math.inf
        self._std = 0.0  # of the track at its last accepted reading

    def take(self, t_s: float, half_deg: float | None, *, weight: float) -> None:
        """Takes in the width of one frame.

        Args:
            t_s: when the frame was taken, not before the last one.
            half_deg: half its width, degrees; None where the model does not know it.
            weight: what the frame's reading is worth, 0 to 1.
        """
        if half_deg is None:
            self._half_deg, self._weight = None, 0.0
            return
        kept = self._weight * math.exp(-(t_s - self._time_s) / MEMORY_S) if self._half_deg is not None else 0.0
        weight = max(weight, 1e-3)
        before = half_deg if self._half_deg is None else self._half_deg
        self._half_deg = (kept * before + weight * half_deg) / (kept + weight)
        self._weight, self._time_s = kept + weight, t_s

    def around(self, estimate: Estimate | None) -> Estimate | None:
        """The estimate with its absolute interval, which holds the one of repeatability; None stays None."""
        if estimate is None or self._half_deg is None:
            return estimate
        if estimate.age_s == 0.0:
            self._std = estimate.std
        grown = max(0.0, estimate.std**2 - self._std**2)
        half_deg = max(math.sqrt(self._half_deg**2 + 1.96**2 * grown), 1.96 * estimate.std)
        return replace(estimate, absolute_half=half_deg)
