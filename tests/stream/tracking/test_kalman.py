"""The Kalman filter of a track: its matrices, its oracle filterpy, and its numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from filterpy.common import van_loan_discretization
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.fitting.courses import Course, measured_course
from calibration.fitting.filter_noise import track_course
from stream.tracking.kalman import (
    Belief,
    FilterNoise,
    initial_belief,
    predict,
    student_weight,
    transition,
    update,
    update_noise_level,
)
from stream.tracking.tracker import AOP_NOISE_DEG, Track
from tests.stream.tracking.test_tracking import shown

GAUSSIAN = replace(AOP_NOISE_DEG, dof=math.inf, memory_s=math.inf)

noises = st.builds(
    FilterNoise,
    white_sd=st.floats(0.01, 20.0),
    correlated_sd=st.floats(0.0, 20.0),
    velocity_sd=st.floats(0.0, 50.0),
    correlation_s=st.floats(0.05, 2.0),
    velocity_decay_s=st.floats(0.1, 5.0),
    dof=st.sampled_from([3.0, 4.0, 30.0, math.inf]),
    memory_s=st.sampled_from([1.0, 5.0, math.inf]),
)


# The filter's mathematics


@pytest.mark.parametrize("dt_s", [1e-3, 1 / 60, 1 / 30, 0.08, 0.5, 2.0])
def test_transition_is_the_exact_discretisation(dt_s: float) -> None:
    noise = AOP_NOISE_DEG
    T, tc = noise.velocity_decay_s, noise.correlation_s
    drift = np.array([[0.0, 1.0, 0.0], [0.0, -1.0 / T, 0.0], [0.0, 0.0, -1.0 / tc]])
    feed = np.diag([0.0, noise.velocity_sd * math.sqrt(2.0 / T), noise.correlated_sd * math.sqrt(2.0 / tc)])
    expected_f, expected_q = van_loan_discretization(drift, feed, dt=dt_s)
    F, Q = transition(noise, dt_s)
    np.testing.assert_allclose(F, expected_f, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(Q, expected_q, rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(noise=noises, dt_s=st.floats(0.0, 3.0), share=st.floats(0.0, 1.0))
def test_two_predictions_equal_one_over_both_times(noise: FilterNoise, dt_s: float, share: float) -> None:
    start = Belief(np.array([120.0, 8.0, -1.5]), initial_belief(0.0, noise=noise).P)
    once = predict(start, dt_s, noise=noise)
    twice = predict(predict(start, share * dt_s, noise=noise), dt_s - share * dt_s, noise=noise)
    np.testing.assert_allclose(twice.x, once.x, rtol=1e-9)
    np.testing.assert_allclose(twice.P, once.P, rtol=1e-9, atol=1e-9 * once.P.max())


def test_worked_values_of_the_docstrings() -> None:
    F, Q = transition(AOP_NOISE_DEG, 0.7)
    assert F @ np.array([0.0, 10.0, 0.0]) == pytest.approx([4.425, 3.679, 0.0], abs=5e-4)
    F, Q = transition(AOP_NOISE_DEG, 0.0)
    np.testing.assert_array_equal(F, np.eye(3))
    np.testing.assert_array_equal(Q, np.zeros((3, 3)))
    assert math.sqrt(initial_belief(120.0, noise=AOP_NOISE_DEG).P[0, 0]) == pytest.approx(6.4, abs=0.05)
    half_way = update(Belief(np.zeros(3), np.diag([4.0, 0.0, 0.0])), 10.0, noise=GAUSSIAN).belief
    assert half_way.x[0] == pytest.approx(5.0)
    for y, weight in ((3.0, 0.985), (20.0, 0.053)):
        found = student_weight(y, predicted_variance=4.0, white_variance=4.0, dof=4.0)
        assert found == pytest.approx(weight, abs=5e-4)
    assert student_weight(20.0, predicted_variance=4.0, white_variance=4.0, dof=math.inf) == 1.0
    assert update_noise_level(1.0, 0.0, 0.1, noise=AOP_NOISE_DEG) == pytest.approx(0.983, abs=5e-4)


def test_gaussian_track_equals_filterpy_at_uneven_times() -> None:
    rng = np.random.default_rng(11)
    times_s = np.cumsum(rng.uniform(0.005, 0.4, 200))
    values = 120.0 + np.cumsum(rng.normal(0.0, 1.0, 200))
    qualities = rng.uniform(0.1, 1.0, 200)
    first = initial_belief(values[0], noise=GAUSSIAN)
    oracle = KalmanFilter(dim_x=3, dim_z=1)
    oracle.x, oracle.P, oracle.H = first.x.copy(), first.P.copy(), np.array([[1.0, 0.0, 1.0]])
    track = Track(GAUSSIAN)
    track.update(times_s[0], values[0])
    for before_s, t_s, value, quality in zip(times_s[:-1], times_s[1:], values[1:], qualities[1:], strict=True):
        F, Q = transition(GAUSSIAN, t_s - before_s)
        oracle.predict(F=F, Q=Q)
        oracle.update(value, R=GAUSSIAN.white_sd**2 / quality)
        estimate = shown(track.update(t_s, value, quality=quality))
        assert estimate.value == pytest.approx(float(oracle.x[0]), abs=1e-9)
        assert estimate.rate_per_s == pytest.approx(float(oracle.x[1]), abs=1e-9)
        assert estimate.std == pytest.approx(math.sqrt(oracle.P[0, 0]), abs=1e-9)


def test_without_process_noise_the_track_is_the_least_squares_line() -> None:
    # A velocity that practically never decays is never fed either: Q vanishes.
    noise = replace(GAUSSIAN, correlated_sd=0.0, velocity_sd=5.0, velocity_decay_s=1e7)
    rng = np.random.default_rng(3)
    t_s = np.sort(rng.uniform(0.0, 2.0, 40))
    z = 100.0 + 4.0 * t_s + rng.normal(0.0, noise.white_sd, 40)
    track = Track(noise)
    for time_s, value in zip(t_s.tolist(), z.tolist(), strict=True):
        estimate = track.update(time_s, value)
    last = shown(estimate)
    # unknowns: value at the last time, slope
    variances = np.full(40, noise.white_sd**2)
    variances[0] *= 4.0
    design = np.column_stack([np.ones(40), t_s - t_s[-1]])
    # `begin` counts the first measurement a quarter and ties the slope loosely to 0
    information = design.T @ (design / variances[:, None]) + np.diag([0.0, 1.0 / noise.velocity_sd**2])
    line = np.linalg.solve(information, design.T @ (z / variances))
    assert last.value == pytest.approx(line[0], abs=1e-4)
    assert last.rate_per_s == pytest.approx(line[1], abs=1e-4)
    assert last.std == pytest.approx(math.sqrt(np.linalg.inv(information)[0, 0]), abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    noise=noises,
    steps=st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(-400.0, 400.0), st.floats(0.05, 1.0)), max_size=30),
)
def test_covariance_stays_symmetric_and_positive(noise: FilterNoise, steps: list[tuple[float, float, float]]) -> None:
    belief = initial_belief(0.0, noise=noise)
    for dt_s, z, quality in steps:
        belief = update(predict(belief, dt_s, noise=noise), z, noise=noise, quality=quality).belief
        assert (belief.P == belief.P.T).all()
        eigenvalues = np.linalg.eigvalsh(belief.P)
        assert eigenvalues[0] >= -1e-9 * eigenvalues[-1]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 100.0))
def test_a_finer_unit_changes_numbers_only(seed: int, factor: float) -> None:
    one = measured_course(seed, t_s=np.arange(0.0, 3.0, 1 / 30))
    finer = Course(one.t_s, factor * one.truth_deg, factor * one.measured_deg)
    for a, b in zip(track_course(one, AOP_NOISE_DEG), track_course(finer, AOP_NOISE_DEG.scaled(factor)), strict=True):
        assert (a is None) == (b is None)
        if a and b:
            assert (b.value, b.std) == pytest.approx((factor * a.value, factor * a.std), rel=1e-9)
            assert (b.age_s, b.status) == (a.age_s, a.status)


@pytest.mark.parametrize(
    "wrong", [{"white_sd": 0.0}, {"velocity_decay_s": -1.0}, {"correlated_sd": -0.1}, {"dof": math.nan}]
)
def test_noise_without_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        replace(AOP_NOISE_DEG, **wrong)
