"""Tracks the sector: found over several pictures, kept, and released where it moves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.frame import SegmentCause
from stream.frames.regions import RegionKind
from stream.preprocessing.sector.detection import Outline, Panes, PixelExtrema, Sector, find_outline, is_zoomed, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.frames.regions import Box, Region

GATHER_LIVE = 12
"""New pictures of a live feed that a sector is found over: 0.4 s at 30 Hz."""
CHECK_EVERY = 24
"""New pictures after which the sector is looked for again, to see that it is still there."""
CONFIRM_OVER = 6
"""New pictures over which a sector that seems to be elsewhere is looked for once more before that is believed: one that
a menu covers, or that slides, is not found twice in one place."""
OUTSIDE_LEVELS, OUTSIDE_SHARE = 25, 0.02
"""Pixels outside that changed by so much, as a share of the sector's area, are a reason to look at once."""
SAME_PLACE = 0.75
"""Intersection over union of two sectors in one place."""
SAME_TWICE = 0.9
"""Likewise of a sector that is found elsewhere, and found there again."""
WITHIN = 0.95
"""A sector of which this share lies in another one lies in it."""
SMALLER, MOSTLY_WITHIN = 0.7, 0.5
"""For a sector smaller than this share of the locked one it is enough that so much of it lies there."""

REGION, LEAST_OF_REGION = "region, as its source says", 0.2
"""A sector that covers less than this share of the regions of tissue is a part of one, as the near field in air."""


