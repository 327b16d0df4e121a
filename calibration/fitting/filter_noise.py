"""Fits the filter's noise: error, lag and interval coverage on courses with known truth.

`python -m calibration.fitting.filter_noise` prints the tables from which the defaults of `stream.tracking.tracker` were
chosen.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calibration.fitting.courses import Course, Degradation, measured_course
from stream.tracking.kalman import FilterNoise
from stream.tracking.tracker import AOP_NOISE_DEG, Estimate, Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LAGS_S = np.arange(-0.2, 0.8005, 0.01)
"""The lags tried in the cross-correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingMetrics:
    """Pooled over all frames of all courses at which an estimate was shown.

    Attributes:
        rmse_deg: of the estimate against the truth of the same moment.
        raw_rmse_deg: of the measurements themselves.
        lag_s: the shift of the truth that correlates best with the estimates, positive where they come late.
        coverage: share of frames whose truth lies in the 95 % interval.
        width_deg: mean width of that interval.
        shown: share of all frames at which an estimate was shown.
    """

    rmse_deg: float
    raw_rmse_deg: float
    lag_s: float
    coverage: float
    width_deg: float
    shown: float


def track_course(course: Course, noise: FilterNoise) -> list[Estimate | None]:
    """Returns the estimates of a track that sees the course frame by frame."""
    track = Track(noise)
    return [
        track.refuse(t_s) if math.isnan(value) else track.update(t_s, value)
        for t_s, value in zip(course.t_s.tolist(), course.measured_deg.tolist(), strict=True)
    ]


def evaluate_tracking(
    seeds: Iterable[int],
    *,
    rate_hz: float = 30.0,
    duration_s: float = 60.0,
    noise: FilterNoise = AOP_NOISE_DEG,
    degradation: Degradation | None = None,
) -> TrackingMetrics:
    """Tracks one course for each seed and returns how well that went."""
    t_s = np.arange(0.0, duration_s, 1.0 / rate_hz)
    courses = [measured_course(seed, t_s=t_s, degradation=degradation) for seed in seeds]
    return tracking_metrics(courses, [track_course(one, noise) for one in courses])


def tracking_metrics(courses: Sequence[Course], tracks: Sequence[Sequence[Estimate | None]]) -> TrackingMetrics:
    """Compares estimates with the courses they follow, frame by frame."""
    table = np.array([[(e.value, e.std) if e else (np.nan, np.nan) for e in track] for track in tracks])
    value, std = table[..., 0], table[..., 1]
    shown = np.isfinite(value)
    truth = np.array([one.truth_deg for one in courses])
    raw = np.array([one.measured_deg for one in courses]) - truth
    error = (value - truth)[shown]
    return TrackingMetrics(
        rmse_deg=float(np.sqrt(np.mean(error**2))),
        raw_rmse_deg=float(np.sqrt(np.nanmean(raw**2))),
        lag_s=_lag_s(courses, value),
        coverage=float(np.mean(np.abs(error) <= 1.96 * std[shown])),
        width_deg=float(np.mean(2.0 * 1.96 * std[shown])),
        shown=float(np.mean(shown)),
    )


def _lag_s(courses: Sequence[Course], values: NDArray[np.float64]) -> float:
    """The lag of largest cross-correlation, each course with its own mean taken off, products pooled."""
    products = np.zeros((3, len(LAGS_S)))
    for one, value in zip(courses, values, strict=True):
        # where the shifted truth would lie outside the course, it is not known
        inside = (one.t_s >= one.t_s[0] + LAGS_S[-1]) & (one.t_s <= one.t_s[-1] + LAGS_S[0])
        kept = np.isfinite(value) & inside
        estimate = value[kept] - value[kept].mean()
        for k, lag_s in enumerate(LAGS_S):
            truth = np.interp(one.t_s[kept] - lag_s, one.t_s, one.truth_deg)
            truth -= truth.mean()
            products[:, k] += truth @ estimate, truth @ truth, estimate @ estimate
    return float(LAGS_S[np.argmax(products[0] / np.sqrt(products[1] * products[2]))])


def _row(name: str, m: TrackingMetrics) -> str:
    return (
        f"{name:<34}{m.rmse_deg:7.2f}{m.raw_rmse_deg:8.2f}{1e3 * m.lag_s:8.0f}"
        f"{m.coverage:10.3f}{m.width_deg:8.1f}{m.shown:8.3f}\n"
    )


def main() -> None:
    """Prints error, lag and coverage over frame rates, noise and the filter's own settings."""
    seeds = range(1000, 1024)
    nominal = Degradation()
    rows = [(f"{rate_hz:g} Hz", rate_hz, AOP_NOISE_DEG, nominal) for rate_hz in (12.5, 25.0, 30.0, 60.0)]
    for factor in (0.5, 2.0, 3.0):
        louder = replace(
            nominal,
            white_sd_deg=factor * nominal.white_sd_deg,
            correlated_sd_deg=factor * nominal.correlated_sd_deg,
        )
        rows.append((f"30 Hz, noise x {factor:g}", 30.0, AOP_NOISE_DEG, louder))
        fixed = replace(AOP_NOISE_DEG, memory_s=math.inf)
        rows.append((f"30 Hz, noise x {factor:g}, not learned", 30.0, fixed, louder))
    for velocity_sd in (5.0, 6.0, 8.0, 9.0):
        other = replace(AOP_NOISE_DEG, velocity_sd=velocity_sd)
        rows.append((f"30 Hz, velocity_sd {velocity_sd:g}", 30.0, other, nominal))
    # the plain filter, its R found by hand for 30 Hz
    independent = replace(AOP_NOISE_DEG, white_sd=math.sqrt(60.0), correlated_sd=0.0, memory_s=math.inf)
    rows += [
        (f"{rate_hz:g} Hz, no shared error, R = 60", rate_hz, independent, nominal) for rate_hz in (12.5, 30.0, 60.0)
    ]
    sys.stdout.write(f"{'':<34}{'RMSE':>7}{'raw':>8}{'lag ms':>8}{'coverage':>10}{'width':>8}{'shown':>8}\n")
    for name, rate_hz, noise, degradation in rows:
        scores = evaluate_tracking(seeds, rate_hz=rate_hz, noise=noise, degradation=degradation)
        sys.stdout.write(_row(name, scores))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
