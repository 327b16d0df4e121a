"""The FH-PS-AOP 2023 challenge's scorer, reproduced for comparison: defined on a squeezed square, in its pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.reason import Reason
from stream.measurement.biometry import Biometry, Landmarks
from stream.measurement.contours import longest_contour
from stream.measurement.geometry import Ellipse, ellipse_tangent, law_of_cosines_deg
from stream.measurement.protocols.base import Protocol
from stream.measurement.protocols.squeezed import move_in_square, resize_labels, scale_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.measurement.biometry import MoveEnds

NAME, SIDE_PX = "fhps2023", 256

_RADIANS_PER_DEGREE = 0.01745
"""As the scorer rounds it, for the PS axis only; worth up to 0.01 degrees."""


def measure_fhps2023(labels: NDArray[np.uint8], *, move_ends: MoveEnds | None = None, **_: object) -> Biometry:
    """AoP as the FH-PS-AOP 2023 scorer computes it from fitted ellipses, on the mask squeezed to 256 x 256.

    Convention: AoP in degrees, [0, 180]; no HSD. Each structure is its contour with the most points, simplified
    (`approxPolyDP`, 1 px) and fitted with an ellipse, which takes at least six vertices. PS axis: the major
    axis, its right end the inferior one. AoP at that end, by the law of cosines, to the tangent of the head's
    ellipse. Where the program gives a number without meaning (0 after a failed fit, or slope 0 with the
    inferior end inside the ellipse) there is a reason. Ends that `move_ends` corrects take the place of the major
    axis' own. Worked value: PSFHS mask 03744 gives 147.74. Source: `cal_aop.py` and `ellipse.py` of the scorer; its
    choice among the two tangents is always the leading one.
    """
    square = resize_labels(labels, SIDE_PX)
    ps, head = _fitted_ellipse(square == 1), _fitted_ellipse(square == 2)
    if ps is None:
        return Biometry(protocol=NAME, reason=Reason.NO_PS)
    if head is None:
        return Biometry(protocol=NAME, reason=Reason.NO_FH)
    angle = math.degrees(ps.theta_rad) * _RADIANS_PER_DEGREE
    dx, dy = ps.semi_major * math.cos(angle), ps.semi_major * math.sin(angle)
    superior, inferior = (ps.center[0] - dx, ps.center[1] - dy), (ps.center[0] + dx, ps.center[1] + dy)
    if move_ends is not None:
        superior, inferior = move_in_square(superior, inferior, move_ends, labels, SIDE_PX)
    tangent = ellipse_tangent(head, inferior)
    if tangent is None:
        return Biometry(protocol=NAME, reason=Reason.PS_END_IN_HEAD)
    to_mask = scale_back(labels, SIDE_PX)
    return Biometry(
        protocol=NAME,
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


FHPS2023 = Protocol(
    name=NAME,
    summary=f"the FH-PS-AOP 2023 scorer: fitted ellipses, at {SIDE_PX} x {SIDE_PX}",
    side_px=SIDE_PX,
    hsd_px="",
    measure=measure_fhps2023,
)
