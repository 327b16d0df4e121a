"""One frame's measurement: the words for it. `stream.measurement.protocols` does the measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from typing import Self

Point = tuple[float, float]
"""(x, y) in pixels, y down, pixel centres at integers."""
MoveEnds = Callable[[Point, Point], tuple[Point, Point]]
"""From the superior and inferior end of a PS' axis as a mask shows them to where they are, in the mask's pixels."""


class ReasonKind(Enum):
    """When the reason for having no measurement is found."""

    AFTER_INFERENCE = "after inference"
    """The network was asked; the frame is refused."""
    BEFORE_INFERENCE = "before inference"
    """The frame does not go to the network, and is refused."""
    DROPPED = "dropped"
    """The frame is not processed at all, and counts as dropped."""


class Reason(StrEnum):
    """Why a frame has no measurement, one line each. The values are the codes written to files.

    Attributes:
        text: what screens say.
        kind: when it is found, and what becomes of the frame.
    """

    text: str
    kind: ReasonKind

    def __new__(cls, code: str, text: str = "", kind: ReasonKind = ReasonKind.AFTER_INFERENCE) -> Self:
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.text, reason.kind = text, kind
        return reason

    NOT_STANDARD_PLANE = "not_standard_plane", "not a standard plane"
    NO_PS = "no_ps", "no pubic symphysis"
    NO_FH = "no_fh", "no fetal head"
    PS_END_IN_HEAD = "ps_end_in_head", "symphysis end inside head"
    CUT_BY_SECTOR = "cut_by_sector", "cut off by the sector"
    AXIS_AMBIGUOUS = "axis_ambiguous", "symphysis axis unclear"
    IMPLAUSIBLE = "implausible", "implausible geometry"
    UNCALIBRATED = "uncalibrated", "shape of the pixels unknown"
    FROZEN = "frozen", "picture frozen", ReasonKind.BEFORE_INFERENCE
    NO_SIGNAL = "no_signal", "no signal", ReasonKind.BEFORE_INFERENCE
    NO_SECTOR = "no_sector", "no ultrasound sector found", ReasonKind.BEFORE_INFERENCE
    TWO_PANES = "two_panes", "two pictures side by side: choose one", ReasonKind.BEFORE_INFERENCE
    UPSIDE_DOWN = "upside_down", "picture upside down", ReasonKind.BEFORE_INFERENCE
    NO_CONTACT = "no_contact", "probe in the air", ReasonKind.BEFORE_INFERENCE
    DAMAGED = "damaged", "damaged picture", ReasonKind.BEFORE_INFERENCE
    INVALID = "invalid", "marked invalid by its source", ReasonKind.BEFORE_INFERENCE
    OVERLOAD = "overload", "too many frames", ReasonKind.DROPPED
    REPEATED = "repeated", "picture shown again", ReasonKind.DROPPED


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
        quality: 0 (barely measurable) to 1 (clean outlines); scales the filter's noise.
        normal_log_odds: natural logarithm of the odds that the picture is normal, as this mask alone shows; 0 where
            it says nothing. Evidence of several frames may be added up.
    """

    protocol: str
    reason: Reason | None = None
    aop_deg: float | None = None
    hsd_min: float | None = None
    hsd_perp: float | None = None
    landmarks: Landmarks | None = None
    mirrored: bool = False
    quality: float = 0.0
    normal_log_odds: float = 0.0
