"""Whether the picture is mirrored, decided over time: a scanner is not flipped from frame to frame."""

from __future__ import annotations

import numpy as np

from stream.biometry import Orientation

MIRRORED_LOG_ODDS = -2.0
"""The evidence must be this clear before a picture counts as mirrored: displays and data sets have the PS left."""
FRAME_LIMIT = 6.0
"""No single frame says more than 400 to 1."""
MEMORY_FRAMES = 50
"""About two seconds: a scanner that is really flipped is followed within that time."""


class OrientationMemory:
    """Averages the frames' evidence and answers with the orientation it speaks for.

    It averages, and does not add up: neighbouring frames repeat each other's errors, so a hundred of them that
    lean the wrong way know no more than one. Between clear answers there is none, which is a reason not to
    measure: read the wrong way round, AoP would be some 30 degrees off.

    Convention: natural log odds, positive for a normal picture (`Biometry.normal_log_odds`). Frames without
    evidence (0) are passed over. Mean of at least 0: normal. Below MIRRORED_LOG_ODDS: mirrored. Between: unknown.
    Example: one frame of -5 answers mirrored, one of -1 is no answer.

    Args:
        fixed: what the user said; `AUTO` finds it out.
    """

    def __init__(self, fixed: Orientation) -> None:
        self._fixed = fixed
        self._mean, self._count = 0.0, 0

    @property
    def orientation(self) -> Orientation | None:
        """`NORMAL`, `MIRRORED`, or None where the evidence so far does not say."""
        if self._fixed is not Orientation.AUTO:
            return self._fixed
        if self._mean >= 0:
            return Orientation.NORMAL
        return Orientation.MIRRORED if self._mean < MIRRORED_LOG_ODDS else None

    def add(self, normal_log_odds: float) -> None:
        """Takes in what one frame shows."""
        if normal_log_odds == 0.0:
            return
        self._count = min(self._count + 1, MEMORY_FRAMES)
        step = float(np.clip(normal_log_odds, -FRAME_LIMIT, FRAME_LIMIT)) - self._mean
        self._mean += step / self._count

    def forget(self) -> None:
        """Starts anew, as at a cut to another recording."""
        self._mean, self._count = 0.0, 0
