"""The default protocol `robust`: true angles, little noise, and a reason wherever it would have to guess."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.reason import Reason
from stream.frames.regions import Point
from stream.measurement.biometry import Biometry, Landmarks, MoveEnds, Orientation
from stream.measurement.contours import SMOOTHING_SHARE, RegionMoments, largest_contour, region_moments, smooth_outline
from stream.measurement.geometry import (
    extreme_projections,
    leading_point,
    nearest_on_outline,
    ray_meets_outline,
    turn_rad,
)
from stream.measurement.orientation_cues import OrientationCues, orientation_cues
from stream.measurement.protocols.base import Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "robust"

LEAST_PS_SHARE, LEAST_FH_SHARE = 0.001, 0.01
"""Least area of a structure as a share of the field of view's. The smallest among 658 PSFHS masks are 0.010 and 0.065;
a tenth of that still has an outline, less is debris."""
FIELD_PER_STRUCTURE = 20
"""Where the field of view is unknown it is taken for at most so many times as large as the larger structure: a small
sector may lie in a large mask."""
LEAST_PS_PX = 24
"""A PS of fewer pixels has no axis worth the name, whatever the size of the mask."""

LEAST_ELONGATION, MOST_ELONGATION = 1.5, 30.0
"""Variance along over across the PS axis. PSFHS spans 2.1 to 6.9, the phantom's drops 3.3 to 9.1; below 1.5 boundary
noise turns the axis freely, above 30 the region is a line."""

HEAD_SIZE_RANGE = (0.8, 4.5)
"""sqrt(head area) over PS length. Anatomy allows 1.1 to 4.2 (PS 25 to 55 mm, head 60 to 105 by 80 to 135 mm), the
sector may cut some of the head away; PSFHS and the phantoms span 1.1 to 2.7."""
LEAST_HEAD_SIDE = 0.3
"""Distance of the head's centroid from the PS axis over PS length. PSFHS has at least 1.0."""
MOST_HSD = 2.0
"""HSD over PS length: 70 mm over 35 mm. PSFHS has at most 1.45."""
PLAUSIBLE_AOP_DEG = (60.0, 200.0)

LEAST_GRAZING_RAD = math.radians(25)
"""Where the infrapubic line meets the head at a flatter angle than this, an error of 1 mm in the outline moves the
crossing by more than 2.4 mm (1 / sin 25 degrees): there is no perpendicular HSD. On the typical descent that is
below AoP 94 to 95."""

CLIP_MARGIN_PX = 1
"""An outline is cut where it comes this near to the border of the mask or of the field of view."""
MOST_PS_CLIPPED = 0.15
"""Share of the PS outline that may lie on a border."""
GRAZED_SHARE = 0.03
"""A border that takes less of the head's radius away only grazes it: AoP is off by 3 degrees at most."""

