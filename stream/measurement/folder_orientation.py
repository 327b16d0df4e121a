"""Orientation of a folder of masks, decided once from all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Orientation
from stream.measurement.orientation_cues import MIRRORED_TO, orientation_from_log_odds
from stream.measurement.protocols import find_protocol, measure
from stream.measurement.protocols.robust import mask_orientation_cues

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_PX = 64
ALIKE_PS, ALIKE_FH = 0.7, 0.8
"""Dice from which two masks, both drawn on 64 x 64, are one view. Of the pairs in one near-duplicate group of PSFHS,
99 in 100 have more for PS, and 97 for FH; and no group falls into more than two views."""
VIEWS_OF_ONE = 4
"""So many views may be of one patient, as the probe moves and the head comes down, and repeat one error."""


class FolderOrientation:
    """Adds up what masks show of their orientation, each view once.

    Convention: natural log odds, positive for normal pictures. Masks that are alike are one view, and count by their
    mean. The evidence of all is the mean over views, times the number of views over VIEWS_OF_ONE where that is more
    than 1: errors of one patient repeat each other, those of several do not. Worked values: a hundred frames of one
    view of -3 are -3 together, which is unclear; 20 views of -3 are -15, mirrored.
    """

    def __init__(self) -> None:
        self._views: list[NDArray[np.float32]] = []
        self._sums: list[tuple[float, int]] = []

    def add(self, labels: NDArray[np.uint8]) -> float | None:
        """Takes in a mask, (H, W) uint8, 1 = PS, 2 = FH; its own log odds, or None where a structure is missing."""
        cues = mask_orientation_cues(labels)
        if cues is None:
            return None
        self.add_log_odds(labels, cues.log_odds)
        return cues.log_odds

    def add_log_odds(self, labels: NDArray[np.uint8], log_odds: float) -> None:
        """Takes in a mask whose own log odds are known already."""
        view = self._view_of(labels)
        total, count = self._sums[view]
        self._sums[view] = total + log_odds, count + 1

    @property
    def views(self) -> int:
        """How many unlike masks there are."""
        return len(self._sums)

    @property
    def log_odds(self) -> float:
        """The evidence of all masks together; 0 where there is none."""
        if not self._sums:
            return 0.0
        mean = float(np.mean([total / count for total, count in self._sums]))
        return mean * max(1.0, self.views / VIEWS_OF_ONE)

    @property
    def orientation(self) -> Orientation | None:
        """How all of them are to be read; None where that is not clear."""
        return orientation_from_log_odds(self.log_odds)

    def of_mask(self, log_odds: float) -> Orientation | None:
        """How one of them is to be read that by itself has these log odds: as all are, or not at all.

        It is not read where it contradicts the others: strongly, or by more than their evidence outweighs.
        """
        together = self.orientation
        is_strong = abs(log_odds) >= -MIRRORED_TO and orientation_from_log_odds(log_odds) is not together
        return None if is_strong or orientation_from_log_odds(log_odds + self.log_odds) is not together else together

    def measured(
        self, labels: NDArray[np.uint8], *, protocol: str, pixel_size: tuple[float, float] = (1.0, 1.0)
    ) -> Biometry:
        """One of them measured the way round that all are; see `stream.measurement.protocols.measure`.

        The challenge protocols presume normal pictures: of mirrored ones they measure nothing.
        """
        read_as = self.orientation or Orientation.NORMAL
        is_squeezed = find_protocol(protocol).is_squeezed
        if is_squeezed and read_as is Orientation.MIRRORED:
            return Biometry(protocol=protocol, reason=Reason.AXIS_AMBIGUOUS)
        found = measure(labels, protocol=protocol, pixel_size=pixel_size, orientation=read_as)
        if is_squeezed or not found.orientation_log_odds or self.of_mask(found.orientation_log_odds):
            return found
        reason = found.reason or Reason.AXIS_AMBIGUOUS
        return Biometry(protocol=protocol, reason=reason, orientation_log_odds=found.orientation_log_odds)

    def _view_of(self, labels: NDArray[np.uint8]) -> int:
        """The number of the view a mask is of: the first one it is like, or a new one."""
        small = cv2.resize(labels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST).ravel()
        planes = np.stack([small == 1, small == 2]).astype(np.float32)
        if self._views:
            views = np.stack(self._views)
            shared = np.einsum("vcp,cp->vc", views, planes)
            dice = 2 * shared / np.maximum(1.0, views.sum(axis=2) + planes.sum(axis=1))
            alike = np.flatnonzero((dice[:, 0] >= ALIKE_PS) & (dice[:, 1] >= ALIKE_FH))
            if len(alike):
                return int(alike[0])
        self._views.append(planes)
        self._sums.append((0.0, 0))
        return len(self._views) - 1
