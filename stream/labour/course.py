"""The smoothed course of AoP of a finished run, from the readings in its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.common.errors import RunUnreadable, TrackError
from stream.pipeline.record import FrameState
from stream.tracking.kalman import FilterNoise
from stream.tracking.smoother import smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from stream.labour.recorded_run import RecordedRun
    from stream.labour.run_table import RunTable
    from stream.tracking.smoother import SmoothedCourse


def aop_course(table: RunTable, *, noise: FilterNoise = AOP_NOISE_DEG) -> SmoothedCourse:
    """AoP in degrees, smoothed from each frame's own reading; row i is frame i.

    Args:
        table: of the run's records.
        noise: what the filter assumes; `run_noise` says what the run did.

    Raises:
        RunUnreadable: the records hold what no run writes, such as a time that goes back within a segment.
    """
    try:
        return smooth_course(
            table.numbers("pts_s"),
            table.numbers("aop_raw_deg"),
            quality=table.numbers("quality"),
            refused=table.is_in(FrameState.REFUSED),
            segment=table.counts("segment"),
            noise=noise,
        )
    except TrackError as error:
        raise RunUnreadable(
            f"{table.path}: was changed, or is damaged ({error}); see what differs by: partum verify"
        ) from error


def run_noise(run: RecordedRun) -> FilterNoise:
    """The constants of the filter that a run was given by `--noise`, as its manifest has them; else those that ship."""
    given = run.options.get("noise")
    try:
        return FilterNoise(**given) if given else AOP_NOISE_DEG
    except (TypeError, ValueError):  # a manifest of another version, or changed by hand
        return AOP_NOISE_DEG
