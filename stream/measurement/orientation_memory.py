"""Orientation over time: evidence of frames accumulated over a segment, flips detected."""

from __future__ import annotations

import numpy as np

from stream.frames.frame import SegmentCause
from stream.measurement.biometry import Orientation

MIRRORED_LOG_ODDS = -2.0
"""The evidence must be this clear before a picture counts as mirrored: displays and data sets have the PS left."""
CLEAR_LOG_ODDS = 2.0
"""What is so clear, either way, contradicts what was known, and settles what is not known any more."""
FRAME_LIMIT = 6.0
"""No single frame says more than 400 to 1."""
MEMORY_FRAMES = 50
"""About two seconds."""
SETTLING_FRAMES = 5
"""Frames with evidence after which an orientation is settled that a flip, or contradiction, had ended."""
CONTRADICTING_FRAMES = 3
"""So many frames in a row that contradict a settled orientation end it."""


class OrientationMemory:
    """Averages the frames' evidence over a segment and answers with the orientation it speaks for.

    It averages, and does not add up: neighbouring frames repeat each other's errors, so a hundred of them that
    lean the wrong way know no more than one. Between clear answers there is none, which is a reason not to
    measure: read the wrong way round, AoP would be some 30 degrees off. For the same reason a frame that clearly
    contradicts a settled orientation has no answer, and where `CONTRADICTING_FRAMES` do so in a row the display was
    flipped: `add` says so, and the caller begins a segment with that frame.

    Convention: natural log odds, positive for a normal picture (`Biometry.orientation_log_odds`). Frames without
    evidence (0) are passed over. Mean of at least 0: normal. Below MIRRORED_LOG_ODDS: mirrored. Between: unknown.
    In a segment that began with a flip or a cut: unknown until the mean of `SETTLING_FRAMES` is clear. After a flip
    what the user said of the display before no longer holds; after a cut `MEMORY_FRAMES` that are not clear say what
    they would say at a start, so that a picture that never speaks clearly is measured again.
    Example: one frame of -5 answers mirrored, one of -1 is no answer.

    Args:
        fixed: what the user said; `AUTO` finds it out.
    """

    def __init__(self, fixed: Orientation) -> None:
        self._said = self._fixed = fixed
        self._is_contradicted = False
        self.begin(SegmentCause.START)

    def begin(self, cause: SegmentCause) -> None:
        """Begins a segment: what was found of the one before says nothing of it."""
        self._mean, self._count, self._contradicting = 0.0, 0, 0
        self._is_contradicted = False
        self._is_flipped = cause is SegmentCause.ORIENTATION
        self._must_settle = cause in (SegmentCause.ORIENTATION, SegmentCause.CUT)
        if self._is_flipped:
            self._fixed = Orientation.AUTO
        elif cause is SegmentCause.LOOP:  # the same recording from its start
            self._fixed = self._said

    @property
    def orientation(self) -> Orientation | None:
        """`NORMAL`, `MIRRORED`, or None where the evidence so far does not say."""
        if self._fixed is not Orientation.AUTO:
            return self._fixed
        if self._is_contradicted or (self._must_settle and not self._has_settled):
            return None
        return self._leaning

    @property
    def is_flipped(self) -> bool:
        """Whether the segment began with a flip, so that nothing may be presumed of it."""
        return self._is_flipped

    @property
    def _leaning(self) -> Orientation | None:
        if self._mean >= 0:
            return Orientation.NORMAL
        return Orientation.MIRRORED if self._mean < MIRRORED_LOG_ODDS else None

    @property
    def _has_settled(self) -> bool:
        has_seen_enough = self._count >= MEMORY_FRAMES and not self._is_flipped
        return self._is_settled or has_seen_enough

    @property
    def _is_settled(self) -> bool:
        return self._count >= SETTLING_FRAMES and abs(self._mean) >= CLEAR_LOG_ODDS

    def add(self, orientation_log_odds: float) -> bool:
        """Takes in what one frame shows; returns whether it shows, with those before, that the display was flipped."""
        self._is_contradicted = False
        if orientation_log_odds == 0.0:
            return False
        evidence = float(np.clip(orientation_log_odds, -FRAME_LIMIT, FRAME_LIMIT))
        if self._is_settled and evidence * self._mean < 0 and abs(evidence) >= CLEAR_LOG_ODDS:
            self._is_contradicted = True
            self._contradicting += 1
            return self._fixed is Orientation.AUTO and self._contradicting >= CONTRADICTING_FRAMES
        self._contradicting = 0
        self._count = min(self._count + 1, MEMORY_FRAMES)
        self._mean += (evidence - self._mean) / self._count
        return False
