"""Detects repeated, frozen and black pictures.

A display's output runs at 60 Hz and shows 25 to 50 scanned pictures a second: each is repeated once or twice, and must
be measured once. A scanner that is frozen repeats one for as long as it likes, and its last number must not stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.reason import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.frames.frame import Frame

FREEZE_S = 0.4
"""A picture shown again and again for so long is frozen."""
SAME_LEVELS = 0.15
"""Mean absolute difference, in grey levels, of blocks of two pictures that are the same, from a feed without loss."""
SAME_AFTER_CODING = 0.6
"""Likewise after H.264 or JPEG, which make slightly different pictures of the same one: up to 0.43 was seen for H.264
at a constant quality of 23, and 1.1 or more between two pictures of a moving scan."""
DRIFT = 3.0
BLACK_MEAN, BLACK_SPREAD = 6.0, 4.0
"""Grey levels: a picture darker and flatter than this shows nothing."""
CENTRE = (0.15, 0.85)
"""Share of width and height that is compared: the edges hold clocks and cursors."""
BLOCK = 4
"""Blocks of so many pixels are averaged first: coding noise goes, speckle that moved stays."""


class DuplicateDetector:
    """Tells new frames from those shown again; one for each stream.

    Convention: a frame is `REPEATED` where the mean absolute difference of its centre, in blocks, to the frame before
    is at most `same_levels`, and to the last new one at most `DRIFT` times that: an encoder goes on refining a picture
    that stands still. It is `FROZEN` once that has lasted `FREEZE_S` of presentation time. A
    still probe on a live picture is neither: its speckle and noise move. (A coarse encoder that skips what hardly
    changes takes that away; then a still probe does look frozen.) Another size, or a new segment, is always new.

    Args:
        same_levels: `SAME_LEVELS` for uncompressed feeds, `SAME_AFTER_CODING` for coded ones.
    """

    def __init__(self, *, same_levels: float = SAME_AFTER_CODING) -> None:
        self._same_levels = same_levels
        self._before: NDArray[np.float32] | None = None
        self._new: NDArray[np.float32] | None = None
        self._last_new_s = 0.0
        self._segment = -1

    def classify(self, frame: Frame, image: NDArray[np.uint8]) -> Reason | None:
        """Why this frame is not new, or None; call it for every frame, in order.

        Args:
            frame: says when it was taken.
            image: the part of it that is compared: the sector, where it is known.
        """
        centre = _centre(image)
        before, self._segment = self._segment, frame.segment
        if float(centre.mean()) < BLACK_MEAN and float(centre.std()) < BLACK_SPREAD:
            self._before = self._new = None
            return Reason.NO_SIGNAL
        is_same = before == frame.segment and self._is_same(centre)
        self._before = centre
        if not is_same:
            self._new, self._last_new_s = centre, frame.pts_s
            return None
        return Reason.FROZEN if frame.pts_s - self._last_new_s >= FREEZE_S else Reason.REPEATED

    def _is_same(self, centre: NDArray[np.float32]) -> bool:
        if self._before is None or self._new is None or self._before.shape != centre.shape:
            return False
        since_before = float(np.abs(centre - self._before).mean())
        since_new = float(np.abs(centre - self._new).mean())
        return since_before <= self._same_levels and since_new <= DRIFT * self._same_levels


def _centre(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = (slice(int(CENTRE[0] * side), max(1, int(CENTRE[1] * side))) for side in image.shape)
    centre = image[rows, columns]
    size = (max(1, centre.shape[1] // BLOCK), max(1, centre.shape[0] // BLOCK))
    return cv2.resize(centre.astype(np.float32), size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