_INSET_SHARE = 0.25
"""How far the outermost pixel centre of a rounded end lies inside it, in pixels: a cap of depth d under radius r
has area 4/3 d sqrt(2 r d), which is one pixel at d = 0.30 for r = 10 and 0.22 for r = 25."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Anatomy:
    """Both structures of a mask, in isotropic units except for the contours."""

    scale: NDArray[np.float64]
    ps_contour: NDArray[np.int32]
    ps: RegionMoments
    ps_is_clipped: NDArray[np.bool_]
    head: NDArray[np.float64]
    head_hull: NDArray[np.float32]
    head_area: float
    head_centroid: NDArray[np.float64]
    head_is_clipped: NDArray[np.bool_]
    field_x: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Axis:
    """The PS axis, directed.

    Attributes:
        superior, inferior: (2,) its ends.
        up: (2,) unit vector from the inferior to the superior end.
        length: from end to end.
        ends: indices of the outermost contour points, superior and inferior.
        turn: the sense in which the head lies from `up`, +1 clockwise.
    """

    superior: NDArray[np.float64]
    inferior: NDArray[np.float64]
    up: NDArray[np.float64]
    length: float
    ends: tuple[int, int]
    turn: float


def measure_robust(
    labels: NDArray[np.uint8],
    *,
    pixel_size: tuple[float, float],
    field_of_view: NDArray[np.bool_] | None,
    orientation: Orientation,
    move_ends: MoveEnds | None = None,
) -> Biometry:
    """AoP and both forms of HSD from a label mask, or the reason why there are none.

    Convention: isotropic units of `pixel_size`; AoP in degrees, signed and unwrapped through the head, so it may
    pass 180. The PS axis is the long axis of the second moments of the filled PS, through its centroid; its ends
    are the extreme projections of the contour. The head's outline is smoothed to sub-pixel accuracy and the
    tangent taken to its convex hull on the leading side. `hsd_min` is the shortest distance from the inferior end
    to that outline, `hsd_perp` the distance along the perpendicular to the axis. The inferior end is found by
    `stream.measurement.orientation_cues`; where its cues do not say, there is no value (`axis_ambiguous`). Ends
    that `move_ends` corrects are those of the axis in all that is measured. Worked value: a drop and an ellipse drawn
    at AoP 120 give 120.0, within 0.5. Source: Kalache 2009 (AoP), Youssef 2013 (perpendicular HSD); moments because the
    farthest pair of a blunt PS jumps.
    """
    anatomy = _find_anatomy(labels, pixel_size, field_of_view)
    if isinstance(anatomy, Reason):
        return Biometry(protocol=NAME, reason=anatomy)
    cues = _cues(anatomy)
    is_found = orientation is Orientation.AUTO
    read_as = cues.orientation if is_found else orientation
    axis = _directed_axis(anatomy, cues, is_mirrored=read_as is Orientation.MIRRORED)
    if move_ends is not None:
        axis = _moved_axis(axis, move_ends, anatomy)
    if read_as is None:
        unclear = _refusal(anatomy, axis) or Reason.AXIS_AMBIGUOUS
        return Biometry(protocol=NAME, reason=unclear, orientation_log_odds=cues.log_odds)
    certainty = abs(math.tanh(cues.log_odds / 2)) if is_found else 1.0
    reading = _refusal(anatomy, axis) or _read(anatomy, axis, quality=certainty * _quality(labels, anatomy))
    if isinstance(reading, Reason):
        reading = Biometry(protocol=NAME, reason=reading, mirrored=axis.turn > 0)
    return replace(reading, orientation_log_odds=cues.log_odds)


def mask_orientation_cues(labels: NDArray[np.uint8]) -> OrientationCues | None:
    """The cues to a mask's orientation, in its own pixels; None where a structure is missing."""
    anatomy = _find_anatomy(labels, (1.0, 1.0), None)
    return None if isinstance(anatomy, Reason) else _cues(anatomy)


def _cues(anatomy: _Anatomy) -> OrientationCues:
    return orientation_cues(anatomy.ps, head_centroid=anatomy.head_centroid, field_x=anatomy.field_x)


def _find_anatomy(
    labels: NDArray[np.uint8], pixel_size: tuple[float, float], field_of_view: NDArray[np.bool_] | None
) -> _Anatomy | Reason:
    """Both structures, or which one is missing or too small to have a shape."""
    ps_contour = largest_contour(labels == 1)
    if ps_contour is None:
        return Reason.NO_PS
    ps = region_moments(ps_contour, pixel_size=pixel_size)
    pixel_area = pixel_size[0] * pixel_size[1]
    field_px = _field_px(labels, field_of_view)
    if ps.area < pixel_area * max(LEAST_PS_PX, LEAST_PS_SHARE * field_px):
        return Reason.NO_PS
    head_contour = largest_contour(labels == 2)
    if head_contour is None or cv2.contourArea(head_contour) < LEAST_FH_SHARE * field_px:
        return Reason.NO_FH
    head = smooth_outline(head_contour, pixel_size=pixel_size)
    m = cv2.moments(head.astype(np.float32))
    if m["m00"] <= 0:  # a tattered region whose smoothed outline crosses itself
        return Reason.NO_FH
    inside = _clear_of_borders(labels.shape, field_of_view)
    left, right = _field_columns(labels.shape[1], field_of_view)
    return _Anatomy(
        scale=np.array(pixel_size),
        ps_contour=ps_contour,
        ps=ps,
        ps_is_clipped=~inside[ps_contour[:, 1], ps_contour[:, 0]],
        head=head,
        head_hull=cv2.convexHull(head.astype(np.float32)).astype(np.float32, copy=False),
        head_area=m["m00"],
        head_centroid=np.array([m["m10"], m["m01"]]) / m["m00"],
        head_is_clipped=~inside[head_contour[:, 1], head_contour[:, 0]],
        field_x=(left * pixel_size[0], right * pixel_size[0]),
    )


