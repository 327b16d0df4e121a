"""AoP by `fhps2023` from parts: which inferior end, which direction of the PS, which head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream.measurement.geometry import ellipse_tangent, law_of_cosines_deg
from stream.measurement.protocols.fhps2023 import ellipse_through, ellipse_vertices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.measurement.geometry import Ellipse


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The PS' axis in a normal picture.

    Attributes:
        inferior: (2,) the end next to the head, px.
        direction: (2,) unit vector from the superior to the inferior end.
    """

    inferior: NDArray[np.float64]
    direction: NDArray[np.float64]

    @property
    def deg(self) -> float:
        """Of the direction, from x towards y (down), in (-180, 180]."""
        return math.degrees(math.atan2(self.direction[1], self.direction[0]))


def ellipse_of(region: NDArray[np.bool_]) -> Ellipse | None:
    """The ellipse of a region as FH-PS-AOP 2023 fits it."""
    vertices = ellipse_vertices(region)
    return None if vertices is None else ellipse_through(vertices)


def axis_of(region: NDArray[np.bool_]) -> Axis | None:
    """The axis of a PS by its ellipse; its right end is the inferior one, as that scorer has it."""
    ellipse = ellipse_of(region)
    if ellipse is None:
        return None
    direction = np.array([math.cos(ellipse.theta_rad), math.sin(ellipse.theta_rad)])
    if direction[0] < 0:
        direction = -direction
    return Axis(np.array(ellipse.center) + ellipse.semi_major * direction, direction)


def aop_deg(axis: Axis | None, head: Ellipse | None) -> float:
    """AoP at an axis' inferior end to the leading tangent of a head; NaN where a part is missing or there is none.

    Worked value: an axis that ends at (0, -2) pointing down, on the unit circle as head, gives 150: the tangent there
    is 30 degrees off straight down.
    """
    if axis is None or head is None:
        return math.nan
    inferior = (float(axis.inferior[0]), float(axis.inferior[1]))
    superior = (inferior[0] - float(axis.direction[0]), inferior[1] - float(axis.direction[1]))
    tangent = ellipse_tangent(head, inferior)
    return math.nan if tangent is None else law_of_cosines_deg(inferior, superior, tangent)


def turned(direction: NDArray[np.float64], deg: float) -> NDArray[np.float64]:
    """A direction (2,) turned from x towards y."""
    cos, sin = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    x, y = direction
    return np.array([cos * x - sin * y, sin * x + cos * y])


def turn_deg(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """The angle by which one direction is turned against another, degrees in (-180, 180]."""
    return math.degrees(math.atan2(start[0] * end[1] - start[1] * end[0], float(start @ end)))
