"""Result types of one frame's measurement: landmarks, AoP, HSD, outlines, orientation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream.frames.reason import Reason
from stream.frames.regions import Point


class Outlines:
    """The segmented structures' outlines, (N, 2) xy in pixels of the frame; empty where absent.

    They are traced when they are first asked for: most runs draw nothing.

    Args:
        trace: gives the outline of a label's code, 1 PS and 2 FH; called at most once for each.
    """

    def __init__(self, trace: Callable[[int], NDArray[np.float32]]) -> None:
        self._trace = trace

    @cached_property
    def ps_px(self) -> NDArray[np.float32]:
        return self._trace(1)

    @cached_property
    def fh_px(self) -> NDArray[np.float32]:
        return self._trace(2)


MoveEnds = Callable[[Point, Point], tuple[Point, Point]]
"""From the superior and inferior end of a PS' axis as a mask shows them to where they are, in the mask's pixels."""


class Orientation(StrEnum):
    """Which way round the picture is: found on each mask, or known from elsewhere."""

    AUTO = "auto"
    NORMAL = "normal"
    MIRRORED = "mirrored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """The points a measurement was read from, in pixels of the mask or image it was made on.

    `hsd_perp_foot` is None where the head does not cross the infrapubic line, and under `fhps2023`,
    which defines no HSD, both feet are None.
    """

    ps_superior: Point
    ps_inferior: Point
    tangent: Point
    hsd_min_foot: Point | None
    hsd_perp_foot: Point | None


LANDMARK_NAMES = tuple(each.name for each in fields(Landmarks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Biometry:
    """AoP and HSD of one frame, or `reason`. Either `reason` is None and AoP is finite, or the reverse.

    Attributes:
        protocol: a name in `stream.measurement.protocols.PROTOCOLS`.
        reason: None where measured.
        aop_deg: angle of progression in degrees, (0, 360).
        hsd_min: shortest distance from the inferior PS end to the head's outline, in the caller's unit.
        hsd_perp: distance along the infrapubic line, in the caller's unit; None where it does not exist.
        landmarks: in mask pixels; None where not measured.
        mirrored: the picture shows the PS on the right and the head to its left.
        expected_error_deg: absolute error of AoP that the model expects of this frame, degrees; None where it does not
            say.
        absolute_half_deg: half the width of AoP's absolute interval, degrees; None where the model does not know it.
        quality: 0 (barely measurable) to 1 (clean outlines); scales the filter's noise.
        orientation_log_odds: natural logarithm of the odds that the picture is normal, as this mask alone shows; 0
        where
            it says nothing. Evidence of several frames may be added up.
    """

    protocol: str
    reason: Reason | None = None
    aop_deg: float | None = None
    hsd_min: float | None = None
    hsd_perp: float | None = None
    landmarks: Landmarks | None = None
    mirrored: bool = False
    expected_error_deg: float | None = None
    absolute_half_deg: float | None = None
    quality: float = 0.0
    orientation_log_odds: float = 0.0
