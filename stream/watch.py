"""What a picture is before it is looked at: new, shown again, frozen, or no picture at all.

A display's output runs at 60 Hz and shows 25 to 50 scanned pictures a second: each is repeated once or twice, and must
be measured once. A scanner that is frozen repeats one for as long as it likes, and its last number must not stand.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.frame import Frame

FREEZE_S = 0.4
"""A picture shown again and again for so long is frozen."""
SAME_LEVELS = 0.3
"""Mean absolute difference, in grey levels, of two pictures that are the same but for noise of the transport."""
SAME_AFTER_CODING = 0.7
"""Likewise after H.264 or JPEG, which make slightly different pictures of the same one."""
BLACK_MEAN, BLACK_SPREAD = 6.0, 4.0
"""Grey levels: a picture darker and flatter than this shows nothing."""
CENTRE = (0.15, 0.85)
"""Share of width and height that is compared: the edges hold clocks and cursors."""
STEP = 4
"""Every fourth pixel of every fourth row is compared."""


class Sight(StrEnum):
    """What a frame is to its predecessors."""

    NEW = "new"
    REPEATED = "repeated"
    FROZEN = "frozen"
    BLACK = "black"


class Watch:
    """Tells new frames from those shown again; one for each stream.

    Convention: a frame is compared with the last new one. It is `REPEATED` where the mean absolute difference of their
    centres is at most `same_levels`, and `FROZEN` once that has lasted `FREEZE_S` of presentation time. A still probe
    on a live picture is neither: its speckle and noise move. Another size, or a new segment, is always new.

    Args:
        same_levels: `SAME_LEVELS` for uncompressed feeds, `SAME_AFTER_CODING` for coded ones.
    """

    def __init__(self, *, same_levels: float = SAME_AFTER_CODING) -> None:
        self._same_levels = same_levels
        self._last: NDArray[np.int16] | None = None
        self._last_new_s = 0.0
        self._segment = -1

    def look(self, frame: Frame) -> Sight:
        """What this frame is; call it for every frame, in order."""
        centre = _centre(frame.image)
        before, self._segment = self._segment, frame.segment
        if float(centre.mean()) < BLACK_MEAN and float(centre.std()) < BLACK_SPREAD:
            self._last = None
            return Sight.BLACK
        last = self._last
        if last is None or before != frame.segment or last.shape != centre.shape:
            is_same = False
        else:
            is_same = float(np.abs(centre - last).mean()) <= self._same_levels
        if not is_same:
            self._last, self._last_new_s = centre, frame.pts_s
            return Sight.NEW
        return Sight.FROZEN if frame.pts_s - self._last_new_s >= FREEZE_S else Sight.REPEATED


def _centre(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    height, width = image.shape
    rows = slice(int(CENTRE[0] * height), max(1, int(CENTRE[1] * height)), STEP)
    columns = slice(int(CENTRE[0] * width), max(1, int(CENTRE[1] * width)), STEP)
    return image[rows, columns].astype(np.int16)
