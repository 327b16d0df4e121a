"""Words of a report for codes of the records."""

from __future__ import annotations

from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason
from stream.labour.edits import EditKind

MEANINGS = {
    Reason.NOT_STANDARD_PLANE: "The plane gate refuses the picture.",
    Reason.NO_PS: "The network finds no pubic symphysis.",
    Reason.NO_FH: "The network finds no fetal head.",
    Reason.PS_END_IN_HEAD: "The inferior end of the symphysis lies inside the head: there is no tangent.",
    Reason.CUT_BY_SECTOR: "The edge of the picture cuts a structure where that moves the measurement.",
    Reason.AXIS_AMBIGUOUS: "The orientation of the picture is not clear, or contradicts what was found before.",
    Reason.IMPLAUSIBLE: "The geometry cannot be that of a symphysis and a head.",
    Reason.UNCALIBRATED: "The shape of the pixels is not known, so an angle would be wrong.",
    Reason.FROZEN: "The picture stands still.",
    Reason.NO_SIGNAL: "The picture is black.",
    Reason.NO_SECTOR: "No ultrasound was found in the picture.",
    Reason.TWO_PANES: "Two pictures side by side, and none was chosen.",
    Reason.UPSIDE_DOWN: "The picture is turned upside down.",
    Reason.NO_CONTACT: "The probe is in the air.",
    Reason.DAMAGED: "The picture did not arrive whole.",
    Reason.INVALID: "The source says that this picture is not valid.",
    Reason.OVERLOAD: "Dropped: the machine did not keep up.",
    Reason.REPEATED: "Dropped: the same picture again.",
}
"""What is meant by a reason, in a sentence."""

PART_CAUSES = {
    "start": "start of the recording",
    "cut": "the picture became another one: another recording, or another patient",
    "time": "the clock of the recording went back",
    "pause": "after a long pause",
}
"""Why a part of a run begins."""

PROTOCOL_TEXTS = {
    "robust": "Protocol robust: the axis is that of the second moments of the PS, the tangent that to the head's"
    " smoothed outline; angles are taken in isotropic coordinates.",
    "iugc2024": "Protocol iugc2024, as the evaluator of the IUGC 2024 challenge: the axis joins the two farthest points"
    " of the PS; all in the picture squeezed to a square; HSD in its pixels.",
    "fhps2023": "Protocol fhps2023, as the scorer of the FH-PS-AOP 2023 challenge: ellipses are fitted to PS and head"
    " in the picture squeezed to a square; no HSD.",
}
"""How AoP and HSD are defined under a protocol."""

SHADES = ("#9b9b96", "#bdbdb8", "#d3d3ce", "#e3e3df", "#efefec")
"""Of refusals, the commonest darkest."""
MEASURED_COLOUR, DROPPED_COLOUR = "#00558c", "#ffffff"

CHANGES = {
    SegmentCause.CONNECTION: "connected again",
    SegmentCause.SIZE: "picture size",
    SegmentCause.SCALE: "scale",
    SegmentCause.DEPTH: "depth",
    SegmentCause.ORIENTATION: "flipped",
    SegmentCause.CUT: "another picture",
    SegmentCause.TIME: "time jump",
}
"""Changes that a chart shows."""

EDIT_WORDS = {
    EditKind.CONFIRM: "confirmed",
    EditKind.POINTS: "points moved",
    EditKind.OUTLINES: "outline drawn anew",
    EditKind.WITHDRAW: "withdrawn",
}
"""What a person did to a frame."""
