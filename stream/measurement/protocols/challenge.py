"""The two public challenge protocols, reproduced for comparison: defined on squeezed squares, in their pixels.

Both presume a normal picture (PS left, head right); a mirrored one gives them a number that means nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.measurement.biometry import Biometry, Landmarks, Point, Reason
from stream.measurement.contours import longest_contour
from stream.measurement.geometry import Ellipse, ellipse_tangent, farthest_pair, law_of_cosines_deg, right_hand_tangent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

IUGC2024, IUGC2024_SIDE_PX = "iugc2024", 512
FHPS2023, FHPS2023_SIDE_PX = "fhps2023", 256

_RADIANS_PER_DEGREE = 0.01745
"""As the FH-PS-AOP scorer rounds it, for the PS axis only; worth up to 0.01 degrees."""


def measure_iugc2024(labels: NDArray[np.uint8]) -> Biometry:
    """AoP and HSD as the IUGC 2024 evaluator computes them, on the mask enlarged or squeezed to 512 x 512.

    Convention: AoP in degrees, [0, 180]; `hsd_min` in pixels of the 512 x 512 mask, `hsd_perp` is not defined.
    PS axis: the two contour points farthest apart; the inferior end is the one with larger x (tie: the second).
    AoP at that end, by the law of cosines, to the right-hand tangent; HSD to the nearest contour point of the
    head. Each structure is its contour with the most points. Where the evaluator fails (a structure is missing,
    no right-hand tangent) there is a reason. Worked value: the published landmark example, 122.41 degrees and
    63.20 px. Source: `Biometry` of the IUGC 2024 starting kit; ties as there.
    """
    square = _resized(labels, IUGC2024_SIDE_PX)
    ps, head = longest_contour(square == 1), longest_contour(square == 2)
    if ps is None or len(ps) < 2:
        return Biometry(protocol=IUGC2024, reason=Reason.NO_PS)
    if head is None:
        return Biometry(protocol=IUGC2024, reason=Reason.NO_FH)
    first, second = farthest_pair(ps)
    if ps[first][0] > ps[second][0]:
        first, second = second, first
    superior, inferior = ps[first], ps[second]
    touching = right_hand_tangent(head, inferior)
    if touching is None:
        is_inside = cv2.pointPolygonTest(cv2.convexHull(head), _float_point(inferior), False) >= 0
        return Biometry(protocol=IUGC2024, reason=Reason.PS_END_IN_HEAD if is_inside else Reason.IMPLAUSIBLE)
    arms = head.astype(np.int64) - inferior
    squared = (arms * arms).sum(axis=1)
    nearest = int(squared.argmin())
    points = [_float_point(point) for point in (superior, inferior, head[touching], head[nearest])]
    to_mask = _scale_back(labels, IUGC2024_SIDE_PX)
    return Biometry(
        protocol=IUGC2024,
        aop_deg=law_of_cosines_deg(points[1], points[0], points[2]),
        hsd_min=math.sqrt(int(squared[nearest])),
        landmarks=Landmarks(
            ps_superior=to_mask(points[0]),
            ps_inferior=to_mask(points[1]),
            tangent=to_mask(points[2]),
            hsd_min_foot=to_mask(points[3]),
            hsd_perp_foot=None,
        ),
        quality=1.0,
    )


def measure_fhps2023(labels: NDArray[np.uint8]) -> Biometry:
    """AoP as the FH-PS-AOP 2023 scorer computes it from fitted ellipses, on the mask squeezed to 256 x 256.

    Convention: AoP in degrees, [0, 180]; no HSD. Each structure is its contour with the most points, simplified
    (`approxPolyDP`, 1 px) and fitted with an ellipse, which takes at least six vertices. PS axis: the major
    axis, its right end the inferior one. AoP at that end, by the law of cosines, to the tangent of the head's
    ellipse. Where the program gives a number without meaning (0 after a failed fit, or slope 0 with the
    inferior end inside the ellipse) there is a reason. Worked value: PSFHS mask 03744 gives 147.74. Source:
    `cal_aop.py` and `ellipse.py` of the scorer; its choice among the two tangents is always the leading one.
    """
    square = _resized(labels, FHPS2023_SIDE_PX)
    ps, head = _fitted_ellipse(square == 1), _fitted_ellipse(square == 2)
    if ps is None:
        return Biometry(protocol=FHPS2023, reason=Reason.NO_PS)
    if head is None:
        return Biometry(protocol=FHPS2023, reason=Reason.NO_FH)
    angle = math.degrees(ps.theta_rad) * _RADIANS_PER_DEGREE
    dx, dy = ps.semi_major * math.cos(angle), ps.semi_major * math.sin(angle)
    superior, inferior = (ps.center[0] - dx, ps.center[1] - dy), (ps.center[0] + dx, ps.center[1] + dy)
    tangent = ellipse_tangent(head, inferior)
    if tangent is None:
        return Biometry(protocol=FHPS2023, reason=Reason.PS_END_IN_HEAD)
    to_mask = _scale_back(labels, FHPS2023_SIDE_PX)
    return Biometry(
        protocol=FHPS2023,
        aop_deg=law_of_cosines_deg(inferior, superior, tangent),
        landmarks=Landmarks(
            ps_superior=to_mask(superior),
            ps_inferior=to_mask(inferior),
            tangent=to_mask(tangent),
            hsd_min_foot=None,
            hsd_perp_foot=None,
        ),
        quality=1.0,
    )


def ellipse_vertices(mask: NDArray[np.bool_]) -> NDArray[np.int32] | None:
    """The vertices (N, 2) through which FH-PS-AOP 2023 fits a region's ellipse: its contour simplified by 1 px."""
    contour = longest_contour(mask)
    return None if contour is None else cv2.approxPolyDP(contour, 1.0, True).reshape(-1, 2).astype(np.int32, copy=False)


def ellipse_through(vertices: NDArray[np.int32] | NDArray[np.float32]) -> Ellipse | None:
    """The least-squares ellipse through points (N, 2); None where there are fewer than six, or none fits."""
    if len(vertices) <= 5:
        return None
    center, (minor, major), angle_deg = cv2.fitEllipse(vertices)
    if not (all(map(math.isfinite, (*center, minor, major))) and 0 < minor <= major):
        return None
    return Ellipse(
        center=(center[0], center[1]),
        semi_major=major / 2,
        semi_minor=minor / 2,
        theta_rad=math.radians(angle_deg - 90),
    )


def _fitted_ellipse(mask: NDArray[np.bool_]) -> Ellipse | None:
    """The ellipse of a region; None where there are too few vertices."""
    vertices = ellipse_vertices(mask)
    return None if vertices is None else ellipse_through(vertices)


def _resized(labels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if labels.shape == (side, side):
        return labels
    return cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def _scale_back(labels: NDArray[np.uint8], side: int) -> Callable[[Point], Point]:
    """From pixels of the square to pixels of the mask; pixel centres at integers in both."""
    height, width = labels.shape
    scale_x, scale_y = width / side, height / side
    return lambda point: ((point[0] + 0.5) * scale_x - 0.5, (point[1] + 0.5) * scale_y - 0.5)


def _float_point(point: NDArray[np.int32]) -> Point:
    return float(point[0]), float(point[1])
