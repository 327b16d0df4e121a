"""Orientation of a single mask: cues for a normal or a mirrored picture, as log odds.

The two questions are one. The head lies on one side of the PS axis; of the axis's two ends the inferior one is on
the right as the head is looked at from the PS in a normal picture, and on the left in a mirrored one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream.measurement.biometry import Orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.measurement.contours import RegionMoments

SKEWNESS_WEIGHT = 14.5
OFFSET_WEIGHT = 22.5
TILT_WEIGHT = 5.6
"""Logistic regression on the 979 masks of PSFHS and 240 phantoms, by: python -m calibration.fitting.orientation
DATA/psfhs. A PS without a taper in the middle of the field says nothing, and low-resolution pictures of high heads
(JNU-IFM) show it so. Where the orientation is known, give it."""

SKEWNESS_LIMIT = 0.1
"""A taper beyond this says no more: no cue is strong evidence by itself."""

TILT_LIMIT = 0.35
"""Beyond 20 degrees a tilt says no more about the anatomy, only that the probe was turned."""

OFFSET_LIMIT = 0.1
"""An offset beyond this share of the field's width says no more: a clean taper must be able to overrule where an
operator happened to hold the probe."""

NORMAL_FROM, MIRRORED_TO = 0.0, -4.5
"""Log odds from which on a picture is read as normal, and down to which as mirrored; between, it is not read. The band
is not symmetric, because most displays are normal. Chosen on grouped folds: `benchmarks/results/orientation.json`."""


def orientation_from_log_odds(log_odds: float) -> Orientation | None:
    """How a picture is read whose odds of being normal are these (natural logarithm); None where that is not clear."""
    if log_odds >= NORMAL_FROM:
        return Orientation.NORMAL
    return Orientation.MIRRORED if log_odds <= MIRRORED_TO else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientationCues:
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
    def orientation(self) -> Orientation | None:
        """How the picture is to be read; None where the cues do not say."""
        return orientation_from_log_odds(self.log_odds)


def orientation_cues(
    ps: RegionMoments, *, head_centroid: NDArray[np.float64], field_x: tuple[float, float]
) -> OrientationCues:
    """Collects the cues that tell a normal picture from a mirrored one.

    Convention: isotropic units, y down; `field_x` is where the field of view begins and ends. `right` is the
    long axis's direction that has the head clockwise of it. The offset is weighted by the cosine of the axis's
    tilt; skewness, offset and tilt are limited, each to its own limit. Worked value: a PS pointed at its right end,
    left of the middle, the head below it: right = (1, 0), skewness and offset positive, tilt 0. The probe is taken to
    be at the top.
    """
    to_head = head_centroid - ps.centroid
    side = float(ps.direction[0] * to_head[1] - ps.direction[1] * to_head[0])
    sign = 1.0 if side >= 0 else -1.0
    right = ps.direction * sign
    left, width = field_x[0], field_x[1] - field_x[0]
    offset = float(right[0]) * (left + width / 2 - float(ps.centroid[0])) / width
    return OrientationCues(
        right=right,
        skewness=float(np.clip(ps.skewness * sign, -SKEWNESS_LIMIT, SKEWNESS_LIMIT)),
        offset=float(np.clip(offset, -OFFSET_LIMIT, OFFSET_LIMIT)),
        tilt=float(np.clip(-right[1], -TILT_LIMIT, TILT_LIMIT)),
    )
