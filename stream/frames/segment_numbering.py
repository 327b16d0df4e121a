"""Numbers the segments of a recording: a new one where geometry, scale or time change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stream.frames.frame import SegmentCause
from stream.frames.segments import change_between

if TYPE_CHECKING:
    from stream.frames.frame import Frame


class SegmentNumbering:
    """Numbers the segments: a new one where size, shape of the pixels or scale change, or where time jumps.

    Worked value: pictures of 64x96, 64x96, 64x80, 64x80 lie in segments 0, 0, 1, 1; the second began by `SIZE`.
    """

    def __init__(self) -> None:
        self._before: Frame | None = None
        self._jumps = 0
        self._number = 0
        self._cause = SegmentCause.START

    def numbered(self, frame: Frame, *, jumps: int = 0) -> Frame:
        """The next frame of the recording with its segment, and why that began.

        Args:
            frame: with any segment.
            jumps: of time so far (`Timeline.segment`).
        """
        if self._before is not None:
            cause = change_between(self._before, frame) or (SegmentCause.TIME if jumps != self._jumps else None)
            self._number += cause is not None
            self._cause = cause or self._cause
        self._before, self._jumps = frame, jumps
        if frame.segment == self._number and frame.segment_cause is self._cause:
            return frame
        return replace(frame, segment=self._number, segment_cause=self._cause)
