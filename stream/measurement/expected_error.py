"""Expected AoP error of a frame, from its own prediction; `quality` is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from stream.measurement.symphysis_axis import turn_deg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.measurement.symphysis_axis import Symphysis

FEATURES = ("disagreement", "spread", "expected", "end", "length", "area", "axis ratio", "peak", "plane head", "tilt")
"""Features of the expected error, see `error_features`."""
LEAST_DEG, MOST_DEG = 0.5, 60.0
"""The expected error is clipped to this range."""
PEAK_CELLS = 5
"""Side of the patch of logits over which a PS must be seen, as in `engines.network.gate`."""


def error_features(found: Symphysis, *, side: int, area: float, peak: float, plane_head: float) -> NDArray[np.float64]:
    """The features (10,) in the order of `FEATURES`; NaN, all of them, without a second look.

    Convention: angles enter as log(1 + degrees): how far the mask's direction and the look's are apart, how far the
    views spread, what the network itself expects; then log(1 + distance of both inferior ends in hundredths of `side`),
    |log| of both lengths' ratio, log of the mask's area in hundredths of the square's, log of its ellipse's axis ratio,
    the peak of the PS' logit margin over 10, the plane head's logit over 10, both within -2 and 2, and the tilt of the
    look's axis in right angles.

    Args:
        found: the readings of the PS, in pixels.
        side: of the square they are in, px.
        area: share of the square that the mask's PS covers, 0 to 1.
        peak: see `ps_peak`.
        plane_head: logit of the plane head.
    """
    look, ellipse = found.look, found.ellipse
    if look is None:
        return np.full(len(FEATURES), math.nan)
    apart = abs(turn_deg(found.mask.direction, look.axis.direction))
    ends = math.dist(found.mask.inferior, look.axis.inferior) / side
    return np.array(
        [
            math.log1p(apart),
            math.log1p(look.spread_deg),
            math.log1p(look.expected_deg),
            math.log1p(100 * ends),
            abs(math.log(max(look.length, 1.0) / (2 * ellipse.semi_major))),
            math.log(100 * max(area, 1e-4)),
            math.log(ellipse.semi_major / ellipse.semi_minor),
            min(max(peak / 10, -2.0), 2.0),
            min(max(plane_head / 10, -2.0), 2.0),
            math.asin(min(max(float(look.axis.direction[1]), -1.0), 1.0)) / (math.pi / 2),
        ]
    )


def ps_peak(class_logits: NDArray[np.float32]) -> float:
    """The largest mean over a patch of the PS' logit above the larger of the others', of logits (3, h, w)."""
    background, ps, fh = class_logits
    mean = cv2.blur(ps - np.maximum(background, fh), (PEAK_CELLS, PEAK_CELLS))
    rim = PEAK_CELLS // 2
    return float(mean[rim:-rim, rim:-rim].max())


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorModel:
    """Foretells a frame's absolute error of AoP, and says its quality.

    Attributes:
        weights: by the names of `FEATURES`; one that is not named is 0.
        constant: added to the sum.
        surest_deg: expected error, degrees, of frames of quality 1: that of the surest twentieth out of fold.
        mask_only_deg: expected error of a frame without a second look.
    """

    weights: Mapping[str, float]
    constant: float
    surest_deg: float
    mask_only_deg: float

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """From a model's facts (`ModelSpec.quality`).

        Raises:
            TypeError, ValueError: a key is missing or unknown, or a number is none.
        """
        found = cls(**facts)
        numbers = (*found.weights.values(), found.constant, found.surest_deg, found.mask_only_deg)
        if set(found.weights) - set(FEATURES) or not all(map(math.isfinite, numbers)) or found.surest_deg <= 0:
            raise ValueError(f"no model of errors: {facts}")
        return found

    def expected_deg(self, features: NDArray[np.float64] | None) -> float:
        """The expected absolute error in degrees: exp(constant + sum of weights times features), within limits."""
        if features is None or not np.isfinite(features).all():
            return self.mask_only_deg
        weights = [self.weights.get(name, 0.0) for name in FEATURES]
        exponent = self.constant + float(features @ np.array(weights))
        return float(np.clip(math.exp(min(exponent, 10.0)), LEAST_DEG, MOST_DEG))

    def quality(self, expected_deg: float) -> float:
        """Quality in (0, 1] by the expected error: `surest_deg` over it, at most 1.

        Convention: a frame of quality 0.5 is expected to err by twice as much as the surest ones. The filter divides
        the variance of its white noise by the quality.
        """
        return min(1.0, self.surest_deg / expected_deg)
