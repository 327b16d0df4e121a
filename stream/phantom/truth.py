"""Exact ground truth of a phantom scene: AoP, HSD, landmarks, masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream.phantom.scene import PS_BASE_POWER, PS_TIP_POWER, ProbeSector, ps_scale_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.frames.regions import Point
    from stream.phantom.scene import Head, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomTruth:
    """What a perfect observer would measure.

    On a frame that is no standard plane these are the values of the anatomy, which goes on existing while the
    plane does not show it.

    Attributes:
        aop_deg: angle of progression, (0, 360).
        hsd_min_mm: shortest distance from the inferior PS end to the head.
        hsd_perp_mm: distance along the infrapubic line; None where the head does not cross it.
        progression_mm: distance from the infrapubic line to the head's most caudal point; negative before it.
        ps_superior, ps_inferior, tangent, hsd_min_foot, hsd_perp_foot: pixels, of the picture as shown.
        is_standard_plane: whether the frame shows both PS and the full head.
        mirrored: PS on the right.
    """

    aop_deg: float
    hsd_min_mm: float
    hsd_perp_mm: float | None
    progression_mm: float
    ps_superior: Point
    ps_inferior: Point
    tangent: Point
    hsd_min_foot: Point
    hsd_perp_foot: Point | None
    is_standard_plane: bool
    mirrored: bool


def leading_tangent(head: Head) -> tuple[float, float, float]:
    """The tangent from the inferior PS end to the head's leading side: (AoP in degrees, x mm, y mm).

    Convention: PS frame, the vertex at the origin; AoP counts from the superior direction (-x) over the deep
    side (+y), unwrapped about the head's centre, so it may pass 180. Of the two tangents the one with the
    larger angle is the leading one. The ellipse is stretched to the unit circle, where the tangent points
    from p are p / d^2 +- sqrt(d^2 - 1) / d^2 * (p turned by 90 degrees), d = |p|. Worked value: circle of
    radius 1 at (0, 2): 120 degrees. Undefined (ValueError) with the vertex inside the head.
    """
    px, py = _to_circle(head, 0.0, 0.0)
    d2 = px * px + py * py
    if d2 <= 1:
        raise ValueError("the inferior PS end lies inside the head: there is no tangent")
    root = math.sqrt(d2 - 1)
    middle = math.degrees(math.atan2(head.y_mm, -head.x_mm)) % 360
    best = (-math.inf, 0.0, 0.0)
    for side in (1.0, -1.0):
        x, y = _from_circle(head, (px - side * root * py) / d2, (py + side * root * px) / d2)
        angle = math.degrees(math.atan2(y, -x))
        angle += 360 * round((middle - angle) / 360)
        best = max(best, (angle, x, y))
    return best


def nearest_point(head: Head) -> tuple[float, float]:
    """The point of the head's outline nearest to the inferior PS end, which lies outside.

    Convention: PS frame, mm. Worked value: circle of radius 1 at (0, 3): (0, 2). In the ellipse's own axes
    the foot of (p, q) is (a^2 p / (a^2 + s), b^2 q / (b^2 + s)); s >= 0 by bisection (Eberly, Distance from
    a Point to an Ellipse, 2013).
    """
    a, b = head.semi_major_mm, head.semi_minor_mm
    cx, cy = _to_circle(head, 0.0, 0.0)
    p, q = cx * a, cy * b
    low, high = 0.0, a * math.hypot(p, q)
    for _ in range(80):
        s = (low + high) / 2
        if (a * p / (a * a + s)) ** 2 + (b * q / (b * b + s)) ** 2 > 1:
            low = s
        else:
            high = s
    return _from_circle(head, a * p / (a * a + s), b * q / (b * b + s))


def infrapubic_crossing(head: Head) -> float | None:
    """Depth in mm at which the infrapubic line first meets the head; None where it does not.

    Convention: the line is x = 0, y > 0 in the PS frame, perpendicular to the PS axis at its inferior end,
    which lies outside the head. Worked value: circle of radius 1 at (0, 3): 2.
    """
    x0, y0 = _to_circle(head, 0.0, 0.0)
    x1, y1 = _to_circle(head, 0.0, 1.0)
    dx, dy = x1 - x0, y1 - y0
    a, b, c = dx * dx + dy * dy, dx * x0 + dy * y0, x0 * x0 + y0 * y0 - 1
    if b * b < a * c:
        return None
    depth = (-b - math.sqrt(b * b - a * c)) / a
    return depth if depth > 0 else None


def scene_truth(scene: Scene, size: int) -> PhantomTruth:
    """The exact measurement of a scene, with landmarks in pixels of a `size` x `size` picture."""
    head = scene.head

    def pixel(x_mm: float, y_mm: float) -> Point:
        x, y = scene.pose.to_image(x_mm, y_mm)
        scale = size / scene.sector.field_mm
        x, y = x * scale - 0.5, y * scale - 0.5
        return (size - 1 - x if scene.mirrored else x), y

    aop_deg, tx, ty = leading_tangent(head)
    foot = nearest_point(head)
    perp_mm = infrapubic_crossing(head)
    tilt = math.radians(head.tilt_deg)
    reach = math.hypot(head.semi_major_mm * math.cos(tilt), head.semi_minor_mm * math.sin(tilt))
    return PhantomTruth(
        aop_deg=aop_deg,
        hsd_min_mm=math.hypot(*foot),
        hsd_perp_mm=perp_mm,
        progression_mm=head.x_mm + reach,
        ps_superior=pixel(-scene.ps_length_mm, 0.0),
        ps_inferior=pixel(0.0, 0.0),
        tangent=pixel(tx, ty),
        hsd_min_foot=pixel(*foot),
        hsd_perp_foot=None if perp_mm is None else pixel(0.0, perp_mm),
        is_standard_plane=scene.is_standard_plane,
        mirrored=scene.mirrored,
    )


def scene_masks(scene: Scene, size: int) -> NDArray[np.uint8]:
    """What the picture shows, exactly: (size, size) uint8, 1 PS, 2 FH, 0 elsewhere and outside the sector.

    A pixel belongs to a structure if its centre does. Structures the plane does not show are left out.
    """
    x, y = _pixel_grid_mm(scene, size)
    mask = np.zeros((size, size), np.uint8)
    if scene.shows_head:
        e1, e2 = _ellipse_coordinates(scene, x, y)
        mask[e1 * e1 + e2 * e2 <= 1] = 2
    if scene.shows_ps:
        fraction = np.clip(-x / scene.ps_length_mm, 0, 1)
        half = ps_scale_mm(scene.ps_thickness_mm) * fraction**PS_TIP_POWER * (1 - fraction) ** PS_BASE_POWER
        mask[(np.abs(y) <= half) & (half > 0)] = 1
    mask[~sector_mask(size, scene.sector)] = 0
    return np.ascontiguousarray(mask[:, ::-1]) if scene.mirrored else mask


def sector_mask(size: int, sector: ProbeSector | None = None) -> NDArray[np.bool_]:
    """The field of view: (size, size) bool, True where a pixel's centre lies inside.

    It is the same for the mirrored picture. Without `sector` it is that of `phantom:`.
    """
    sector = sector or ProbeSector()
    axis = (np.arange(size) + 0.5) * (sector.field_mm / size)
    x, y = axis[None, :] - sector.apex_mm[0], axis[:, None] - sector.apex_mm[1]
    r2 = x * x + y * y
    inside = np.abs(x) <= y * math.tan(math.radians(sector.half_angle_deg))
    return np.asarray(inside & (r2 >= sector.near_mm**2) & (r2 <= sector.far_mm**2))


def _pixel_grid_mm(scene: Scene, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PS-frame coordinates of all pixel centres of the unmirrored picture."""
    axis = (np.arange(size) + 0.5) * (scene.sector.field_mm / size)
    x, y = axis[None, :] - scene.pose.x_mm, axis[:, None] - scene.pose.y_mm
    cos, sin = math.cos(math.radians(scene.pose.tilt_deg)), math.sin(math.radians(scene.pose.tilt_deg))
    return x * cos - y * sin, x * sin + y * cos