def _field_px(labels: NDArray[np.uint8], field_of_view: NDArray[np.bool_] | None) -> int:
    """How many pixels show ultrasound."""
    if field_of_view is not None:
        return int(np.count_nonzero(field_of_view))
    larger = max(int(np.count_nonzero(labels == code)) for code in (1, 2))
    return min(labels.size, FIELD_PER_STRUCTURE * larger)


def _clear_of_borders(shape: tuple[int, ...], field_of_view: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(H, W): True where a pixel is more than the margin away from every border."""
    margin = CLIP_MARGIN_PX
    inside = np.zeros(shape, np.uint8)
    inside[margin:-margin, margin:-margin] = 1
    if field_of_view is not None:
        kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
        inside &= cv2.erode(field_of_view.view(np.uint8), kernel).astype(np.uint8, copy=False)
    return inside.view(np.bool_)


def _field_columns(width: int, field_of_view: NDArray[np.bool_] | None) -> tuple[float, float]:
    """Where the field of view begins and ends, in pixels; the whole mask where it is unknown or empty."""
    columns = np.flatnonzero(field_of_view.any(axis=0)) if field_of_view is not None else np.empty(0)
    return (columns[0] - 0.5, columns[-1] + 0.5) if len(columns) else (-0.5, width - 0.5)


def _directed_axis(anatomy: _Anatomy, cues: OrientationCues, *, is_mirrored: bool) -> _Axis:
    """The PS axis from second moments, its ends the extreme projections, moved out to the true edge."""
    caudal = -cues.right if is_mirrored else cues.right
    centroid = anatomy.ps.centroid
    low_index, high_index, low, high = extreme_projections(
        anatomy.ps_contour * anatomy.scale, origin=centroid, direction=caudal
    )
    inset = _INSET_SHARE * float(np.abs(caudal) @ anatomy.scale)
    return _Axis(
        superior=centroid + (low - inset) * caudal,
        inferior=centroid + (high + inset) * caudal,
        up=-caudal,
        length=high - low + 2 * inset,
        ends=(low_index, high_index),
        turn=1.0 if is_mirrored else -1.0,
    )


def _moved_axis(of_mask: _Axis, move_ends: MoveEnds, anatomy: _Anatomy) -> _Axis:
    """The axis between corrected ends; what the mask's own ends show of a cut holds for them too."""
    ends = move_ends(_in_pixels(of_mask.superior, anatomy), _in_pixels(of_mask.inferior, anatomy))
    superior, inferior = (np.array(end) * anatomy.scale for end in ends)
    length = math.dist(superior, inferior)
    return replace(of_mask, superior=superior, inferior=inferior, up=(superior - inferior) / length, length=length)


def _refusal(anatomy: _Anatomy, axis: _Axis) -> Reason | None:
    """What forbids measuring before any angle is taken, the plainest reason first."""
    if anatomy.ps_is_clipped[list(axis.ends)].any() or anatomy.ps_is_clipped.mean() > MOST_PS_CLIPPED:
        return Reason.CUT_BY_SECTOR
    if anatomy.ps.elongation < LEAST_ELONGATION:
        return Reason.AXIS_AMBIGUOUS
    to_head = anatomy.head_centroid - anatomy.ps.centroid
    side = abs(float(axis.up[0] * to_head[1] - axis.up[1] * to_head[0]))
    size = math.sqrt(anatomy.head_area) / axis.length
    if not HEAD_SIZE_RANGE[0] <= size <= HEAD_SIZE_RANGE[1] or anatomy.ps.elongation > MOST_ELONGATION:
        return Reason.IMPLAUSIBLE
    # The hull, not the outline: from inside a dent of the head there is no tangent either.
    vertex = (float(axis.inferior[0]), float(axis.inferior[1]))
    if cv2.pointPolygonTest(anatomy.head_hull, vertex, False) >= 0:
        return Reason.PS_END_IN_HEAD
    return Reason.IMPLAUSIBLE if side < LEAST_HEAD_SIDE * axis.length else None


def _read(anatomy: _Anatomy, axis: _Axis, *, quality: float) -> Biometry | Reason:
    """The measurement itself, once nothing forbids it."""
    to_head = anatomy.head_centroid - axis.inferior
    touching, beyond = leading_point(anatomy.head, vertex=axis.inferior, inner=anatomy.head_centroid, turn=axis.turn)
    aop_deg = math.degrees(axis.turn * turn_rad(axis.up, to_head) + beyond)
    foot = nearest_on_outline(anatomy.head, axis.inferior)
    hsd_min = math.dist(foot, axis.inferior)
    if not PLAUSIBLE_AOP_DEG[0] <= aop_deg <= PLAUSIBLE_AOP_DEG[1] or hsd_min > MOST_HSD * axis.length:
        return Reason.IMPLAUSIBLE
    if _is_cut_near(anatomy, anatomy.head[touching]) or _is_cut_near(anatomy, foot):
        return Reason.CUT_BY_SECTOR
    infrapubic = np.array([-axis.up[1], axis.up[0]]) * axis.turn
    crossing = ray_meets_outline(anatomy.head, origin=axis.inferior, direction=infrapubic)
    hsd_perp = crossing[0] if crossing and crossing[1] >= LEAST_GRAZING_RAD else None
    return Biometry(
        protocol=NAME,
        aop_deg=aop_deg,
        hsd_min=hsd_min,
        hsd_perp=hsd_perp,
        landmarks=Landmarks(
            ps_superior=_in_pixels(axis.superior, anatomy),
            ps_inferior=_in_pixels(axis.inferior, anatomy),
            tangent=_in_pixels(anatomy.head[touching], anatomy),
            hsd_min_foot=_in_pixels(foot, anatomy),
            hsd_perp_foot=None if hsd_perp is None else _in_pixels(axis.inferior + hsd_perp * infrapubic, anatomy),
        ),
        mirrored=axis.turn > 0,
        quality=quality,
    )


def _is_cut_near(anatomy: _Anatomy, point: NDArray[np.float64]) -> bool:
    """Whether a border cuts the head within the reach of its outline's smoothing around `point`.

    Convention: where the outline follows a border over a chord L, a head of radius R has lost L^2 / (8 R) beyond it.
    Worked value: R = 50 px and L = 20 px is 1 px, a share of 0.02: grazed, not cut.
    """
    is_cut = anatomy.head_is_clipped
    if not is_cut.any():
        return False
    distance = np.hypot(*(anatomy.head - point).T)
    nearest = int(np.where(is_cut, distance, np.inf).argmin())
    if distance[nearest] > SMOOTHING_SHARE * len(anatomy.head) * float(anatomy.scale.max()):
        return False
    if is_cut.all():
        return True
    run = np.roll(is_cut, -nearest)  # begins at the nearest
    ahead, behind = int(np.argmin(run)) - 1, int(np.argmin(run[::-1]))
    start, end = (anatomy.head[(nearest + step) % len(is_cut)] for step in (-behind, ahead))
    chord, radius = math.dist(start, end), math.sqrt(anatomy.head_area / math.pi)
    return chord * chord / (8 * radius) >= GRAZED_SHARE * radius


def _quality(labels: NDArray[np.uint8], anatomy: _Anatomy) -> float:
    """How clean the mask is, 0 to 1: the product of four shares, each 1 on a clean mask.

    The solidity of both structures (area over that of the convex hull), the part of the PS's pixels that lie in
    the component measured, and the part of the head's outline that no border cuts.
    """
    ps_solidity = cv2.contourArea(anatomy.ps_contour) / cv2.contourArea(cv2.convexHull(anatomy.ps_contour))
    head_solidity = anatomy.head_area / cv2.contourArea(anatomy.head_hull)
    ps_px = anatomy.ps.area / float(anatomy.scale.prod())
    wholeness = min(1.0, ps_px / float(np.count_nonzero(labels == 1)))
    shown = 1.0 - float(anatomy.head_is_clipped.mean())
    return ps_solidity * head_solidity * wholeness * shown


def _in_pixels(point: NDArray[np.float64], anatomy: _Anatomy) -> Point:
    x, y = point / anatomy.scale
    return float(x), float(y)


ROBUST = Protocol(
    name=NAME,
    summary="second-moment axis, hull tangent, isotropic coordinates",
    side_px=None,
    hsd_px="of the frame, made square where its pixels are not",
    measure=measure_robust,
)
