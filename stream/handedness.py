"""Which end of the pubic symphysis is the inferior one, or: is the picture mirrored?

The two questions are one. The head lies on one side of the PS axis; of the axis's two ends the inferior one is on
the right as the head is looked at from the PS in a normal picture, and on the left in a mirrored one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.outline import RegionMoments

SKEWNESS_WEIGHT = 22.8
OFFSET_WEIGHT = 31.2
TILT_WEIGHT = 6.9
"""Logistic regression on the 525 training masks of PSFHS and 240 phantoms, by:
python -m calibration.handedness DATA/psfhs/train/masks
A PS without a taper in the middle of the field says nothing, and low-resolution pictures of high heads (JNU-IFM) show
it so. Where the orientation is known, give it."""

TILT_LIMIT = 0.35
"""Beyond 20 degrees a tilt says no more about the anatomy, only that the probe was turned."""

OFFSET_LIMIT = 0.06
"""An offset beyond this share of the field's width says no more: a clean taper must be able to overrule where an
operator happened to hold the probe. Without the limit 3 % of the phantoms are wrong."""

MIRRORED_BELOW = -0.5
"""Log odds under which a picture counts as mirrored; where the cues say nothing, it is taken for normal, as most
displays are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handedness:
    """Evidence for a normal (positive) or a mirrored (negative) picture.

    Attributes:
        right: (2,) unit vector along the PS axis, to the right of someone who looks from the PS at the head.
        skewness: of the PS along `right`; the inferior end is the pointed one, so it is positive where normal.
        offset: how far the PS lies to the left of the field's middle, as a share of its width. The PS is
            anterior, and anterior is left in a normal picture.
        tilt: how far `right` points up to the probe, as the sine of the angle; the inferior end is the one
            nearer to the perineum.
    """

    right: NDArray[np.float64]
    skewness: float
    offset: float
    tilt: float

    @property
    def log_odds(self) -> float:
        """Natural logarithm of the odds that the picture is normal; its sign flips with the picture."""
        return SKEWNESS_WEIGHT * self.skewness + OFFSET_WEIGHT * self.offset + TILT_WEIGHT * self.tilt

    @property
    def is_mirrored(self) -> bool:
        return self.log_odds < MIRRORED_BELOW


def handedness(ps: RegionMoments, *, head_centroid: NDArray[np.float64], field_x: tuple[float, float]) -> Handedness:
    """Collects the cues that tell a normal picture from a mirrored one.

    Convention: isotropic units, y down; `field_x` is where the field of view begins and ends. `right` is the
    long axis's direction that has the head clockwise of it. The offset is weighted by the cosine of the axis's
    tilt and limited to +-OFFSET_LIMIT. Worked value: a PS pointed at its right end, left of the middle, the head
    below it: right = (1, 0), skewness and offset positive, tilt 0. The probe is taken to be at the top.
    """
    to_head = head_centroid - ps.centroid
    side = float(ps.direction[0] * to_head[1] - ps.direction[1] * to_head[0])
    sign = 1.0 if side >= 0 else -1.0
    right = ps.direction * sign
    left, width = field_x[0], field_x[1] - field_x[0]
    offset = float(right[0]) * (left + width / 2 - float(ps.centroid[0])) / width
    return Handedness(
        right=right,
        skewness=ps.skewness * sign,
        offset=float(np.clip(offset, -OFFSET_LIMIT, OFFSET_LIMIT)),
        tilt=float(np.clip(-right[1], -TILT_LIMIT, TILT_LIMIT)),
    )
