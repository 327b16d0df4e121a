"""Regions of a picture as its source describes them, and the spacing valid in each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.frames.frame import PixelSpacing


Point = tuple[float, float]
"""(x, y) in pixels, y down, pixel centres at integers."""


Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

HELD = 0.9
"""A region holds a box when it covers at least this share of it."""


class RegionKind(StrEnum):
    """What is shown in a region."""

    TISSUE = "tissue"
    """A two-dimensional picture of tissue: B-mode, with or without colour flow."""
    OTHER = "other"
    """M-mode, a Doppler or ECG trace, a scale bar: nothing in it can be measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of the picture, as DICOM describes it in its Sequence of Ultrasound Regions (PS3.3 C.8.5.5).

    Attributes:
        box: left, top, width, height in pixels of the picture that the source gave, never reaching out of it.
        kind: what is shown.
        spacing: mm per pixel in it; None where it is unknown, or where the user's own scale takes its place.
        reason: why the spacing that the file gives was not taken, or "".
    """

    box: Box
    kind: RegionKind
    spacing: PixelSpacing | None = None
    reason: str = ""


def spacing_within(
    box: Box, regions: Sequence[Region], overall: PixelSpacing | None
) -> tuple[PixelSpacing | None, str]:
    """The scale that holds in a part of the picture, and why there is none, "" where there is one or none is declared.

    Convention: where no region has a scale, `overall`, that of the frame, holds everywhere. Else a scale holds in its
    own region only: that of the smallest region that covers `HELD` of the box, as a region may lie inside a larger one.
    Worked value: panes 0..99 of 0.2 mm and 100..199 of 0.4 mm: a box in columns 110 to 190 has 0.4 mm, the whole
    picture has none.

    Args:
        box: that is measured: left, top, width, height in pixels of the picture that the source gave.
        regions: of the frame.
        overall: the frame's own spacing.
    """
    if not any(region.spacing for region in regions):
        return overall, ""
    holding = [region for region in regions if _shared_px(box, region.box) >= HELD * box[2] * box[3]]
    if not holding:
        return None, "no scale: the picture that is measured lies in none of the file's ultrasound regions"
    held_by = min(holding, key=lambda region: region.box[2] * region.box[3])
    if held_by.spacing is None:
        return None, f"no scale: {held_by.reason or 'the file gives none for this ultrasound region'}"
    return held_by.spacing, ""


def _shared_px(first: Box, second: Box) -> int:
    """Area that two boxes share."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    return max(0, right - left) * max(0, bottom - top)
