"""Simulated AoP courses with exact truth, and degraded measurements of them; seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How measurements differ from the truth, in degrees and seconds.

    Attributes:
        white_sd_deg: error that is new in every frame.
        correlated_sd_deg: error that neighbouring frames share (first-order autoregressive).
        correlation_s: time in which that error's correlation falls to 1/e; 0.316 s is 0.9 a frame at 30 Hz.
        outlier_share: share of frames that are off by another `outlier_deg`, up or down.
        outlier_deg: least and largest size of that.
        missing_share: share of frames without a measurement, in bursts.
        burst_s: least and largest length of a burst.
        edge_deg: least and largest error, up or down, of the measurement next to a burst, where the view slides off the
            plane or back onto it; 0 for none.
        edge_s: time from the burst in which that error falls to 1/e.
    """

    white_sd_deg: float = 2.0
    correlated_sd_deg: float = 2.5
    correlation_s: float = 0.316
    outlier_share: float = 0.03
    outlier_deg: tuple[float, float] = (12.0, 40.0)
    missing_share: float = 0.15
    burst_s: tuple[float, float] = (0.1, 1.2)
    edge_deg: tuple[float, float] = (0.0, 0.0)
    edge_s: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Truth and measurements at the same times; all (N,). `measured_deg` is NaN where a frame has none."""

    t_s: Series
    truth_deg: Series
    measured_deg: Series


def aop_course(rng: np.random.Generator, t_s: Series) -> Series:
    """Returns the true AoP (N,) in degrees at times `t_s` (N,), increasing from 0, of a contraction.

    Convention: rest at 118 +- 16 degrees (80 to 165), a drift of up to 0.2 degrees a minute, breathing of 0.6
    degrees at 0.2 to 0.4 Hz, a bell of 2 to 5 degrees over the whole time, and pushes of 8 to 20 degrees: a
    logistic rise whose 10 to 90 % takes 1 to 2.5 s, a plateau of 6 to 10 s, a recoil of 70 to 100 % as fast
    as the rise, a pause of 3 to 9 s. Nothing is clipped after the pushes are added.
    """
    end_s = float(t_s[-1])
    course = np.full_like(t_s, np.clip(rng.normal(118.0, 16.0), 80.0, 165.0))
    course += rng.uniform(-0.2, 0.2) / 60.0 * t_s
    course += 0.6 * np.sin(2.0 * np.pi * (rng.uniform(0.2, 0.4) * t_s + rng.uniform()))
    course += rng.uniform(2.0, 5.0) * np.sin(np.pi * t_s / end_s) ** 2
    start_s = rng.uniform(2.0, 6.0)
    while start_s < end_s:
        rise_s = rng.uniform(1.0, 2.5)
        recoil_at_s = start_s + 2.0 * rise_s + rng.uniform(6.0, 10.0)
        push = _logistic(t_s, middle_s=start_s + rise_s, rise_s=rise_s)
        recoil = _logistic(t_s, middle_s=recoil_at_s, rise_s=rise_s)
        course += rng.uniform(8.0, 20.0) * (push - rng.uniform(0.7, 1.0) * recoil)
        start_s = recoil_at_s + rise_s + rng.uniform(3.0, 9.0)
    return course


def degrade_course(rng: np.random.Generator, t_s: Series, truth_deg: Series, degradation: Degradation) -> Series:
    """Returns measurements (N,) of the truth (N,) at `t_s` (N,) seconds, NaN where there are none."""
    size = len(t_s)
    measured = truth_deg + degradation.white_sd_deg * rng.normal(size=size)
    measured += degradation.correlated_sd_deg * _autoregressive(rng, t_s, degradation.correlation_s)
    sizes_deg = rng.uniform(*degradation.outlier_deg, size=size) * rng.choice((-1.0, 1.0), size=size)
    measured += np.where(rng.random(size) < degradation.outlier_share, sizes_deg, 0.0)
    missing = _bursts(rng, t_s, degradation)
    if any(degradation.edge_deg):
        measured += _edges(rng, t_s, missing, degradation)
    measured[missing] = np.nan
    return measured


def measured_course(seed: int, *, t_s: Series, degradation: Degradation | None = None) -> Course:
    """Returns the course of that seed at times `t_s` (N,), increasing from 0, measured badly."""
    rng = np.random.default_rng(seed)
    truth_deg = aop_course(rng, t_s)
    return Course(t_s, truth_deg, degrade_course(rng, t_s, truth_deg, degradation or Degradation()))


def _logistic(t_s: Series, *, middle_s: float, rise_s: float) -> Series:
    # 10 to 90 % takes 2 ln 9 units of the standard logistic
    argument = np.clip((t_s - middle_s) * 2.0 * np.log(9.0) / rise_s, -50.0, 50.0)
    return np.asarray(1.0 / (1.0 + np.exp(-argument)))


def _autoregressive(rng: np.random.Generator, t_s: Series, correlation_s: float) -> Series:
    """First-order autoregressive noise of variance 1 at uneven times."""
    noise = rng.normal(size=len(t_s))
    kept = np.exp(-np.diff(t_s) / correlation_s)
    for k, rho in enumerate(kept, start=1):
        noise[k] = rho * noise[k - 1] + np.sqrt(1.0 - rho * rho) * noise[k]
    return noise


def _bursts(rng: np.random.Generator, t_s: Series, degradation: Degradation) -> NDArray[np.bool_]:
    """Marks bursts that together take the missing share of the time, on average; none at the very start."""
    missing = np.zeros(len(t_s), dtype=bool)
    share = degradation.missing_share
    if share == 0.0:
        return missing
    between_s = float(np.mean(degradation.burst_s)) * (1.0 - share) / share
    start_s = rng.exponential(between_s)
    while start_s < t_s[-1]:
        end_s = start_s + rng.uniform(*degradation.burst_s)
        missing |= (t_s >= start_s) & (t_s < end_s)
        start_s = end_s + rng.exponential(between_s)
    missing[0] = False
    return missing


def _edges(rng: np.random.Generator, t_s: Series, missing: NDArray[np.bool_], degradation: Degradation) -> Series:
    """The error of views that slide off the plane before each burst, and back onto it after it."""
    error = np.zeros(len(t_s))
    steps = np.diff(missing.astype(np.int8))
    for k in np.flatnonzero(steps):
        is_off = steps[k] > 0
        from_s = t_s[k] - t_s if is_off else t_s - t_s[k + 1]
        size_deg = rng.uniform(*degradation.edge_deg) * rng.choice((-1.0, 1.0))
        error += np.where(from_s >= 0.0, size_deg * np.exp(-np.maximum(from_s, 0.0) / degradation.edge_s), 0.0)
    return error
