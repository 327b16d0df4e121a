"""One decoded grey image with the facts that must travel with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PixelSpacing:
    """Millimetres from one pixel centre to the next, in x (columns) and y (rows). Both positive and finite."""

    x_mm: float
    y_mm: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.x_mm, self.y_mm)):
            raise ValueError(f"pixel spacing must be positive millimetres, got {self.x_mm}, {self.y_mm}")


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
        pixel_aspect: width of one pixel over its height, for angles where `spacing` is unknown; 1 is square, None is
            not known either, and then there is no angle.
        segment: counts unbroken stretches. It grows where time or scale jumps (a loop's seam, a change of
            depth), and tracks start anew there.
        origin: column and row, in the picture the source gave, of this image's first pixel.
    """

    image: NDArray[np.uint8]
    index: int
    pts: int
    time_base: Fraction
    captured_ns: int
    spacing: PixelSpacing | None = None
    pixel_aspect: float | None = 1.0
    segment: int = 0
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.dtype != np.uint8:
            raise ValueError(f"a frame is (H, W) uint8, got {self.image.shape} {self.image.dtype}")
        self.image.flags.writeable = False

    @property
    def pts_s(self) -> float:
        """Presentation time in seconds from the start of the stream."""
        return float(self.pts * self.time_base)

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
