"""Fits a fan (annular sector) to a region: two straight sides and two arcs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SIDE = 0.25
"""Least length of a side, as a share of the region's height."""
SIDE_DEG = (8.0, 70.0)
"""A fan's side leans so far from the vertical."""
MOST_ASYMMETRY_DEG = 25.0
LEAST_OVERLAP = 0.86
"""Intersection over union of fan and region; less is no fan."""


Side = tuple[tuple[float, float], tuple[float, float]]
"""The upper and the lower end of a straight side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """An annular sector, in pixels of the picture it was fitted to.

    Convention: angles in degrees from straight down, positive to the right (towards larger x); the radii are those of
    the probe's face and of the greatest depth, from the apex, which lies above the picture of a curved probe.
    """

    apex: tuple[float, float]
    near_px: float
    far_px: float
    left_deg: float
    right_deg: float

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """(H, W) uint8, 255 inside."""
        radius, angle = _polar(shape, self.apex)
        inside = (radius >= self.near_px) & (radius <= self.far_px)
        inside &= (angle >= self.left_deg) & (angle <= self.right_deg)
        return np.asarray(inside.astype(np.uint8) * 255)


def fit_fan(hull: NDArray[np.int32], region: NDArray[np.uint8], speckle: NDArray[np.uint8]) -> Fan | None:
    """The fan whose outline a region's is; None where it is another shape.

    Args:
        hull: the region's convex hull, as OpenCV gives it.
        region: (H, W) uint8, the hull filled.
        speckle: (H, W) uint8, what in it is ultrasound for certain; it says where the probe's face is, which the hull
            closes with a chord.
    """
    height = cv2.boundingRect(hull)[3]
    polygon = cv2.approxPolyDP(hull, 0.012 * height, closed=True)[:, 0, :].astype(np.float64)
    sides = _sides(polygon, LEAST_SIDE * height)
    if sides is None:
        return None
    apex = _crossing(*sides)
    if apex is None:
        return None
    left_deg, right_deg = (_lean_deg(side) for side in sides)
    if abs(left_deg + right_deg) > MOST_ASYMMETRY_DEG:
        return None
    radius, _ = _polar(region.shape, apex)
    far_px = float(np.quantile(radius[region > 0], 0.999))
    near_px = float(np.quantile(radius[(region > 0) & (speckle > 0)], 0.002))
    fan = Fan(apex=apex, near_px=near_px, far_px=far_px, left_deg=left_deg, right_deg=right_deg)
    return fan if _fits(fan, region) else None


def _fits(fan: Fan, region: NDArray[np.uint8]) -> bool:
    left, top, width, height = cv2.boundingRect(region)
    box = np.s_[top : top + height, left : left + width]
    mask = fan.mask(region.shape)[box]
    union = cv2.countNonZero(cv2.bitwise_or(mask, region[box]))
    return cv2.countNonZero(cv2.bitwise_and(mask, region[box])) >= LEAST_OVERLAP * union


def _sides(polygon: NDArray[np.float64], least_px: float) -> tuple[Side, Side] | None:
    """The longest edges that lean as a fan's left and right side do, each from its upper to its lower end."""
    found: dict[bool, Side] = {}
    corners: list[tuple[float, float]] = [(float(x), float(y)) for x, y in polygon]
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        side = (start, end) if start[1] <= end[1] else (end, start)
        length, lean = math.dist(start, end), _lean_deg(side)
        if length < least_px or not SIDE_DEG[0] <= abs(lean) <= SIDE_DEG[1]:
            continue
        is_right = lean > 0
        if is_right != (side[0][0] > polygon[:, 0].mean()):
            continue  # a chord of the lower arc leans the other way
        if is_right not in found or length > math.dist(*found[is_right]):
            found[is_right] = side
    return (found[False], found[True]) if len(found) == 2 else None


def _lean_deg(side: Side) -> float:
    upper, lower = side
    return math.degrees(math.atan2(lower[0] - upper[0], lower[1] - upper[1]))


def _crossing(one: Side, other: Side) -> tuple[float, float] | None:
    (x1, y1), (x2, y2) = one
    (x3, y3), (x4, y4) = other
    determinant = (x1 - x2) * (y3 - y4) - (y1 - y2) * (x3 - x4)
    if abs(determinant) < 1e-6:
        return None
    first, second = x1 * y2 - y1 * x2, x3 * y4 - y3 * x4
    return (
        float((first * (x3 - x4) - (x1 - x2) * second) / determinant),
        float((first * (y3 - y4) - (y1 - y2) * second) / determinant),
    )


def _polar(shape: tuple[int, ...], apex: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance from the apex in pixels, and angle from straight down in degrees, of every pixel."""
    rows, columns = np.indices(shape[:2], dtype=np.float64)
    x, y = columns - apex[0], rows - apex[1]
    return np.hypot(x, y), np.degrees(np.arctan2(x, y))
