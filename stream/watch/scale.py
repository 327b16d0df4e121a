"""The pixel spacing by the ruler on the screen: read when the sector is found, and let go when its ticks change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.watch.ruler import TICK_LEVELS, Ruler, read_ruler

if TYPE_CHECKING:
    from numpy.typing import NDArray

STILL_LIT = 0.7
"""The ticks that were read keep at least this share of their brightness, or they have moved."""
MOST_OTHERS = 0.3
"""Other bright pixels in their row, as a share of theirs: more are new ticks between them."""
READ_OVER = 6
"""New pictures over which a changed ruler is read anew."""
RETRY_FIRST, RETRY_LAST = 6, 96
"""New pictures after which a ruler is looked for again where none was found, twice as many each time, up to the last:
it may be hidden for a moment, or have been missed in the one picture there was."""


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
        self._count, self._wait = 0, RETRY_FIRST

    def begin(self, darkest: NDArray[np.uint8], sector: NDArray[np.uint8], pixel_aspect: float | None) -> None:
        """Reads the ruler beside a sector that was just found, from the least each pixel was."""
        self._sector, self._aspect = sector, pixel_aspect
        self._read(darkest)

    def end(self) -> None:
        """Lets the ruler go, with the sector it stood beside."""
        self.ruler, self._darkest, self._count, self._wait = None, None, 0, RETRY_FIRST

    def look(self, image: NDArray[np.uint8]) -> bool:
        """Takes a new picture; returns whether the scale changed with it: it came, went, or became another."""
        if self.ruler is not None:
            if self._still_there(_strip(image, self.ruler)):
                return False
            self.ruler, self._darkest, self._count = None, image.copy(), 1
            return True
        self._count += 1
        if self._darkest is None:
            if self._count >= self._wait:
                self._darkest, self._count = image.copy(), 1
                self._wait = min(2 * self._wait, RETRY_LAST)
            return False
        cv2.min(self._darkest, image, self._darkest)
        if self._count < READ_OVER:
            return False
        self._read(self._darkest)
        return self.ruler is not None

    def _still_there(self, strip: NDArray[np.uint8]) -> bool:
        """Whether the ticks that were read are lit, and no others between them."""
        others = np.count_nonzero(strip[self._between] > TICK_LEVELS)
        are_lit = float(strip[self._ticks].mean()) >= STILL_LIT * self._brightness
        return are_lit and bool(others <= MOST_OTHERS * np.count_nonzero(self._ticks))

    def _read(self, darkest: NDArray[np.uint8]) -> None:
        self.ruler = read_ruler(darkest, self._sector, pixel_aspect=self._aspect, step_mm=self._step_mm)
        self._darkest, self._count = None, 0
        if self.ruler is not None:
            strip, beside = _strip(darkest, self.ruler), _strip(self._sector, self.ruler) == 0
            self._ticks = (strip > TICK_LEVELS) & beside
            self._between = ~cv2.dilate(self._ticks.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & beside
            self._brightness = float(strip[self._ticks].mean())


def _strip(image: NDArray[np.uint8], ruler: Ruler) -> NDArray[np.uint8]:
    """The ruler: columns of its ticks, rows from its first to its last."""
    left, right = ruler.depth.across_px
    first = max(0, int(ruler.depth.first_px) - 2)
    last = int(ruler.depth.first_px + ruler.depth.length_px) + 3
    return image[first:last, max(0, left) : right]
