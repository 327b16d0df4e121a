"""Confidence that a detected sector is ultrasound, not a photograph, plot or trace."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = (2.221, 2.925, -8.514, -2.763, -4.916, 0.952, 1.779, 2.225)
INTERCEPT = 6.451
"""Logistic regression on real frames, drawn screens and drawn pictures of other kinds, of `SectorFeatures` in its
order, by: python -m calibration.fitting.sector_confidence DATA"""

GROUND_LEVELS = 8
"""Grey levels above the screen's ground that count as ground beside a sector."""
LIT_LEVELS = 5
"""Likewise that something in it has."""
NEAR, FAR = 0.25, 0.33
"""Shares of a sector's height, from its top and from its bottom."""
AXIS_DEG = 6.0
"""A gradient within so much of the horizontal or vertical is that of a line, a letter or a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SectorFeatures:
    """Features that tell ultrasound from other pictures, each without a unit.

    Attributes:
        ground_around: share of a thin ring around the outline that is the screen's ground.
        near: how much brighter the near part is than the far one, over the sum of both.
        box: share of its bounding box that the outline fills.
        mean: grey level, over 255.
        axis: share of the gradients' sum that is horizontal or vertical.
        lateral: correlation of neighbours side by side minus that of those above each other: speckle is wide.
        skew: mean minus median, over the standard deviation: most of it is dark.
        speckle: spread within 5 x 5 pixels over their mean, the median of what is lit.
    """

    ground_around: float
    near: float
    box: float
    mean: float
    axis: float
    lateral: float
    skew: float
    speckle: float


def confidence(brightest: NDArray[np.uint8], mask: NDArray[np.uint8], *, ground: int) -> float:
    """The probability, 0 to 1, that an outline shows ultrasound.

    Args:
        brightest: (H, W) uint8, the small copy of the screen, the greatest that each pixel was.
        mask: (H, W) uint8, 255 in the outline.
        ground: grey level of the screen behind everything.
    """
    looks = sector_features(brightest, mask, ground=ground)
    log_odds = INTERCEPT + sum(weight * value for weight, value in zip(WEIGHTS, astuple(looks), strict=True))
    return 1.0 / (1.0 + math.exp(-min(30.0, max(-30.0, log_odds))))


def sector_features(brightest: NDArray[np.uint8], mask: NDArray[np.uint8], *, ground: int) -> SectorFeatures:
    """See `SectorFeatures`; arguments as of `confidence`."""
    left, top, width, height = cv2.boundingRect(mask)
    part = np.s_[max(0, top - 8) : top + height + 8, max(0, left - 8) : left + width + 8]
    grey, mask = brightest[part].astype(np.float32), mask[part]
    inside = mask > 0
    core = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
    core = core if core.any() else inside
    lit = core & (grey > ground + LIT_LEVELS)
    lit = lit if lit.any() else core
    levels = grey[inside]
    smooth = cv2.blur(grey, (5, 5))
    spread = np.sqrt(np.maximum(cv2.blur(grey * grey, (5, 5)) - smooth * smooth, 0))
    return SectorFeatures(
        ground_around=_ground_around(grey, mask, ground),
        near=_near(grey, inside),
        box=float(inside.sum() / (width * height)),
        mean=float(levels.mean()) / 255,
        axis=_axis(grey, core),
        lateral=_lateral(grey - smooth, core),
        skew=float((levels.mean() - np.median(levels)) / (levels.std() + 5)),
        speckle=float(np.median((spread / (smooth + 4))[lit])),
    )


def _ground_around(grey: NDArray[np.float32], mask: NDArray[np.uint8], ground: int) -> float:
    near, far = (cv2.dilate(mask, np.ones((side, side), np.uint8)) > 0 for side in (3, 9))
    ring = far & ~near
    return float((grey[ring] <= ground + GROUND_LEVELS).mean()) if ring.sum() > 20 else 0.5


def _near(grey: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    rows = np.flatnonzero(inside.any(axis=1))
    first, count = int(rows[0]), len(rows)
    near = np.s_[first : first + max(1, int(NEAR * count))]
    far = np.s_[first + count - max(1, int(FAR * count)) : first + count]
    above, below = (float(grey[each][inside[each]].mean()) for each in (near, far))
    return (above - below) / (above + below + 5)


def _axis(grey: NDArray[np.float32], core: NDArray[np.bool_]) -> float:
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)[core]
    turn = np.abs(np.degrees(np.arctan2(down, across)))[core] % 90
    is_on_axis = (turn < AXIS_DEG) | (turn > 90 - AXIS_DEG)
    return float(strength[is_on_axis].sum() / (strength.sum() + 1e-6))


def _lateral(detail: NDArray[np.float32], core: NDArray[np.bool_]) -> float:
    beside, below = core[:, 1:], core[1:]
    across = (detail[:, 1:] * detail[:, :-1])[beside]
    down = (detail[1:] * detail[:-1])[below]
    if not across.size or not down.size:
        return 0.0
    return float((across.mean() - down.mean()) / ((detail * detail)[core].mean() + 1))
