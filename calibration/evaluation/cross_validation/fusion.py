"""One axis from two: the mask's and the second look's, weighed by how far each errs out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.evaluation.cross_validation.angles import Axis, ellipse_of, turn_deg, turned

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUBPIXEL = 16


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What the views of one frame agree on.

    Attributes:
        axis: mean direction, and mean inferior end.
        length: mean distance between both ends, px.
        spread_deg: standard deviation of the views' directions.
        expected_deg: mean of the errors that the network itself expects, degrees.
    """

    axis: Axis
    length: float
    spread_deg: float
    expected_deg: float


def second_look(views: NDArray[np.float64]) -> SecondLook | None:
    """Joins the views (V, 7) of a frame; None where there are none.

    A view's direction is the mean of the answered one and of the one between its answered ends.
    """
    if not np.isfinite(views).all():
        return None
    between = views[:, 2:4] - views[:, 4:6]
    length = float(np.linalg.norm(between, axis=1).mean())
    between /= np.linalg.norm(between, axis=1, keepdims=True).clip(1e-9)
    each = views[:, :2] + between
    each /= np.linalg.norm(each, axis=1, keepdims=True).clip(1e-9)
    mean = each.mean(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-9)
    off = np.array([turn_deg(mean, direction) for direction in each])
    expected = float(np.rad2deg(np.exp(views[:, 6].clip(-6, 2))).mean())
    return SecondLook(Axis(views[:, 2:4].mean(axis=0), mean), length, float(np.sqrt((off**2).mean())), expected)


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of the second look beside the mask.

    Attributes:
        direction: share of the second look in the direction, 0 to 1.
        inferior: share of the second look in the inferior end, 0 to 1.
    """

    direction: float
    inferior: float

    def join(self, mask: Axis | None, look: SecondLook | None) -> Axis | None:
        """The joint axis; either alone where the other is missing."""
        if mask is None or look is None:
            return mask if look is None else look.axis
        direction = turned(mask.direction, self.direction * turn_deg(mask.direction, look.axis.direction))
        inferior = (1 - self.inferior) * mask.inferior + self.inferior * look.axis.inferior
        return Axis(inferior, direction)


def redrawn(labels: NDArray[np.uint8], axis: Axis, look: SecondLook, *, length_share: float) -> NDArray[np.uint8]:
    """Labels (H, W) whose PS is an ellipse on the joint axis, so that every protocol measures by it.

    The ellipse is as wide as that of the found PS; its length is the second look's by `length_share`, else the found
    one's. The head keeps its pixels. A PS without an ellipse is left as it is.
    """
    found = ellipse_of(labels == 1)
    if found is None:
        return labels
    length = (1 - length_share) * 2 * found.semi_major + length_share * look.length
    centre = axis.inferior - axis.direction * length / 2
    region = np.zeros_like(labels)
    cv2.ellipse(
        region,
        [round(float(value) * _SUBPIXEL) for value in centre],
        [round(reach * _SUBPIXEL) for reach in (length / 2, found.semi_minor)],
        axis.deg,
        0,
        360,
        1,
        -1,
        shift=_SUBPIXEL.bit_length() - 1,
    )
    out = np.where(labels == 2, labels, 0).astype(np.uint8)
    out[(region > 0) & (labels != 2)] = 1
    return out


def inverse_variance_share(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The share of the second of two estimates whose weighted mean errs least in square.

    Convention: errors (n,) of both on the same frames, signed; the errors' correlation counts, and the share is kept
    in [0, 1]. Worked value: independent errors of variance 3 and 1 give 0.75.
    """
    v1, v2, both = (first**2).mean(), (second**2).mean(), (first * second).mean()
    below = v1 + v2 - 2 * both
    return float(np.clip((v1 - both) / below, 0.0, 1.0)) if below > 0 else 0.5
