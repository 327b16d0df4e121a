"""Tracks the depth ruler of a stream, and with it the pixel spacing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.preprocessing.depth_ruler import Ruler, read_ruler

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIKE = 0.85
"""The ruler's strip correlates by at least so much with what it was when it was read, or its ticks moved, went, or
others came between them. Correlation, so that brightness does not count."""
SAME_PITCH = 0.02
"""A ruler whose pitch differs by less than this share, and whose ticks stand for as much, is the same one."""
READ_OVER = 6
"""New pictures over which a ruler that is not to be read in one is looked for."""
RETRY_FIRST, RETRY_LAST = 6, 96
"""New pictures after which a ruler is looked for again where none was found, twice as many each time, up to the last:
it may be hidden for a moment, or have been missed in the one picture there was."""


class RulerTracker:
    """Tracks the ruler of one stream.

    A ruler that cannot be read any more, as under a menu, gives no scale until it is read again; one that then, or at
    once, has another pitch says that the depth was changed.

    Args:
        step_mm: from tick to tick, where the user knows it.

    Attributes:
        ruler: the one that holds; None while there is none to be read.
    """

    def __init__(self, *, step_mm: float | None = None) -> None:
        self._step_mm = step_mm
        self.end()

    def end(self) -> None:
        """Lets the ruler go, with the sector it stood beside."""
        self.ruler: Ruler | None = None
        self._last: Ruler | None = None
        self._darkest: NDArray[np.uint8] | None = None
        self._count, self._wait = 0, RETRY_FIRST

    @property
    def is_hidden(self) -> bool:
        """Whether there was a ruler in this segment that cannot be read now."""
        return self.ruler is None and self._last is not None

    def begin(self, darkest: NDArray[np.uint8], sector: NDArray[np.uint8], pixel_aspect: float | None) -> None:
        """Reads the ruler beside a sector that was just found, from the least each pixel was."""
        self.end()
        self._sector, self._aspect = sector, pixel_aspect
        self._read(darkest)

    def update(self, image: NDArray[np.uint8]) -> bool:
        """Takes a new picture; returns whether its ruler says another depth than the one before."""
        if self.ruler is not None:
            if self._still_there(image):
                return False
            self._darkest, self._count, self._wait = image.copy(), 1, RETRY_FIRST
            return self._read(image)
        self._count += 1
        if self._darkest is None:
            if self._count >= self._wait:
                self._darkest, self._count = image.copy(), 1
                self._wait = min(2 * self._wait, RETRY_LAST)
            return False
        cv2.min(self._darkest, image, self._darkest)
        if self._count < READ_OVER:
            return False
        darkest, self._darkest, self._count = self._darkest, None, 0
        return self._read(darkest)

    def _still_there(self, image: NDArray[np.uint8]) -> bool:
        """Whether the ticks that were read are where they were, and no others between them."""
        strip = self._strip_of(image)
        strip -= strip.mean()
        norm = float(np.linalg.norm(strip)) * self._norm
        return norm > 0 and float(np.vdot(strip, self._strip)) >= ALIKE * norm

    def _read(self, darkest: NDArray[np.uint8]) -> bool:
        """Reads the ruler; returns whether it differs from the last one that was read."""
        ruler = read_ruler(darkest, self._sector, pixel_aspect=self._aspect, step_mm=self._step_mm)
        self.ruler = ruler
        if ruler is None:
            return False
        last, self._last = self._last, ruler
        depth = ruler.depth
        first, end = max(0, int(depth.first_px) - 2), int(depth.first_px + depth.length_px) + 3
        self._part = np.s_[first:end, max(0, depth.across_px[0]) : depth.across_px[1]]
        self._beside = (self._sector[self._part] == 0).astype(np.float32)
        self._strip = self._strip_of(darkest)
        self._strip -= self._strip.mean()
        self._norm = float(np.linalg.norm(self._strip))
        return last is not None and not _is_same(last, ruler)

    def _strip_of(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The ruler outside the sector: columns of its ticks, rows from its first to its last."""
        return np.asarray(image[self._part] * self._beside, np.float32)


def _is_same(one: Ruler, other: Ruler) -> bool:
    return one.step_mm == other.step_mm and math.isclose(one.depth.pitch_px, other.depth.pitch_px, rel_tol=SAME_PITCH)
