"""Detects a probe without contact: reverberation bands at the face and nothing below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAR = 0.1
"""Share of the sector's height that the bands of reverberation fill."""
NEAR_LEVELS = 15.0
"""Mean grey level there, at least."""
FAR_LEVELS = 10
"""Below, all but the brightest hundredth stays under this."""
THIN = 4
"""Every n-th row and column is examined."""


def is_in_air(image: NDArray[np.uint8], inside: NDArray[np.uint8]) -> bool:
    """Whether a sector shows a probe in the air.

    Convention: the mean of the sector's upper `NEAR` is at least `NEAR_LEVELS`, and 99 of 100 pixels of the lower 70 %
    are below `FAR_LEVELS`: tissue that deep is never all so dark.

    Args:
        image: (H, W) uint8, cut to the sector's box.
        inside: (H, W) uint8, 255 in the sector.
    """
    thin, within = image[::THIN, ::THIN], inside[::THIN, ::THIN] > 0
    height = thin.shape[0]
    near, far = slice(0, max(1, round(NEAR * height))), slice(round(0.3 * height), height)
    bands, below = thin[near][within[near]], thin[far][within[far]]
    if not bands.size or not below.size:
        return False
    if np.count_nonzero(below >= FAR_LEVELS) >= 0.01 * below.size:
        return False
    return float(bands.mean()) >= NEAR_LEVELS
