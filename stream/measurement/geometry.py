"""Plane geometry behind the measurement: angles, tangents, distances. Pure functions of arrays, no anatomy.

Points are (2,) or (N, 2) float64 xy, y down. "Clockwise" is meant as seen on the screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipse:
    """An ellipse: centre, semi-axes, and the angle of the major axis.

    Convention: `theta_rad` runs from +x towards +y (clockwise), `semi_major >= semi_minor`, one length unit.
    """

    center: tuple[float, float]
    semi_major: float
    semi_minor: float
    theta_rad: float

    def to_circle(self, x: float, y: float) -> tuple[float, float]:
        """The point in the coordinates in which the ellipse is the unit circle."""
        dx, dy = x - self.center[0], y - self.center[1]
        c, s = math.cos(self.theta_rad), math.sin(self.theta_rad)
        return (dx * c + dy * s) / self.semi_major, (dy * c - dx * s) / self.semi_minor

    def from_circle(self, u: float, v: float) -> tuple[float, float]:
        """The inverse of `to_circle`."""
        c, s = math.cos(self.theta_rad), math.sin(self.theta_rad)
        p, q = u * self.semi_major, v * self.semi_minor
        return self.center[0] + p * c - q * s, self.center[1] + p * s + q * c


def turn_rad(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """The signed angle by which `start` must be turned to point along `end`.

    Convention: radians in [-pi, pi], positive clockwise (from +x towards +y, y down). 0 where either vector is
    zero. Worked value: (1, 0) to (0, 1) is +pi/2. Source: atan2 of cross and dot product, exact near 0 and pi,
    where the arc cosine is not.
    """
    cross = float(start[0] * end[1] - start[1] * end[0])
    return math.atan2(cross, float(start[0] * end[0] + start[1] * end[1]))


def law_of_cosines_deg(vertex: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    """The unsigned angle at `vertex` between the rays to `a` and `b`, as both challenge programs compute it.

    Convention: degrees in [0, 180]; an angle beyond 180 wraps back. NaN-free: the cosine is clipped to [-1, 1].
    The three points must be distinct from the vertex. Worked value: (0, 0), (1, 0), (0, 2) is 90.
    """
    p, q, r = math.dist(vertex, a), math.dist(vertex, b), math.dist(a, b)
    return math.degrees(math.acos(max(-1.0, min(1.0, (p * p + q * q - r * r) / (2 * p * q)))))


def extreme_projections(
    points: NDArray[np.float64], *, origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> tuple[int, int, float, float]:
    """Where a point set begins and ends along a line: (index of low, index of high, low, high).

    Convention: `direction` is a unit vector; low and high are signed distances from `origin` along it, in the
    unit of the points. `points` is not empty. Worked value: points (0, 0), (3, 1), origin (1, 0), direction
    (1, 0): (0, 1, -1, 2).
    """
    along = (points - origin) @ direction
    low, high = int(along.argmin()), int(along.argmax())
    return low, high, float(along[low]), float(along[high])


def farthest_pair(contour: NDArray[np.int32]) -> tuple[int, int]:
    """Indices i < j of the two contour points farthest apart; of equal pairs the first in contour order.

    Convention: (N, 2) integer points, N >= 2; exact integer arithmetic. Equal pairs are ordered by i, then j, a
    point the contour passes twice counts where it comes first. Both ends of a farthest pair are vertices of the
    convex hull, so only those are compared. Worked value: the corners (0, 0), (2, 0), (2, 2), (0, 2) in this
    order give (0, 2). N = 1 gives (0, 0). Source of the rule: IUGC 2024 evaluator.
    """
    hull = _first_visits(contour)
    points = contour[hull].astype(np.int64)
    delta = points[:, None, :] - points[None, :, :]
    squared = np.triu((delta * delta).sum(axis=2))
    i, j = divmod(int(squared.argmax()), len(hull))
    return int(hull[i]), int(hull[j])


def right_hand_tangent(contour: NDArray[np.int32], vertex: NDArray[np.int32] | NDArray[np.float64]) -> int | None:
    """Index of the contour point T such that no contour point lies to the right of the line vertex-T.

    Convention: integer points, exact, or a vertex between pixels; y down; "right" means larger x at the same height, on
    a level line upwards. Of collinear points the nearest to the vertex (of the hull's corners, where the vertex lies on
    the hull itself). Of two such lines (head wholly on the left) the one that holds the point farthest right, unless
    the other touches several points, one of them nearer. None where the vertex lies inside the hull, or where
    every line has points on its right (a head that reaches above the vertex on its right). Worked value: square
    (1, 3), (3, 3), (3, 5), (1, 5) from (0, 0): (3, 3). Source: IUGC 2024
    evaluator, with its ties.
    """
    hull = _first_visits(contour)
    arms = contour[hull].astype(np.int64) - vertex
    cross = arms[:, None, 0] * arms[None, :, 1] - arms[:, None, 1] * arms[None, :, 0]
    downwards = (arms[:, 1] > 0) | ((arms[:, 1] == 0) & (arms[:, 0] > 0))
    has_none_right = np.where(downwards[:, None], cross >= 0, cross <= 0).all(axis=1)
    candidates = np.flatnonzero(has_none_right)
    if len(candidates) == 0:
        return None
    squared = (arms * arms).sum(axis=1)
    best = candidates[np.argmax(arms[candidates, 0])]
    shares_line = (cross[np.ix_(candidates, candidates)] == 0).sum(axis=1) > 1
    for other in candidates[shares_line]:
        best = other if squared[other] < squared[best] else best
    return int(hull[best])


def ellipse_tangent(ellipse: Ellipse, point: tuple[float, float]) -> tuple[float, float] | None:
    """Where the tangent from `point` touches the ellipse, the ellipse lying clockwise of it.

    Convention: one unit for all, y down. Seen from `point`, the ray to the result is the most counter-clockwise
    one that meets the ellipse; with the head below and PS to its upper left this is the leading tangent. None
    where the point lies on or inside the ellipse. In coordinates in which the ellipse is the unit circle, with
    p the point, d = |p| and p' = p turned by 90 degrees clockwise, the result is (p + sqrt(d^2 - 1) p') / d^2.
    Worked value: unit circle, point (0, -2): (sqrt(3)/2, -1/2). Source: polar line of a point, Coxeter,
    Introduction to Geometry, 8.4.
    """
    x, y = ellipse.to_circle(*point)
    squared = x * x + y * y
    if squared <= 1:
        return None
    root = math.sqrt(squared - 1)
    return ellipse.from_circle((x - root * y) / squared, (y + root * x) / squared)


def leading_point(
    outline: NDArray[np.float64], *, vertex: NDArray[np.float64], inner: NDArray[np.float64], turn: float
) -> tuple[int, float]:
    """The point of a closed outline that a ray from `vertex` touches last when it sweeps: (index, angle).

    Convention: the ray starts along `inner - vertex`, `inner` being a point inside the outline, and turns
    clockwise for `turn` = +1, counter-clockwise for -1. The angle is in radians, [0, pi). It equals the tangent
    to the convex hull. `vertex` must lie outside the outline. Worked value: square of side 2 about (0, 2),
    vertex (0, 0), inner (0, 2), turn -1: the corner (1, 1), pi/4.
    """
    axis = inner - vertex
    arms = outline - vertex
    angles = np.arctan2(axis[0] * arms[:, 1] - axis[1] * arms[:, 0], arms @ axis) * turn
    index = int(angles.argmax())
    return index, float(angles[index])


def nearest_on_outline(outline: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point of a closed outline nearest to `point`: (2,).

    Convention: the outline is the polygon through its points in order, (N, 2), N >= 1, sampled more densely
    than it bends, so the nearest point lies on a side next to the nearest corner. Worked value: square
    (0, 0), (2, 0), (2, 2), (0, 2) and the point (0.5, -1): (0.5, 0).
    """
    arms = outline - point
    nearest = int(np.einsum("ij,ij->i", arms, arms).argmin())
    corner = outline[nearest]
    feet = [corner]
    for other in (outline[nearest - 1], outline[(nearest + 1) % len(outline)]):
        side = other - corner
        squared = float(side @ side)
        share = float((point - corner) @ side) / squared if squared > 0 else 0.0
        feet.append(corner + side * min(max(share, 0.0), 1.0))
    return min(feet, key=lambda foot: math.hypot(foot[0] - point[0], foot[1] - point[1]))


