"""One frame's measurement: the words for it. `stream.protocols` does the measuring."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Point = tuple[float, float]
"""(x, y) in pixels, y down, pixel centres at integers."""


class Reason(StrEnum):
    """Why a frame has no measurement. The values are the codes written to files."""

    NOT_STANDARD_PLANE = "not_standard_plane"
    NO_PS = "no_ps"
    NO_FH = "no_fh"
    PS_END_IN_HEAD = "ps_end_in_head"
    CUT_BY_SECTOR = "cut_by_sector"
    AXIS_AMBIGUOUS = "axis_ambiguous"
    IMPLAUSIBLE = "implausible"
    UNCALIBRATED = "uncalibrated"
    # Of pictures that the network was not asked about:
    FROZEN = "frozen"
    NO_SIGNAL = "no_signal"
    NO_SECTOR = "no_sector"
    TWO_PANES = "two_panes"
    UPSIDE_DOWN = "upside_down"
    NO_CONTACT = "no_contact"
    # Of pictures that their source says not to measure:
    DAMAGED = "damaged"
    INVALID = "invalid"
    # Of frames that were never looked at:
    OVERLOAD = "overload"
    REPEATED = "repeated"


CHALLENGE_SIDE_PX = {"iugc2024": 512, "fhps2023": 256}
"""The squeezed square each challenge protocol is defined on."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Biometry:
    """AoP and HSD of one frame, or `reason`. Either `reason` is None and AoP is finite, or the reverse.

    Attributes:
        protocol: a name in `stream.protocols.protocols()`.
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
