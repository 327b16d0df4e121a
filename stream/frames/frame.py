"""A grey frame and its metadata: index, time, spacing, segment, field of view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import numpy as np

from engines.base import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.frames.reason import Reason
    from stream.frames.regions import Region


BLANK = np.zeros((1, 1), np.uint8)
"""What is passed on of a picture whose sector is not known."""


PLAUSIBLE_MM = (0.01, 3.0)
"""Millimetres per pixel that an ultrasound picture can have: 40 mm of depth on 4,000 rows, 300 mm on 100. A scale in
micrometres, metres or inches lies outside."""
PLAUSIBLE_ASPECT = (0.25, 4.0)
"""Width of a pixel over its height."""


def plausible_aspect(x: float, y: float) -> float | None:
    """Width of a pixel over its height, from both in one unit, whichever; None where no ultrasound picture has it.

    Worked values: 300 and 200 are 1.5; 1 and 100, or 0 and 1, are None.
    """
    narrow, wide = PLAUSIBLE_ASPECT
    return x / y if x > 0 and y > 0 and narrow <= x / y <= wide else None


@dataclass(frozen=True, slots=True)
class PixelSpacing:
    """Millimetres from one pixel centre to the next, in x (columns) and y (rows). Both positive and finite."""

    x_mm: float
    y_mm: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.x_mm, self.y_mm)):
            raise ValueError(f"pixel spacing must be positive millimetres, got {self.x_mm}, {self.y_mm}")

    @classmethod
    def checked(cls, x_mm: float, y_mm: float) -> Self:
        """The spacing that a file, a peer or a user declares, if an ultrasound picture can have it.

        The one place where that is decided. A source takes the spacing for unknown where this raises, and says why in
        its note; the command line and profiles hand the error on.

        Raises:
            ValueError: not finite and positive, or outside `PLAUSIBLE_MM` or `PLAUSIBLE_ASPECT`; says which.
        """
        spacing = cls(x_mm, y_mm)
        least, most = PLAUSIBLE_MM
        if not (least <= x_mm <= most and least <= y_mm <= most):
            raise ValueError(
                f"{x_mm:g} x {y_mm:g} mm per pixel is not plausible for ultrasound ({least:g} to {most:g}); "
                "is it in another unit?"
            )
        if plausible_aspect(x_mm, y_mm) is None:
            raise ValueError(f"pixels of {x_mm:g} x {y_mm:g} mm are too far from square to be plausible")
        return spacing


class SegmentCause(StrEnum):
    """Why a segment began: what changed there. Facts of the segment before it end with it."""

    START = "start"
    CONNECTION = "connection"
    """A live feed was connected again."""
    LOOP = "loop"
    """A recording begins again."""
    TIME = "time"
    """The time stamps jump."""
    SIZE = "size"
    ASPECT = "aspect"
    """The pixels have another shape."""
    SCALE = "scale"
    """The source, or the ruler, says another scale."""
    DEPTH = "depth"
    """The picture, or its sector, shrank or grew on the same screen."""
    SECTOR = "sector"
    """The sector was found, or is elsewhere on the screen."""
    PANE = "pane"
    ORIENTATION = "orientation"
    """The picture was flipped left to right or up to down, or turned."""
    CUT = "cut"
    """From one picture to the next everything is another: another recording, or another patient."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """A grey frame, read-only, as it left the source.

    Attributes:
        image: (H, W) uint8, full range 0 to 255; marked read-only on creation.
        index: 0, 1, 2 ... in the order read, without gaps.
        pts: presentation time, integer, in units of `time_base`; strictly increasing in a segment.
        time_base: seconds per unit of `pts`, exact.
        captured_ns: when the frame entered the program, on the pipeline's monotonic clock.
        spacing: mm per pixel where the source knows it. It rides on the frame because depth changes in mid-scan.
        spacing_note: why `spacing` is unknown, for people, where a scale was known or declared; "" where none ever was.
        pixel_aspect: width of one pixel over its height, for angles where `spacing` is unknown; 1 is square, None is
            not known either, and then there is no angle.
        segment: counts unbroken runs of pictures of one geometry. It grows where time, size, scale, sector or
            orientation changes (`SegmentCause`), and tracks start anew there.
        segment_cause: why this frame's segment began.
        origin: column and row, in the picture the source gave, of this image's first pixel.
        field_of_view: (H, W) uint8, 255 where this image shows ultrasound and not the screen around it, which is black;
            None where all of it does. Frames of one segment share it.
        refusal: why the source itself says that this picture must not be measured: it is `DAMAGED`, `INVALID`, or
            was not decoded for want of time (`OVERLOAD`).
        regions: what the source says is where in the picture it gave, each with its scale (`stream.frames.regions`).
    """

    image: NDArray[np.uint8]
    index: int
    pts: int
    time_base: Fraction
    captured_ns: int
    spacing: PixelSpacing | None = None
    spacing_note: str = ""
    pixel_aspect: float | None = 1.0
    segment: int = 0
    segment_cause: SegmentCause = SegmentCause.START
    origin: tuple[int, int] = (0, 0)
    field_of_view: NDArray[np.uint8] | None = None
    refusal: Reason | None = None
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.image, np.ndarray) or self.image.ndim != 2 or self.image.dtype != np.uint8:
            raise ValueError(f"a frame is (H, W) uint8, got {describe(self.image)}")
        self.image.flags.writeable = False

    @property
    def pts_s(self) -> float:
        """Presentation time in seconds from the start of the stream."""
        return self.pts * self.time_base.numerator / self.time_base.denominator

    @property
    def aspect(self) -> float:
        """Width of one pixel over its height: from the spacing where known, else `pixel_aspect`, else 1."""
        return self.spacing.x_mm / self.spacing.y_mm if self.spacing else self.pixel_aspect or 1.0

    @property
    def has_known_shape(self) -> bool:
        """Whether `aspect` is known rather than presumed."""
        return self.spacing is not None or self.pixel_aspect is not None

    def __repr__(self) -> str:
        height, width = self.image.shape
        return f"Frame(index={self.index}, pts_s={self.pts_s:.3f}, {width}x{height}, spacing={self.spacing})"
