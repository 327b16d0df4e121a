"""The fixed-interval smoother: against the exact posterior, on courses with known truth, and on odd input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.fitting.courses import measured_course
from calibration.fitting.filter_noise import track_course
from stream.common.errors import TrackError
from stream.tracking.kalman import transition
from stream.tracking.smoother import smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAUSSIAN = replace(AOP_NOISE_DEG, dof=math.inf, memory_s=math.inf)


def exact_posterior(
    t_s: NDArray[np.float64], z: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of the value by conditioning one big Gaussian on all readings at once."""
    n = len(t_s)
    prior = np.zeros((3 * n, 3 * n))
    prior[:3, :3] = np.diag([1e6, GAUSSIAN.velocity_sd**2, GAUSSIAN.correlated_sd**2])
    for k in range(1, n):
        F, Q = transition(GAUSSIAN, t_s[k] - t_s[k - 1])
        block = F @ prior[3 * k - 3 : 3 * k, : 3 * k]
        prior[3 * k : 3 * k + 3, : 3 * k], prior[: 3 * k, 3 * k : 3 * k + 3] = block, block.T
        prior[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] = F @ prior[3 * k - 3 : 3 * k, 3 * k - 3 : 3 * k] @ F.T + Q
    read = np.isfinite(z)
    rows = np.kron(np.eye(n), [1.0, 0.0, 1.0])[read]
    values = np.kron(np.eye(n), [1.0, 0.0, 0.0])
    middle = float(np.mean(z[read]))
    gain = values @ prior @ rows.T @ np.linalg.inv(rows @ prior @ rows.T + GAUSSIAN.white_sd**2 * np.eye(read.sum()))
    covariance = values @ prior @ values.T - gain @ rows @ prior @ values.T
    return middle + gain @ (z[read] - middle), np.sqrt(np.diag(covariance))


def test_it_is_the_exact_posterior_of_the_filter_model() -> None:
    t_s = np.cumsum([0.0, 0.04, 0.03, 0.2, 0.0, 0.05, 0.4, 0.033, 0.033, 0.1])
    z = np.array([118.0, 121.0, 117.0, np.nan, 125.0, 123.0, 130.0, np.nan, 128.0, 127.0])
    found = smooth_course(t_s, z, refused=np.zeros(len(z), bool), noise=GAUSSIAN)
    value, std = exact_posterior(t_s, z)
    np.testing.assert_allclose(found.value, value, atol=0.01)
    np.testing.assert_allclose(found.std, std, rtol=0.01)


def test_it_errs_less_than_the_filter_and_its_interval_holds() -> None:
    t_s = np.arange(0.0, 60.0, 0.08)
    error, causal, inside = [], [], []
    for seed in range(1000, 1006):
        course = measured_course(seed, t_s=t_s)
        found = smooth_course(t_s, course.measured_deg)
        shown = np.isfinite(found.value)
        assert shown.mean() > 0.97
        error.append((found.value - course.truth_deg)[shown])
        inside.append(np.abs(error[-1]) <= 1.96 * found.std[shown])
        pairs = zip(track_course(course, AOP_NOISE_DEG), course.truth_deg, strict=True)
        causal.append([estimate.value - truth for estimate, truth in pairs if estimate])
    rmse, before = (float(np.sqrt(np.mean(np.concatenate(each) ** 2))) for each in (error, causal))
    assert rmse < 1.9 < before
    assert 0.92 <= np.concatenate(inside).mean() <= 0.99


def test_an_outlier_is_not_accepted_and_moves_nothing() -> None:
    t_s = np.arange(0.0, 3.0, 1 / 30)
    z = np.full(len(t_s), 120.0)
    z[45] = 160.0
    found = smooth_course(t_s, z)
    assert not found.accepted[45]
    assert found.accepted.sum() == len(z) - 1
    np.testing.assert_allclose(found.value, 120.0, atol=0.2)


def test_a_lone_reading_is_not_shown_nor_what_is_far_from_any() -> None:
    assert np.isnan(smooth_course([0.0], [120.0]).value).all()
    t_s = np.arange(0.0, 20.0, 0.1)
    z = np.where((t_s < 5) | (t_s > 15), 120.0, np.nan)
    shown = np.isfinite(smooth_course(t_s, z).value)
    assert not shown[(t_s > 6.1) & (t_s < 13.9)].any()
    assert shown[(t_s < 5) | (t_s > 15.2)].all()


def test_segments_do_not_touch_each_other() -> None:
    t_s = np.r_[np.arange(0.0, 3.0, 0.05), np.arange(0.0, 3.0, 0.05)]  # the clock begins anew
    z = np.r_[np.full(60, 100.0), np.full(60, 150.0)]
    found = smooth_course(t_s, z, segment=np.repeat([4, 7], 60))
    np.testing.assert_allclose(found.value, z, atol=1e-3)


def test_a_dropped_frame_casts_no_doubt_on_its_neighbours_and_a_refused_one_does() -> None:
    t_s = np.arange(0.0, 2.0, 1 / 60)
    z = np.where(np.arange(len(t_s)) % 2, np.nan, 120.0)
    dropped = smooth_course(t_s, z, refused=np.zeros(len(t_s), bool))
    refused = smooth_course(t_s, z)
    assert dropped.std[60] < 2.0
    assert np.isnan(refused.value).all()


@pytest.mark.parametrize(
    ("t_s", "value", "quality"),
    [
        ([0.0, 1.0], [120.0], None),
        ([1.0, 0.0], [120.0, 121.0], None),
        ([0.0, math.nan], [120.0, 121.0], None),
        ([0.0, 1.0], [120.0, math.inf], None),
        ([0.0, 1.0], [120.0, 1e12], None),
        ([0.0, 1.0], [120.0, 121.0], [1.0, 1.5]),
    ],
)
def test_odd_input_is_a_clear_error(t_s: list[float], value: list[float], quality: list[float] | None) -> None:
    with pytest.raises(TrackError):
        smooth_course(t_s, value, quality=quality)


def test_nothing_measured_is_no_course() -> None:
    assert len(smooth_course([], [])) == 0
    found = smooth_course([0.0, 1.0, 2.0], [math.nan] * 3)
    assert np.isnan(found.value).all()
    assert not found.accepted.any()
