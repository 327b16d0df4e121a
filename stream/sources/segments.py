"""Where a recording's stretches of one geometry begin, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.frame import SegmentCause

if TYPE_CHECKING:
    from stream.frame import PixelSpacing

_Geometry = tuple[tuple[int, ...], float | None, "PixelSpacing | None"]
_CAUSES = (SegmentCause.SIZE, SegmentCause.ASPECT, SegmentCause.SCALE)


class Segments:
    """Counts the stretches: a new one where size, shape of the pixels or scale change, or where time jumps.

    Worked value: pictures of 64x96, 64x96, 64x80, 64x80 lie in segments 0, 0, 1, 1; the second began by `SIZE`.
    """

    def __init__(self) -> None:
        self._geometry: _Geometry | None = None
        self._jumps = 0
        self._number = 0
        self._cause = SegmentCause.START

    def place(
        self,
        shape: tuple[int, ...],
        *,
        aspect: float | None = 1.0,
        spacing: PixelSpacing | None = None,
        jumps: int = 0,
    ) -> tuple[int, SegmentCause]:
        """Number of the segment that the next picture lies in, and why that began.

        Args:
            shape: (H, W) of the picture.
            aspect: width of a pixel over its height; None where unknown.
            spacing: mm per pixel; None where unknown.
            jumps: of time so far (`Timeline.segment`).
        """
        geometry: _Geometry = (shape, aspect, spacing)
        if self._geometry is not None and (geometry != self._geometry or jumps != self._jumps):
            self._number += 1
            changed = (new != old for new, old in zip(geometry, self._geometry, strict=True))
            self._cause = next(
                (cause for cause, is_new in zip(_CAUSES, changed, strict=True) if is_new), SegmentCause.TIME
            )
        self._geometry, self._jumps = geometry, jumps
        return self._number, self._cause