def _ellipse_coordinates(
    scene: Scene, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates in which the shown section of the head is the unit circle."""
    head, tilt = scene.head, math.radians(scene.head.tilt_deg)
    cos, sin = math.cos(tilt), math.sin(tilt)
    dx, dy = x - head.x_mm, y - head.y_mm
    e1 = (dx * cos + dy * sin) / (head.semi_major_mm * scene.head_section)
    e2 = (dy * cos - dx * sin) / (head.semi_minor_mm * scene.head_section)
    return e1, e2


def _to_circle(head: Head, x_mm: float, y_mm: float) -> tuple[float, float]:
    """From the PS frame to the coordinates in which the head is the unit circle."""
    cos, sin = math.cos(math.radians(head.tilt_deg)), math.sin(math.radians(head.tilt_deg))
    dx, dy = x_mm - head.x_mm, y_mm - head.y_mm
    return (dx * cos + dy * sin) / head.semi_major_mm, (dy * cos - dx * sin) / head.semi_minor_mm


def _from_circle(head: Head, u: float, v: float) -> tuple[float, float]:
    cos, sin = math.cos(math.radians(head.tilt_deg)), math.sin(math.radians(head.tilt_deg))
    p, q = u * head.semi_major_mm, v * head.semi_minor_mm
    return head.x_mm + p * cos - q * sin, head.y_mm + p * sin + q * cos
