"""Segments of a stream: frames of one geometry, numbered, each with the cause of its start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stream.frames.frame import SegmentCause

if TYPE_CHECKING:
    from stream.frames.frame import Frame


class SegmentCounter:
    """Adds the segments that one stage of the pipeline begins to those that the stages before it began.

    Numbers only grow: `Frame.segment` of what is passed on is the incoming one plus the segments begun here. The cause
    is that of whichever began last.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._cause: SegmentCause | None = None
        self._incoming: int | None = None

    def take(self, frame: Frame) -> bool:
        """Takes a frame of the stage before; returns whether a segment begins with it there."""
        is_new = self._incoming is not None and frame.segment != self._incoming
        self._incoming = frame.segment
        if is_new:
            self._cause = None  # the incoming one is the later
        return is_new

    def begin(self, cause: SegmentCause) -> None:
        """Begins a segment with the frame that was taken last."""
        self._begun += 1
        self._cause = cause

    def explain(self, cause: SegmentCause) -> None:
        """Says why the segment of the frame that was taken last began, where the stage before does not."""
        self._cause = cause

    def numbered(self, frame: Frame) -> Frame:
        """The frame that was taken last, with its number and cause."""
        cause = self._cause or frame.segment_cause
        if not self._begun and cause is frame.segment_cause:
            return frame
        return replace(frame, segment=frame.segment + self._begun, segment_cause=cause)


TYPED_SCALE_ENDS = frozenset({SegmentCause.SIZE, SegmentCause.ASPECT, SegmentCause.DEPTH, SegmentCause.CUT})
"""A scale that a user typed is for the picture that was on the screen: it ends with a segment that begins so."""


def change_between(before: Frame, after: Frame) -> SegmentCause | None:
    """What of the pictures' geometry differs between two frames as their source gave them; None where nothing does."""
    if before.image.shape != after.image.shape:
        return SegmentCause.SIZE
    if before.pixel_aspect != after.pixel_aspect:
        return SegmentCause.ASPECT
    if (before.spacing, before.regions) != (after.spacing, after.regions):
        return SegmentCause.SCALE
    return None
