"""Why a frame has no measurement: the one list of reasons, each with its code, text and kind."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Self


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
