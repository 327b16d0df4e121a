"""AoP by a protocol's definition from three points alone, as a person places them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stream.measurement.geometry import law_of_cosines_deg, turn_rad
from stream.measurement.protocols import find_protocol

if TYPE_CHECKING:
    from stream.frames.regions import Point


def aop_of_points(
    superior: Point,
    inferior: Point,
    tangent: Point,
    *,
    protocol: str,
    shape: tuple[int, int],
    aspect: float,
    is_mirrored: bool,
) -> float | None:
    """The angle of progression between the axis through both ends and the tangent.

    Convention: degrees; under `robust` in isotropic coordinates, [0, 360), turned counter-clockwise from the axis
    towards the head (clockwise in a mirrored picture), so it may pass 180; under the challenge protocols in the
    squeezed square, [0, 180]. None where two of the points are one. Worked value: superior (0, 0), inferior (10, 0),
    tangent (10, 10), aspect 1: 90. Source: Kalache 2009.

    Args:
        superior: end of the PS, pixels of the frame.
        inferior: the other end, likewise.
        tangent: a point of the tangent, likewise.
        protocol: a name in `PROTOCOLS`.
        shape: (H, W) of the frame.
        aspect: width of a pixel over its height.
        is_mirrored: the picture shows the PS on the right.
    """
    side_px = find_protocol(protocol).side_px
    scale = (aspect, 1.0) if side_px is None else (side_px / shape[1], side_px / shape[0])
    ends = [np.array(point, np.float64) * scale for point in (superior, inferior, tangent)]
    up, along = ends[0] - ends[1], ends[2] - ends[1]
    if not (np.hypot(*up) > 0 and np.hypot(*along) > 0):
        return None
    if side_px is not None:
        vertex, above, beyond = ((float(x), float(y)) for x, y in (ends[1], ends[0], ends[2]))
        return law_of_cosines_deg(vertex, above, beyond)
    turned = math.degrees(turn_rad(up, along)) * (1.0 if is_mirrored else -1.0)
    return turned % 360.0