def ray_meets_outline(
    outline: NDArray[np.float64], *, origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Where a ray first crosses a closed outline: (distance, grazing angle in radians); None where it misses.

    Convention: `direction` is a unit vector, the distance is positive and in the outline's unit, the grazing
    angle in [0, pi/2] lies between the ray and the side it crosses (pi/2 is square on). A ray that only touches
    a corner counts as a miss or a crossing. Worked value: square (1, -1), (3, -1), (3, 1), (1, 1) from (0, 0)
    along (1, 0): (1.0, pi/2).
    """
    arms = outline - origin
    across = direction[0] * arms[:, 1] - direction[1] * arms[:, 0]
    along = arms @ direction
    ahead = np.append(across[1:], across[0])
    crossed = np.flatnonzero((across <= 0) != (ahead <= 0))
    share = across[crossed] / (across[crossed] - ahead[crossed])
    distances = along[crossed] + share * (along[(crossed + 1) % len(along)] - along[crossed])
    in_front = np.flatnonzero(distances > 0)
    if len(in_front) == 0:
        return None
    first = in_front[distances[in_front].argmin()]
    i = crossed[first]
    side = outline[(i + 1) % len(outline)] - outline[i]
    sine = abs(float(direction[0] * side[1] - direction[1] * side[0])) / math.hypot(side[0], side[1])
    return float(distances[first]), math.asin(min(1.0, sine))


def _first_visits(contour: NDArray[np.int32]) -> NDArray[np.intp]:
    """Contour indices of the convex hull's vertices, ascending, each at the contour's first visit to it."""
    corners = cv2.convexHull(contour, returnPoints=True).reshape(-1, 2)
    keys = contour[:, 0].astype(np.int64) * (1 << 32) + contour[:, 1]
    wanted = corners[:, 0].astype(np.int64) * (1 << 32) + corners[:, 1]
    order = np.argsort(keys, kind="stable")
    return np.sort(order[np.searchsorted(keys, wanted, sorter=order)])
