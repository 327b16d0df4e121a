"""How near, how late and how honest the track is, on courses with known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from calibration.fitting.courses import Degradation, measured_course
from calibration.fitting.filter_noise import evaluate_tracking, track_course, tracking_metrics
from stream.tracking.tracker import AOP_NOISE_DEG, Estimate, EstimateStatus, Track

FIXED_LEVEL = replace(AOP_NOISE_DEG, memory_s=math.inf)


def shown(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


@pytest.mark.slow
def test_error_lag_and_coverage_on_the_recipe() -> None:
    result = evaluate_tracking(range(24))
    assert result.raw_rmse_deg > 5.0
    assert result.rmse_deg <= 2.5
    assert 0.0 < result.lag_s <= 0.25
    assert 0.92 <= result.coverage <= 0.98
    assert result.shown > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 60.0])
def test_coverage_holds_at_any_frame_rate(rate_hz: float) -> None:
    result = evaluate_tracking(range(100, 110), rate_hz=rate_hz)
    assert result.rmse_deg <= 2.5
    assert 0.92 <= result.coverage <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_interval_stays_honest_when_the_noise_is_not_as_assumed(factor: float) -> None:
    degradation = Degradation(white_sd_deg=2.0 * factor, correlated_sd_deg=2.5 * factor)
    assert evaluate_tracking(range(200, 210), degradation=degradation).coverage >= 0.92


def test_interval_stays_honest_when_all_error_is_shared_between_frames() -> None:
    degradation = Degradation(white_sd_deg=0.1)
    assert evaluate_tracking(range(300, 310), degradation=degradation).coverage >= 0.92


def test_views_that_slide_off_the_plane_hardly_harm() -> None:
    sliding = Degradation(edge_deg=(5.0, 20.0))
    result = evaluate_tracking(range(1000, 1012), degradation=sliding)
    assert result.rmse_deg <= 2.7
    assert result.coverage >= 0.95


def test_taking_errors_for_independent_would_not_be_honest() -> None:
    naive = replace(AOP_NOISE_DEG, white_sd=math.hypot(2.0, 2.5), correlated_sd=0.0, memory_s=math.inf)
    assert evaluate_tracking(range(6), noise=naive).coverage < 0.85


def test_first_second_is_honest_too() -> None:
    t_s = np.arange(0.0, 1.0, 1 / 30)
    courses = [measured_course(seed, t_s=t_s) for seed in range(400, 520)]
    tracks = [track_course(one, AOP_NOISE_DEG) for one in courses]
    hits = [
        abs(estimate.value - truth) <= 1.96 * estimate.std
        for one, track in zip(courses, tracks, strict=True)
        for estimate, truth in zip(track, one.truth_deg, strict=True)
        if estimate
    ]
    assert np.mean(hits) >= 0.92
    assert all(track[0] is None for track in tracks)
    assert all(shown(next(filter(None, track))).std > 2.5 for track in tracks)


def test_noise_level_is_learned_and_only_where_asked() -> None:
    one = measured_course(
        7,
        t_s=np.arange(0.0, 40.0, 1 / 30),
        degradation=Degradation(white_sd_deg=4.0, correlated_sd_deg=5.0, outlier_share=0.0),
    )
    learning, fixed = Track(AOP_NOISE_DEG), Track(FIXED_LEVEL)
    for t_s, value in zip(one.t_s.tolist(), one.measured_deg.tolist(), strict=True):
        if not math.isnan(value):
            learning.update(t_s, value)
            fixed.update(t_s, value)
    assert learning.noise_level == pytest.approx(2.0, abs=0.5)
    assert fixed.noise_level == 1.0


def test_metrics_find_a_known_lag_bias_and_coverage() -> None:
    t_s = np.arange(0.0, 30.0, 1 / 30)
    courses = [measured_course(seed, t_s=t_s) for seed in range(3)]
    late = [
        [
            Estimate(value=v, std=1.0, rate_per_s=0.0, age_s=0.0, status=EstimateStatus.MEASURED)
            for v in np.interp(t_s - 0.2, t_s, one.truth_deg).tolist()
        ]
        for one in courses
    ]
    assert tracking_metrics(courses, late).lag_s == pytest.approx(0.2, abs=0.005)
    off = [
        [replace(shown(None if k % 2 else e), value=v + 3.0) if k % 2 == 0 else None for k, (e, v) in pairs]
        for pairs in (
            list(enumerate(zip(track, one.truth_deg.tolist(), strict=True)))
            for track, one in zip(late, courses, strict=True)
        )
    ]
    result = tracking_metrics(courses, off)
    assert result.rmse_deg == pytest.approx(3.0)
    assert result.coverage == 0.0
    assert result.shown == pytest.approx(0.5)
    assert result.lag_s == pytest.approx(0.0, abs=0.005)


# What is shown, and when nothing is


def test_courses_are_what_the_recipe_says() -> None:
    t_s = np.arange(0.0, 60.0, 1 / 30)
    courses = [measured_course(seed, t_s=t_s) for seed in range(20)]
    errors = np.array([one.measured_deg - one.truth_deg for one in courses])
    truths = np.array([one.truth_deg for one in courses])
    assert np.isnan(errors).mean() == pytest.approx(0.15, abs=0.03)
    assert (np.abs(errors[np.isfinite(errors)]) > 12.0).mean() == pytest.approx(0.027, abs=0.01)
    span = np.ptp(truths, axis=1)
    assert (span > 8.0).all()
    assert np.abs(np.diff(truths, axis=1)).max() * 30.0 < 35.0
    assert np.isfinite([one.measured_deg[0] for one in courses]).all()
    pure = Degradation(white_sd_deg=0.0, outlier_share=0.0, missing_share=0.0)
    shared = np.concatenate(
        [(one := measured_course(s, t_s=t_s, degradation=pure)).measured_deg - one.truth_deg for s in range(20)]
    )
    assert shared.std() == pytest.approx(2.5, abs=0.2)
    assert np.corrcoef(shared[:-1], shared[1:])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_courses_are_seeded() -> None:
    t_s = np.arange(0.0, 5.0, 1 / 30)
    np.testing.assert_array_equal(measured_course(1, t_s=t_s).measured_deg, measured_course(1, t_s=t_s).measured_deg)
    assert not np.array_equal(measured_course(1, t_s=t_s).truth_deg, measured_course(2, t_s=t_s).truth_deg)


# All tracks of a stream