class SectorTracker:
    """Tracks the sector of one stream.

    Args:
        gather: pictures that a sector is found over.
        pane: which of two panes is wanted.

    Attributes:
        gather: as given; a recording's is found at once where it was found before.
        sector: the one that is locked; None while there is none.
        inside: (H, W) uint8, the same on the small copy; set with it.
        lost: why the sector was let go with the picture taken last; None where it was not.
        panes: what was seen last, also where nothing is locked.
        darkest, brightest: (H, W) uint8: what each pixel was at least and at most in the pictures the sector was found
            over; set at the moment it is locked.
        count: how many those were.
    """

    def __init__(self, *, gather: int, pane: Panes | None = None) -> None:
        self.gather, self._pane = gather, pane
        self.sector: Sector | None = None
        self.inside: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self.lost: SegmentCause | None = None
        self.panes = Panes.ONE
        self._boxes: Sequence[Box] = ()
        self._start((0, 0))

    def _start(self, shape: tuple[int, int]) -> None:
        """Forgets the sector and begins to look for one in pictures of this size."""
        self.sector = None
        self._shape = shape
        self._gathered: PixelExtrema | None = None
        self._elsewhere: Outline | None = None
        self.darkest: NDArray[np.uint8] = np.full(shape, 255, np.uint8)
        self.brightest: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.count = 0

    def reset(self) -> None:
        """Forgets the sector: it will be found anew."""
        self._start(self._shape)

    def update(self, image: NDArray[np.uint8], small: NDArray[np.uint8], *, regions: Sequence[Region] = ()) -> bool:
        """Takes a new picture and its small copy; returns whether a sector was locked with it.

        `sector` then is the one that holds; `lost` says whether the one before was let go.

        Args:
            image: (H, W) uint8.
            small: its small copy.
            regions: where its source says that ultrasound is. The sector is looked for there alone, and where none is
                told, in air or all but dark, the only region of tissue is taken for it.
        """
        self.lost = None
        self._boxes = [region.box for region in regions if region.kind is RegionKind.TISSUE]
        shape = (image.shape[0], image.shape[1])
        if shape != self._shape:
            self._start(shape)
        if self._gathered is None:
            self._gathered = PixelExtrema(shape)
        if self.sector is not None:
            self.lost = self._change(small)
            if self.lost is not None:
                self._start(shape)
                self._gathered = PixelExtrema(shape)
        self._gathered.add(small)
        if self.sector is not None:
            return False
        cv2.min(self.darkest, image, self.darkest)
        cv2.max(self.brightest, image, self.brightest)
        self.count += 1
        return self.count >= self.gather and self.detect()

    def detect(self) -> bool:
        """Looks for the sector in what was gathered so far, little as it may be; returns whether one was locked."""
        if self._gathered is None or self.sector is not None:
            return False
        found = self._found(self._gathered)
        self.panes = found.panes if found else Panes.ONE
        if found is None or found.panes is Panes.TWO:
            self._start(self._shape)
            return False
        self.sector = found.enlarged(self._shape)
        self.inside = found.mask
        self._outside = cv2.dilate(self.inside, np.ones((5, 5), np.uint8)) == 0
        self._most_changed = max(1.0, OUTSIDE_SHARE * cv2.countNonZero(self.inside))
        self._screen = self._gathered.brightest.copy()
        self._gathered = PixelExtrema(self._shape)
        return True

    def _found(self, gathered: PixelExtrema) -> Outline | None:
        """The sector in some pictures, or what stands for it."""
        if not self._boxes or self._pane is not None:  # a pane that is chosen may lie in none of them
            return find_outline(gathered, pane=self._pane)
        within = np.zeros(gathered.size[::-1], np.uint8)
        for box in self._boxes:
            left, top, right, bottom = self._small_box(box, gathered.size)
            within[top:bottom, left:right] = 255
        found = find_outline(gathered, within=within)
        if found is not None and found.panes is Panes.TWO:
            return found
        most = cv2.countNonZero(within)
        if found is not None and cv2.countNonZero(found.mask) >= LEAST_OF_REGION * most:
            return found
        if len(self._boxes) > 1:
            return found or find_outline(gathered)
        return Outline(mask=within, confidence=1.0, shape=REGION, panes=Panes.ONE)

    def _small_box(self, box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a box of the picture on its small copy."""
        across, down = size[0] / self._shape[1], size[1] / self._shape[0]
        left, top, width, height = box
        right, bottom = math.ceil((left + width) * across), math.ceil((top + height) * down)
        return int(left * across), int(top * down), right, bottom

    def _change(self, small: NDArray[np.uint8]) -> SegmentCause | None:
        """Why the locked sector is no longer what it was, if it is not.

        It is looked at when its surroundings change, and at times; what is found is believed when it is found again.
        """
        assert self._gathered is not None
        if self._elsewhere is not None:
            return self._confirmed() if self._gathered.count >= CONFIRM_OVER else None
        changed = (cv2.absdiff(small, self._screen) > OUTSIDE_LEVELS) & self._outside
        if np.count_nonzero(changed) > self._most_changed:
            np.copyto(self._screen, small)  # that is how the screen looks now
            recent = PixelExtrema(self._shape)
            recent.add(small)
        elif self._gathered.count >= CHECK_EVERY:
            recent, self._gathered = self._gathered, PixelExtrema(self._shape)
        else:
            return None
        self._elsewhere = self._found_elsewhere(recent)
        if self._elsewhere is not None:
            self._gathered = PixelExtrema(self._shape)
        return None

    def _confirmed(self) -> SegmentCause | None:
        """Why the sector is let go, where it was found elsewhere twice and in one place; else it stays."""
        assert self._gathered is not None
        before, recent = self._elsewhere, self._gathered
        self._elsewhere, self._gathered = None, PixelExtrema(self._shape)
        found = self._found_elsewhere(recent)
        if before is None or found is None:
            return None
        if Panes.TWO in (found.panes, before.panes):
            return SegmentCause.PANE if found.panes is before.panes else None
        if overlap(found.mask, before.mask) < SAME_TWICE:
            return None
        return SegmentCause.DEPTH if is_zoomed(found.mask, self.inside) else SegmentCause.SECTOR

    def _found_elsewhere(self, recent: PixelExtrema) -> Outline | None:
        """The sector in these pictures, where it is another one than that which is locked."""
        found = self._found(recent)
        if found is None:
            return None  # a dark picture is no other place
        if found.panes is Panes.TWO or is_zoomed(found.mask, self.inside):
            return found
        if overlap(found.mask, self.inside) >= SAME_PLACE:
            return None
        # A smaller one, mostly within the old, is the same sector partly in shadow or off the skin.
        area = cv2.countNonZero(found.mask)
        within = cv2.countNonZero(cv2.bitwise_and(found.mask, self.inside)) / area
        is_smaller = area < SMALLER * cv2.countNonZero(self.inside)
        return found if within < (MOSTLY_WITHIN if is_smaller else WITHIN) else None
