"""The IUGC 2024 challenge's evaluator, reproduced for comparison: defined on a squeezed square, in its pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Landmarks
from stream.measurement.contours import longest_contour
from stream.measurement.geometry import farthest_pair, law_of_cosines_deg, right_hand_tangent
from stream.measurement.protocols.base import Protocol
from stream.measurement.protocols.squeezed import float_point, move_in_square, resize_labels, scale_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.measurement.biometry import MoveEnds

NAME, SIDE_PX = "iugc2024", 512


def measure_iugc2024(labels: NDArray[np.uint8], *, move_ends: MoveEnds | None = None, **_: object) -> Biometry:
    """AoP and HSD as the IUGC 2024 evaluator computes them, on the mask enlarged or squeezed to 512 x 512.

    Convention: AoP in degrees, [0, 180]; `hsd_min` in pixels of the 512 x 512 mask, `hsd_perp` is not defined.
    PS axis: the two contour points farthest apart; the inferior end is the one with larger x (tie: the second).
    AoP at that end, by the law of cosines, to the right-hand tangent; HSD to the nearest contour point of the
    head. Each structure is its contour with the most points. Where the evaluator fails (a structure is missing,
    no right-hand tangent) there is a reason. Ends that `move_ends` corrects take the place of the contour
    points. Worked value: the published landmark example, 122.41 degrees and 63.20 px. Source: `Biometry` of the
    IUGC 2024 starting kit; ties as there.
    """
    square = resize_labels(labels, SIDE_PX)
    ps, head = longest_contour(square == 1), longest_contour(square == 2)
    if ps is None or len(ps) < 2:
        return Biometry(protocol=NAME, reason=Reason.NO_PS)
    if head is None:
        return Biometry(protocol=NAME, reason=Reason.NO_FH)
    first, second = farthest_pair(ps)
    if ps[first][0] > ps[second][0]:
        first, second = second, first
    superior, inferior = ps[first].astype(np.float64), ps[second].astype(np.float64)
    if move_ends is not None:
        ends = move_in_square(float_point(superior), float_point(inferior), move_ends, labels, SIDE_PX)
        superior, inferior = map(np.array, ends)
    touching = right_hand_tangent(head, inferior)
    if touching is None:
        is_inside = cv2.pointPolygonTest(cv2.convexHull(head), float_point(inferior), False) >= 0
        return Biometry(protocol=NAME, reason=Reason.PS_END_IN_HEAD if is_inside else Reason.IMPLAUSIBLE)
    arms = head - inferior
    squared = (arms * arms).sum(axis=1)
    nearest = int(squared.argmin())
    points = [float_point(point) for point in (superior, inferior, head[touching], head[nearest])]
    to_mask = scale_back(labels, SIDE_PX)
    return Biometry(
        protocol=NAME,
        aop_deg=law_of_cosines_deg(points[1], points[0], points[2]),
        hsd_min=math.sqrt(float(squared[nearest])),
        landmarks=Landmarks(
            ps_superior=to_mask(points[0]),
            ps_inferior=to_mask(points[1]),
            tangent=to_mask(points[2]),
            hsd_min_foot=to_mask(points[3]),
            hsd_perp_foot=None,
        ),
        quality=1.0,
    )


IUGC2024 = Protocol(
    name=NAME,
    summary=f"the IUGC 2024 evaluator: farthest contour points, at {SIDE_PX} x {SIDE_PX}",
    side_px=SIDE_PX,
    hsd_px=f"of the squeezed {SIDE_PX} x {SIDE_PX} picture",
    measure=measure_iugc2024,
)
