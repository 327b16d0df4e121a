"""The axis of the pubic symphysis from two readings: the ellipse of its mask, and the network's second look at it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from stream.measurement.protocols.fhps2023 import ellipse_through, ellipse_vertices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.frames.regions import Point
    from stream.measurement.geometry import Ellipse

PS = 1
MOST_TURN_DEG = 10.0
"""More is no bias, but a defect."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """A directed axis.

    Attributes:
        inferior: (2,) its inferior end, next to the head, px.
        direction: (2,) unit vector from the superior to the inferior end.
    """

    inferior: NDArray[np.float64]
    direction: NDArray[np.float64]

    @property
    def deg(self) -> float:
        """Of the direction, from x towards y (down), in (-180, 180]."""
        return math.degrees(math.atan2(self.direction[1], self.direction[0]))


@dataclass(frozen=True, slots=True, eq=False)
class ViewedAxis:
    """What the views of the second look agree on.

    Attributes:
        axis: mean direction, and mean inferior end.
        length: mean distance between both ends, px.
        spread_deg: standard deviation of the views' directions.
        expected_deg: mean of the errors of the direction that the network itself expects, degrees.
    """

    axis: Axis
    length: float
    spread_deg: float
    expected_deg: float


def ellipse_of(region: NDArray[np.bool_]) -> Ellipse | None:
    """The ellipse of a region (H, W) as FH-PS-AOP 2023 fits it; None where there is none."""
    vertices = ellipse_vertices(region)
    return None if vertices is None else ellipse_through(vertices)


def axis_of_ellipse(ellipse: Ellipse, *, mirrored: bool = False) -> Axis:
    """The axis of a PS by its ellipse: its right end is the inferior one, in a mirrored picture its left end."""
    direction = np.array([math.cos(ellipse.theta_rad), math.sin(ellipse.theta_rad)])
    if bool(direction[0] < 0) is not mirrored:
        direction = -direction
    return Axis(np.array(ellipse.center) + ellipse.semi_major * direction, direction)


def viewed_axis(views: NDArray[np.float32] | NDArray[np.float64]) -> ViewedAxis | None:
    """Joins the views (V, 7) of a frame (`engines.base.Prediction.ps_axis`); None where there was nothing to look at.

    A view's direction is the mean of the answered one and of the one between its answered ends.
    """
    said = np.asarray(views, np.float64)
    if not np.isfinite(said).all() or not said[:, :2].any():
        return None
    between = said[:, 2:4] - said[:, 4:6]
    length = float(np.linalg.norm(between, axis=1).mean())
    each = _unit(_unit(said[:, :2]) + _unit(between))
    mean = _unit(each.mean(axis=0, keepdims=True))[0]
    off = np.array([turn_deg(mean, direction) for direction in each])
    expected = float(np.rad2deg(np.exp(said[:, 6].clip(-6, 2))).mean())
    return ViewedAxis(Axis(said[:, 2:4].mean(axis=0), mean), length, float(np.sqrt((off**2).mean())), expected)


@dataclass(frozen=True, slots=True, eq=False)
class Symphysis:
    """Both readings of one frame's PS, in pixels of the network's input.

    Attributes:
        ellipse: of the mask's PS.
        mask: its axis.
        look: what the second look says; None without one.
    """

    ellipse: Ellipse
    mask: Axis
    look: ViewedAxis | None

    @classmethod
    def read(
        cls,
        labels: NDArray[np.uint8],
        views: NDArray[np.float32] | NDArray[np.float64] | None,
        *,
        mirrored: bool = False,
    ) -> Self | None:
        """Reads it from labels (S, S), 1 = PS, and the views (V, 7); None where no ellipse fits the PS."""
        ellipse = ellipse_of(labels == PS)
        if ellipse is None:
            return None
        look = None if views is None else viewed_axis(views)
        return cls(ellipse, axis_of_ellipse(ellipse, mirrored=mirrored), look)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Shares of the second look in the fused axis, 0 (the mask's alone) to 1 (the second look's alone), and its bias.

    Attributes:
        direction: in the direction.
        inferior: in the inferior end, and in the length.
        turn_deg: by which the joint direction is turned on, degrees, from x towards y in a normal picture: what both
            readings together are off on average, the same for every frame.
    """

    direction: float = 0.5
    inferior: float = 0.5
    turn_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.direction <= 1 and 0 <= self.inferior <= 1):
            raise ValueError(f"shares lie between 0 and 1, got {self.direction} and {self.inferior}")
        if not abs(self.turn_deg) <= MOST_TURN_DEG:
            raise ValueError(f"turn_deg lies between -{MOST_TURN_DEG} and {MOST_TURN_DEG}, got {self.turn_deg}")

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> Self:
        """From a model's facts (`ModelSpec.fusion`); what is not there is a half."""
        return cls(**shares)

    def join(self, mask: Axis | None, look: ViewedAxis | None) -> Axis | None:
        """The fused axis; either alone where the other is missing.

        Convention: the direction is the mask's, turned towards the look's by `direction` of the angle between them, on
        the shorter way, and then by `turn_deg`. Worked value: 10 and 30 degrees with a share of 0.75 and a turn of -1
        are 24 degrees.
        """
        if mask is None or look is None:
            return mask if look is None else look.axis
        direction = turn(mask.direction, self._turn(mask, look))
        inferior = (1 - self.inferior) * mask.inferior + self.inferior * look.axis.inferior
        return Axis(inferior, direction)

    def correct(self, superior: Point, inferior: Point, found: Symphysis) -> tuple[Point, Point]:
        """An axis of the mask, as some protocol defines it, corrected by what the second look adds to its ellipse's.

        Convention: pixels of the network's input, in which all of `found` is. The axis is turned about its inferior end
        as `join` turns the ellipse's, that end is moved by `inferior` of the way between the inferior ends of both, and
        the length is scaled likewise. Of the ellipse's own axis this is `join`;
        another definition of the axis keeps its own difference from the ellipse. Without a second look nothing changes.
        """
        look = found.look
        if look is None:
            return superior, inferior
        own = np.array(inferior) - np.array(superior)
        scale = 1 + self.inferior * (look.length / (2 * found.ellipse.semi_major) - 1)
        arm = scale * turn(own, self._turn(found.mask, look))
        end = np.array(inferior) + self.inferior * (look.axis.inferior - found.mask.inferior)
        return (float(end[0] - arm[0]), float(end[1] - arm[1])), (float(end[0]), float(end[1]))

    def _turn(self, mask: Axis, look: ViewedAxis) -> float:
        """From the mask's direction to the joint one, degrees. A mirrored picture's axis points to the left."""
        own = self.turn_deg if mask.direction[0] >= 0 else -self.turn_deg
        return self.direction * turn_deg(mask.direction, look.axis.direction) + own


def turn(direction: NDArray[np.float64], deg: float) -> NDArray[np.float64]:
    """A direction (2,) turned from x towards y."""
    cos, sin = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    x, y = direction
    return np.array([cos * x - sin * y, sin * x + cos * y])


def turn_deg(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """The angle by which one direction is turned against another, degrees in (-180, 180]."""
    return math.degrees(math.atan2(start[0] * end[1] - start[1] * end[0], float(start @ end)))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) made of length 1."""
    units: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return units
