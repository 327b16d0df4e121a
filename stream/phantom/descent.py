"""Position and rotation of the head at each angle of progression."""

from __future__ import annotations

import math

import numpy as np

from stream.phantom.scene import Head, ps_half_thickness_mm

SIMULATED_AOP_DEG = (80.0, 170.0)
DESCENT_AOP_DEG = (80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0, 170.0)
DESCENT_HEAD_TILT_DEG = (115.0, 111.0, 108.0, 104.0, 100.0, 93.0, 87.0, 80.0, 73.0, 67.0)
"""How the head turns on its way down: direction of its long axis in the PS frame at each AoP."""


def head_tilt_deg(aop_deg: float) -> float:
    """Direction of the head's major axis on a typical descent, degrees in the PS frame; AoP 80 to 170."""
    return float(np.interp(aop_deg, DESCENT_AOP_DEG, DESCENT_HEAD_TILT_DEG))


def typical_hsd_mm(aop_deg: float) -> float:
    """Shortest head-symphysis distance on a typical descent: 22 - 0.37 (AoP - 124) mm, at least 5 mm."""
    return max(5.0, 22.0 - 0.37 * (aop_deg - 124.0))


def place_head(aop_deg: float, *, hsd_mm: float, semi_major_mm: float, semi_minor_mm: float, tilt_deg: float) -> Head:
    """Puts a head of given size and tilt where AoP and the shortest HSD have exactly the given values.

    Convention: degrees and mm in the PS frame; AoP in (0, 180), HSD positive. Seen from the head's centre,
    the inferior PS end lies `hsd_mm` outside the ellipse along some normal n; n is found by bisection between
    the normal of the leading tangent and the direction back along it. Worked value: AoP 120, HSD 23.48, axes
    55 and 44, tilt 100 puts the centre at (-11.6, 77.6).
    """
    aop, tilt = math.radians(aop_deg), math.radians(tilt_deg)
    along = (-math.cos(aop), math.sin(aop))
    normal = (math.sin(aop), math.cos(aop))
    major = (math.cos(tilt), math.sin(tilt))

    def support(n: tuple[float, float]) -> tuple[float, float]:
        p = semi_major_mm**2 * (n[0] * major[0] + n[1] * major[1])
        q = semi_minor_mm**2 * (n[1] * major[0] - n[0] * major[1])
        length = math.hypot(p / semi_major_mm, q / semi_minor_mm)
        return (p * major[0] - q * major[1]) / length, (p * major[1] + q * major[0]) / length

    tangent = support(normal)
    reach = tangent[0] * normal[0] + tangent[1] * normal[1]
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        beta = (low + high) / 2
        cos, sin = math.cos(beta), math.sin(beta)
        n = (cos * normal[0] - sin * along[0], cos * normal[1] - sin * along[1])
        foot = support(n)
        end = (foot[0] + hsd_mm * n[0], foot[1] + hsd_mm * n[1])
        if end[0] * normal[0] + end[1] * normal[1] > reach:
            low = beta
        else:
            high = beta
    return Head(
        x_mm=-end[0],
        y_mm=-end[1],
        semi_major_mm=semi_major_mm,
        semi_minor_mm=semi_minor_mm,
        tilt_deg=tilt_deg,
    )


def clears_symphysis(head: Head, length_mm: float, thickness_mm: float, *, gap_mm: float = 2.0) -> bool:
    """Whether the head stays at least about `gap_mm` away from the deep side of the PS."""
    cos, sin = math.cos(math.radians(head.tilt_deg)), math.sin(math.radians(head.tilt_deg))
    for step in range(1, 20):
        dx = -length_mm * step / 20 - head.x_mm
        dy = ps_half_thickness_mm(step / 20, thickness_mm) + gap_mm - head.y_mm
        if math.hypot((dx * cos + dy * sin) / head.semi_major_mm, (dy * cos - dx * sin) / head.semi_minor_mm) <= 1:
            return False
    return True
