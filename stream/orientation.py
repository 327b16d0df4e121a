"""Whether the picture is mirrored, decided over time: a scanner is not flipped from frame to frame."""

from __future__ import annotations

import numpy as np

from stream.biometry import Orientation

PRIOR_LOG_ODDS = 2.0
"""Before any evidence: 7 to 1 that the PS lies on the left, as displays and data sets have it."""
FRAME_LIMIT = 4.0
"""No single frame says more than 55 to 1: neighbouring frames repeat each other's errors."""
MEMORY_LIMIT = 40.0
"""At most ten frames' worth is remembered, so that a scanner that is really flipped is followed."""


class OrientationMemory:
    """Adds up each frame's evidence and answers with the orientation it speaks for.

    Convention: natural log odds, positive for a normal picture (`Biometry.normal_log_odds`). Frames without
    evidence (0) change nothing. Example: one frame of -5 counts as -4, and 2 - 4 < 0 answers mirrored.

    Args:
        fixed: what the user said; `AUTO` finds it out.
    """

    def __init__(self, fixed: Orientation) -> None:
        self._fixed = fixed
        self._log_odds = PRIOR_LOG_ODDS

    @property
    def orientation(self) -> Orientation:
        """What to measure the next frame with: `NORMAL` or `MIRRORED`."""
        if self._fixed is not Orientation.AUTO:
            return self._fixed
        return Orientation.NORMAL if self._log_odds >= 0 else Orientation.MIRRORED

    def add(self, normal_log_odds: float) -> None:
        """Takes in what one frame shows."""
        step = float(np.clip(normal_log_odds, -FRAME_LIMIT, FRAME_LIMIT))
        self._log_odds = float(np.clip(self._log_odds + step, -MEMORY_LIMIT, MEMORY_LIMIT))

    def forget(self) -> None:
        """Starts anew, as at a cut to another recording."""
        self._log_odds = PRIOR_LOG_ODDS
