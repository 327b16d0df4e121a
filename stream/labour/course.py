"""The smoothed course of AoP of a finished run, from the readings in its records, and the pushes in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stream.common.errors import RunUnreadable, TrackError
from stream.labour.pushes import REST_S, find_pushes, with_marked
from stream.labour.run_marks import marked_pushes
from stream.pipeline.record import FrameState
from stream.tracking.kalman import FilterNoise
from stream.tracking.smoother import smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.labour.pushes import Level, Push
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


def run_pushes(run: RecordedRun, course: SmoothedCourse) -> Sequence[Push]:
    """The pushes of a run, marked and found, in order, their levels with both intervals; marks are read anew.

    Raises:
        RunUnreadable: the marks cannot be read.
    """
    if not len(run):
        return ()
    quality = np.nan_to_num(run.table.numbers("quality"))
    found = find_pushes(course, quality=quality)
    spans = marked_pushes(run.read_marks()).spans
    half_deg = _absolute_half(run.table)
    return [_with_absolute(push, course, half_deg) for push in with_marked(found, spans, course, quality=quality)]


def _absolute_half(table: RunTable) -> NDArray[np.float64]:
    """Half the absolute interval of each frame's tracked AoP, degrees; NaN where there is none."""
    own, beside = (
        (table.numbers(f"{name}_absolute_hi95_deg") - table.numbers(f"{name}_absolute_lo95_deg")) / 2
        for name in ("aop", "aop_extrapolated")
    )
    return np.where(np.isfinite(own), own, beside)


def _with_absolute(push: Push, course: SmoothedCourse, half_deg: NDArray[np.float64]) -> Push:
    """The push with absolute intervals of its levels: as wide as those of the frames that they rest on.

    A mean of frames is not righter than a frame: they share most of their error. The difference is as wide as if rest
    and peak shared none of theirs: on drawn frames of one group, what they share hardly drops out (last row of the
    table that `calibration/cross_validation/absolute.py` makes).
    """

    def known(from_s: float, to_s: float) -> NDArray[np.float64]:
        inside = half_deg[(course.segment == push.segment) & (course.t_s >= from_s) & (course.t_s <= to_s)]
        return np.asarray(inside[np.isfinite(inside)])

    def wide(level: Level | None, half: float | None) -> Level | None:
        if level is None or half is None:
            return level
        half = max(half, (level.hi95 - level.lo95) / 2)
        return replace(level, absolute=(level.value - half, level.value + half))

    def half_of(halves: NDArray[np.float64]) -> float | None:
        return float(np.median(halves)) if len(halves) else None

    before, after = known(push.start_s - REST_S, push.start_s), known(push.end_s, push.end_s + REST_S)
    rest, peak = half_of(before if len(before) else after), half_of(known(push.start_s, push.end_s))
    both = None if rest is None or peak is None else math.hypot(rest, peak)
    return replace(push, rest=wide(push.rest, rest), peak=wide(push.peak, peak), difference=wide(push.difference, both))
