"""The smoothed course of AoP of a finished run, from the readings in its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.pipeline.record import FrameState
from stream.tracking.smoother import smooth_course

if TYPE_CHECKING:
    from stream.labour.run_table import RunTable
    from stream.tracking.smoother import SmoothedCourse


def aop_course(table: RunTable) -> SmoothedCourse:
    """AoP in degrees, smoothed from each frame's own reading; row i is frame i.

    Raises:
        TrackError: time goes back within a segment.
    """
    return smooth_course(
        table.numbers("pts_s"),
        table.numbers("aop_raw_deg"),
        quality=table.numbers("quality"),
        refused=table.is_in(FrameState.REFUSED),
        segment=table.counts("segment"),
    )
