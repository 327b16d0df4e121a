"""An oracle that shares no code with the product: a teardrop and an ellipse, and their angles by brute force."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# AoP: head centre x, y (mm from the inferior PS end, x caudal along the PS axis, y deeper) and tilt in degrees.
DESCENT = {
    80: (-58, 72, 115),
    90: (-46, 77, 111),
    100: (-33, 79, 108),
    110: (-22, 79, 104),
    120: (-12, 78, 100),
    130: (-2, 75, 93),
    140: (6, 71, 87),
    150: (13, 66, 80),
    160: (18, 61, 73),
    170: (22, 57, 67),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A PS of `length_mm` with a blunt superior and a narrow inferior end, and a head, placed in a picture.

    `tilt_deg` turns both clockwise about the inferior end, which lies at `place_mm` from the picture's corner.
    """

    head: tuple[float, float, float] = (-12, 78, 100)
    semi_axes_mm: tuple[float, float] = (55.0, 44.0)
    length_mm: float = 38.0
    radii_mm: tuple[float, float] = (9.0, 4.5)
    tilt_deg: float = -12.0
    place_mm: tuple[float, float] = (92.0, 40.0)
    mirrored: bool = False

    def draw(
        self, size: tuple[int, int] = (512, 512), *, pixel_mm: tuple[float, float] = (0.36, 0.36)
    ) -> NDArray[np.uint8]:
        """Labels (H, W) for `size` (width, height); a pixel belongs to what its centre lies in."""
        width, height = size
        x = (np.arange(width) * pixel_mm[0] - self.place_mm[0])[None, :]
        y = (np.arange(height) * pixel_mm[1] - self.place_mm[1])[:, None]
        c, s = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        u, v = x * c + y * s, y * c - x * s
        labels = np.zeros((height, width), np.uint8)
        hx, hy, tilt = self.head
        ch, sh = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        e = ((u - hx) * ch + (v - hy) * sh) / self.semi_axes_mm[0]
        f = ((v - hy) * ch - (u - hx) * sh) / self.semi_axes_mm[1]
        labels[e * e + f * f <= 1] = 2
        labels[self._in_teardrop(u, v)] = 1
        return np.ascontiguousarray(labels[:, ::-1]) if self.mirrored else labels

    def _in_teardrop(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The convex hull of two discs: a union of discs with centre and radius going linearly along the axis."""
        big, small = self.radii_mm
        first, last = -(self.length_mm - big), -small
        # For every point the disc that comes nearest: minimise distance to centre minus radius along the axis.
        slope = (small - big) / (last - first)
        along = u + slope / math.sqrt(1 - slope * slope) * np.abs(v)
        centre = np.clip(along, first, last)
        radius = big + slope * (centre - first)
        return np.asarray(np.hypot(u - centre, v) <= radius)

    def truth(self) -> tuple[float, float, float | None]:
        """AoP in degrees, shortest and perpendicular HSD in mm, from 40 000 points of the ellipse."""
        t = np.linspace(0, 2 * np.pi, 40_001)
        hx, hy, tilt = self.head
        ch, sh = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        p, q = self.semi_axes_mm[0] * np.cos(t), self.semi_axes_mm[1] * np.sin(t)
        x, y = hx + p * ch - q * sh, hy + p * sh + q * ch
        middle = math.degrees(math.atan2(hy, -hx))
        angles = np.degrees(np.arctan2(y, -x))
        angles += 360 * np.round((middle - angles) / 360)
        crossing = np.flatnonzero((x[:-1] < 0) != (x[1:] < 0))
        depths = y[crossing][y[crossing] > 0]
        return float(angles.max()), float(np.hypot(x, y).min()), float(depths.min()) if len(depths) else None


def at_aop(aop_deg: int, **changes: object) -> Anatomy:
    """The typical head position of the descent path at an AoP of 80, 90, ... 170 degrees."""
    return Anatomy(head=DESCENT[aop_deg], **changes)  # type: ignore[arg-type]  # keyword pass-through
