"""The pixel spacing by the ruler on the screen: read when the sector is found, and let go when its ticks change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.watch.ruler import Ruler, read_ruler

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANGED_LEVELS = 6.0
"""Mean difference, in grey levels, of the ruler's strip to that of the ruler that was read: its ticks have moved."""
READ_OVER = 6
"""New pictures over which a changed ruler is read anew."""
RETRY_EVERY = 96
"""New pictures after which a ruler is looked for where none was found."""


class RulerWatch:
    """The ruler of one stream.

    Args:
        step_mm: from tick to tick, where the user knows it.

    Attributes:
        ruler: the one that holds; None while there is none.
    """

    def __init__(self, *, step_mm: float | None = None) -> None:
        self._step_mm = step_mm
        self.ruler: Ruler | None = None
        self._darkest: NDArray[np.uint8] | None = None
        self._count = 0

    def begin(self, darkest: NDArray[np.uint8], sector: NDArray[np.uint8], pixel_aspect: float | None) -> None:
        """Reads the ruler beside a sector that was just found, from the least each pixel was."""
        self._sector, self._aspect = sector, pixel_aspect
        self._read(darkest)

    def look(self, image: NDArray[np.uint8]) -> bool:
        """Takes a new picture; returns whether the scale changed with it: it came, went, or became another."""
        if self.ruler is not None:
            changed = cv2.mean(cv2.absdiff(_strip(image, self.ruler), self._ticks), self._beside)[0]
            if changed <= CHANGED_LEVELS:
                return False
            self.ruler, self._darkest, self._count = None, image.copy(), 1
            return True
        self._count += 1
        if self._darkest is None:
            if self._count >= RETRY_EVERY:
                self._darkest, self._count = image.copy(), 1
            return False
        cv2.min(self._darkest, image, self._darkest)
        if self._count < READ_OVER:
            return False
        self._read(self._darkest)
        return self.ruler is not None

    def _read(self, darkest: NDArray[np.uint8]) -> None:
        self.ruler = read_ruler(darkest, self._sector, pixel_aspect=self._aspect, step_mm=self._step_mm)
        self._darkest, self._count = None, 0
        if self.ruler is not None:
            self._ticks = _strip(darkest, self.ruler).copy()
            self._beside = _strip(np.asarray(cv2.bitwise_not(self._sector), np.uint8), self.ruler).copy()


def _strip(image: NDArray[np.uint8], ruler: Ruler) -> NDArray[np.uint8]:
    """The ruler: columns of its ticks, rows from its first to its last."""
    left, right = ruler.depth.across_px
    first = max(0, int(ruler.depth.first_px) - 2)
    last = int(ruler.depth.first_px + ruler.depth.length_px) + 3
    return image[first:last, max(0, left) : right]
