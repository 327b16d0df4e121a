"""Strata of labelled frames: AoP band and symphysis direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stream.measurement.protocols import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame

BANDS = (("<100", 0.0, 100.0), ("100-120", 100.0, 120.0), ("120-140", 120.0, 140.0), (">=140", 140.0, math.inf))
"""Bands of AoP by `fhps2023`, degrees: name, from, to (not included)."""


def band_of(aop_deg: float | None) -> str:
    """The name of an angle's band; empty where there is none."""
    return "" if aop_deg is None else next((name for name, low, high in BANDS if low <= aop_deg < high), "")


def stratum_of(frame: LabelledFrame) -> str:
    """What folds should hold alike: the plane label, and the band of AoP of a drawn mask."""
    aop = measure(frame.mask, protocol="fhps2023").aop_deg if frame.mask is not None and frame.mask.any() else None
    return f"{frame.plane}/{band_of(aop)}"


def drawn_angles(mask: NDArray[np.uint8]) -> tuple[float, float]:
    """AoP by `fhps2023`, and the direction of the PS' axis from x towards y in [0, 180), degrees; NaN where none."""
    found = measure(mask, protocol="fhps2023")
    return (math.nan if found.aop_deg is None else found.aop_deg), axis_deg(mask == 1)


def axis_deg(region: NDArray[np.bool_]) -> float:
    """Direction of a region's first principal axis, degrees in [0, 180) from x towards y (down); NaN if empty.

    Worked value: a bar from the top left to the bottom right has 45.
    """
    y, x = np.nonzero(region)
    if len(x) < 2:
        return math.nan
    xx, yy, xy = x.var(), y.var(), ((x - x.mean()) * (y - y.mean())).mean()
    return math.degrees(0.5 * math.atan2(2 * xy, xx - yy)) % 180.0
