"""Keeps hold of the sector: found over several pictures, locked, and let go where the screen shows it elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.watch.sector import Gathered, Panes, Sector, find_outline, overlap

if TYPE_CHECKING:
    from numpy.typing import NDArray

GATHER_LIVE = 12
"""New pictures of a live feed that a sector is found over: 0.4 s at 30 Hz."""
CHECK_EVERY = 24
"""New pictures after which the sector is looked for again, to see that it is still there."""
OUTSIDE_LEVELS, OUTSIDE_SHARE = 25, 0.02
"""Pixels outside that changed by so much, as a share of the sector's area, are a reason to look at once."""
SAME_PLACE = 0.75
"""Intersection over union of two sectors in one place."""
SURE = 0.8
"""Least confidence of a sector that is taken in place of the one that is locked."""
WITHIN = 0.95
"""A sector of which this share lies in another one lies in it."""
SMALLER, MOSTLY_WITHIN = 0.7, 0.5
"""For a sector smaller than this share of the locked one it is enough that so much of it lies there."""


class SectorLock:
    """The sector of one stream.

    Args:
        gather: pictures that a sector is found over.
        pane: which of two panes is wanted.

    Attributes:
        gather: as given; a recording's is found at once where it was found before.
        sector: the one that is locked; None while there is none.
        panes: what was seen last, also where nothing is locked.
        darkest, brightest: (H, W) uint8: what each pixel was at least and at most in the pictures the sector was found
            over; set at the moment it is locked.
        count: how many those were.
    """

    def __init__(self, *, gather: int, pane: Panes | None = None) -> None:
        self.gather, self._pane = gather, pane
        self.sector: Sector | None = None
        self.panes = Panes.ONE
        self._start((0, 0))

    def _start(self, shape: tuple[int, int]) -> None:
        """Forgets the sector and begins to look for one in pictures of this size."""
        self.sector = None
        self._shape = shape
        self._gathered: Gathered | None = None
        self.darkest: NDArray[np.uint8] = np.full(shape, 255, np.uint8)
        self.brightest: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.count = 0

    def let_go(self) -> None:
        """Forgets the sector: it will be found anew."""
        self._start(self._shape)

    def place(self, image: NDArray[np.uint8]) -> bool:
        """Takes a new picture; returns whether a sector was locked with it. `sector` then is the one that holds."""
        shape = (image.shape[0], image.shape[1])
        if shape != self._shape:
            self._start(shape)
        if self._gathered is None:
            self._gathered = Gathered(shape)
        small = self._gathered.small(image)
        if self.sector is not None and self._is_elsewhere(small):
            self._start(shape)
            self._gathered = Gathered(shape)
        self._gathered.add(small)
        if self.sector is not None:
            return False
        cv2.min(self.darkest, image, self.darkest)
        cv2.max(self.brightest, image, self.brightest)
        self.count += 1
        return self.count >= self.gather and self.settle()

    def settle(self) -> bool:
        """Looks for the sector in what was gathered so far, little as it may be; returns whether one was locked."""
        if self._gathered is None or self.sector is not None:
            return False
        found = find_outline(self._gathered, pane=self._pane)
        self.panes = found.panes if found else Panes.ONE
        if found is None or found.panes is Panes.TWO:
            self._start(self._shape)
            return False
        self.sector = found.enlarged(self._shape)
        self._inside = found.mask
        self._outside = cv2.dilate(self._inside, np.ones((5, 5), np.uint8)) == 0
        self._most_changed = max(1.0, OUTSIDE_SHARE * cv2.countNonZero(self._inside))
        self._screen = self._gathered.brightest.copy()
        self._gathered = Gathered(self._shape)
        return True

    def _is_elsewhere(self, small: NDArray[np.uint8]) -> bool:
        """Whether the locked sector is no longer where it was: looked at when its surroundings change, and at times."""
        assert self._gathered is not None
        changed = (cv2.absdiff(small, self._screen) > OUTSIDE_LEVELS) & self._outside
        if np.count_nonzero(changed) > self._most_changed:
            single = Gathered(self._shape)
            single.add(small)
            if self._has_moved(single):
                return True
            np.copyto(self._screen, small)  # a menu opened: that is how the screen looks now
        if self._gathered.count < CHECK_EVERY:
            return False
        recent, self._gathered = self._gathered, Gathered(self._shape)
        return self._has_moved(recent)

    def _has_moved(self, recent: Gathered) -> bool:
        found = find_outline(recent, pane=self._pane)
        if found is None or found.confidence < SURE or self.sector is None:
            return False  # a dark picture is no other place
        if found.panes is Panes.TWO:
            return True
        if overlap(found.mask, self._inside) >= SAME_PLACE:
            return False
        # A smaller one, mostly within the old, is the same sector partly in shadow or off the skin, far more often than
        # a new one; a change of depth shows in the ruler.
        area = cv2.countNonZero(found.mask)
        within = cv2.countNonZero(cv2.bitwise_and(found.mask, self._inside)) / area
        is_smaller = area < SMALLER * cv2.countNonZero(self._inside)
        return within < (MOSTLY_WITHIN if is_smaller else WITHIN)
