from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.fitting.courses import measured_course
from calibration.fitting.filter_noise import track_course
from stream.common.errors import TrackError
from stream.tracking.tracker import AOP_NOISE_DEG, COAST_S, FORGET_S, SHOW_S, Estimate, EstimateStatus, Track

FIXED_LEVEL = replace(AOP_NOISE_DEG, memory_s=math.inf)


def shown(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


def steady_track(value: float = 120.0, *, seconds: float = 3.0, rate_hz: float = 30.0) -> tuple[Track, float]:
    """A track that saw small seeded noise about `value`, and the time of its last measurement."""
    track, rng = Track(AOP_NOISE_DEG), np.random.default_rng(5)
    count = round(seconds * rate_hz)
    for k in range(count):
        track.update(k / rate_hz, value + rng.normal())
    return track, (count - 1) / rate_hz


def test_low_quality_moves_less_and_knows_less() -> None:
    estimates = []
    for quality in (1.0, 0.3, 0.0):
        track, t_s = steady_track()
        estimates.append(shown(track.update(t_s + 1 / 30, 125.0, quality=quality)))
    clear, poor, poorest = estimates
    assert clear.value > poor.value > poorest.value
    assert clear.std < poor.std < poorest.std


def test_two_measurements_of_one_moment_tell_more_than_one() -> None:
    track, t_s = steady_track()
    once = shown(track.predict(t_s))
    twice = shown(track.update(t_s, once.value))
    assert twice.std < once.std
    assert twice.status is EstimateStatus.MEASURED


# The recipe: correlated noise, outliers, gaps


def test_gaps_are_predicted_then_held_then_blank() -> None:
    track, end_s = steady_track()
    for k in range(30):  # a push, so that there is a velocity to predict with
        end_s += 1 / 30
        track.update(end_s, 120.0 + k / 3)
    measured = shown(track.predict(end_s))
    assert (measured.status, measured.age_s) == (EstimateStatus.MEASURED, 0.0)
    at = {gap: track.predict(end_s + gap) for gap in (0.25, COAST_S - 1e-6, COAST_S + 1e-6, 0.8, SHOW_S - 1e-6)}
    a, b, c, d, e = (shown(at[gap]) for gap in sorted(at))
    assert [one.status for one in (a, b)] == [EstimateStatus.PREDICTED] * 2
    assert [one.status for one in (c, d, e)] == [EstimateStatus.HELD] * 3
    assert measured.value < a.value < b.value
    assert c.value == d.value == e.value == pytest.approx(b.value, abs=1e-4)
    assert [one.rate_per_s for one in (c, d, e)] == [0.0] * 3
    assert measured.std < a.std < b.std < c.std < d.std < e.std
    assert d.age_s == pytest.approx(0.8)
    assert track.predict(end_s + SHOW_S + 1e-6) is None
    assert track.predict(end_s + 100.0) is None


def test_up_to_three_seconds_a_measurement_continues_the_track_then_it_starts_anew() -> None:
    track, end_s = steady_track()
    continued = shown(track.update(end_s + FORGET_S - 1e-6, 130.0))
    assert 120.0 < continued.value < 130.0
    track, end_s = steady_track()
    assert track.update(end_s + FORGET_S + 1e-6, 130.0) is None
    anew = shown(track.update(end_s + FORGET_S + 1 / 30, 130.0))
    assert anew.value == 130.0
    assert anew.rate_per_s == 0.0
    assert anew.std > continued.std


def test_a_track_that_saw_nothing_shows_nothing() -> None:
    assert Track(AOP_NOISE_DEG).predict(0.0) is None


@pytest.mark.parametrize("size", [12.0, 25.0, 40.0, 1000.0])
def test_one_outlier_hardly_moves_the_value(size: float) -> None:
    track, t_s = steady_track()
    before = shown(track.predict(t_s))
    after = shown(track.update(t_s + 1 / 30, before.value + size))
    assert abs(after.value - before.value) < 0.5
    assert after.status is EstimateStatus.PREDICTED
    assert after.age_s == pytest.approx(1 / 30)


@pytest.mark.parametrize("rate_hz", [12.5, 30.0, 60.0])
def test_a_short_run_of_outliers_is_ridden_out(rate_hz: float) -> None:
    track, t_s = steady_track(rate_hz=rate_hz)
    for _ in range(math.floor(0.3 * rate_hz)):
        t_s += 1 / rate_hz
        assert shown(track.update(t_s, 160.0)).value == pytest.approx(120.0, abs=4.0)
    assert shown(track.update(t_s + 1 / rate_hz, 120.0)).value == pytest.approx(120.0, abs=3.0)


@pytest.mark.parametrize("rate_hz", [10.0, 12.5, 30.0, 60.0])
def test_a_real_change_of_scene_is_taken_over_in_time(rate_hz: float) -> None:
    track, end_s = steady_track(rate_hz=rate_hz)
    for k in itertools.count(1):
        estimate = shown(track.update(end_s + k / rate_hz, 160.0))
        if estimate.status is EstimateStatus.MEASURED:
            break
    assert 0.4 < k / rate_hz <= 0.4 + 2.01 / rate_hz
    assert estimate.value == pytest.approx(160.0)
    assert 2.0 < estimate.std < 4.0  # that of the readings which agree


def test_a_track_that_began_on_an_outlier_is_outvoted_at_once() -> None:
    track = Track(AOP_NOISE_DEG)
    for k, value in enumerate((155.0, 120.0, 120.0)):
        estimate = track.update(k / 30, value)
        assert (estimate is None) == (k < 2)  # never on one reading alone
    assert shown(estimate).value == pytest.approx(120.0, abs=1.0)
    assert shown(estimate).status is EstimateStatus.MEASURED


def test_an_outlier_after_a_gap_is_outvoted_at_once() -> None:
    track, t_s = steady_track()
    track.update(t_s + 0.9, 145.0)
    for k in (1, 2, 3):
        estimate = shown(track.update(t_s + 0.9 + k / 30, 120.0))
    assert estimate.value == pytest.approx(120.0, abs=3.0)
    assert estimate.status is EstimateStatus.MEASURED


def test_an_early_outlier_does_not_outvote_the_start() -> None:
    track = Track(AOP_NOISE_DEG)
    for k, value in enumerate((120.0, 155.0, 120.0)):
        estimate = track.update(k / 30, value)
    assert shown(estimate).value == pytest.approx(120.0, abs=1.0)


def test_outliers_around_a_gap_are_no_change_of_scene() -> None:
    track, t_s = steady_track()
    for gap_s in (0.05, 0.6, 0.65):
        estimate = track.update(t_s + gap_s, 200.0)
    assert shown(estimate).status is EstimateStatus.HELD
    assert shown(estimate).value < 140.0


# What a reading is worth: beside a refusal, and by its quality


SLIDING = (118.0, 119.0, 119.5, 120.0, 123.0, 131.0)
"""The last readings before a probe slides off the plane, at 25 Hz."""


@pytest.mark.parametrize("rate_hz", [25.0, 30.0, 60.0])
def test_what_is_held_is_not_the_outlier_beside_the_refusal(rate_hz: float) -> None:
    track, t_s = steady_track(118.0, rate_hz=rate_hz)
    step_s = 1 / rate_hz
    for value in SLIDING:
        t_s += step_s
        shown_last = shown(track.update(t_s, value))
    held = [shown(track.refuse(t_s + k * step_s)) for k in range(1, math.floor(0.8 * rate_hz) + 1)]
    assert {estimate.status for estimate in held[-3:]} == {EstimateStatus.HELD}
    assert all(118.0 < estimate.value < 121.5 for estimate in held)
    assert all(estimate.lo95 < 118.0 and estimate.hi95 > 121.0 for estimate in held)
    assert held[0].std > shown_last.std


def test_doubt_falls_on_the_nearest_readings_only_and_once() -> None:
    track, t_s = steady_track()
    before = shown(track.predict(t_s + 0.1))
    once = shown(track.refuse(t_s + 0.1))
    for k in range(1, 4):
        track.refuse(t_s + 0.1 + k / 30)
    assert shown(track.refuse(t_s + 0.2)) == shown(track.predict(t_s + 0.2))
    assert once.std > before.std
    assert once.std < 1.6 * before.std
    assert once.value == pytest.approx(before.value, abs=1.0)


def test_the_first_reading_after_a_blank_is_not_shown_until_others_agree() -> None:
    track, t_s = steady_track(132.0)
    for k in range(1, 61):
        track.refuse(t_s + k / 30)
    t_s += 2.0
    estimates = [track.update(t_s + k / 30, value) for k, value in enumerate((122.9, *[131.0] * 9))]
    assert estimates[0] is None
    first = next(estimate for estimate in estimates if estimate)
    assert first.value == pytest.approx(131.0, abs=1.5)
    assert sum(estimate is None for estimate in estimates) <= 5


def test_the_first_reading_after_a_short_gap_hardly_moves_what_is_shown() -> None:
    track, t_s = steady_track()
    for k in range(1, 16):
        estimate = shown(track.refuse(t_s + k / 30))
    beside = shown(track.update(t_s + 16 / 30, 130.0))
    assert beside.value == pytest.approx(estimate.value, abs=3.0)
    assert beside.lo95 < 120.0 < beside.hi95


def test_one_reading_between_refusals_does_not_prolong_what_is_held() -> None:
    track, t_s = steady_track()
    estimates = {}
    for k in range(1, 60):
        at_s = t_s + k / 30
        estimates[k] = track.update(at_s, 118.0) if k == 24 else track.refuse(at_s)
    last = max(k for k, estimate in estimates.items() if estimate)
    assert 25 <= last <= 30  # a second after the good ones, not after the lone one


def test_what_flickers_between_measured_and_refused_is_shown_when_enough_agrees() -> None:
    track, rng = Track(AOP_NOISE_DEG), np.random.default_rng(2)
    estimates = [track.update(k / 25, 120.0 + rng.normal()) if k % 2 == 0 else track.refuse(k / 25) for k in range(100)]
    first = next(k for k, estimate in enumerate(estimates) if estimate)
    assert 0.5 < first / 25 < 2.0
    assert all(shown(estimate).value == pytest.approx(120.0, abs=2.0) for estimate in estimates[first:])


def test_one_reading_alone_is_never_shown_nor_held() -> None:
    track = Track(AOP_NOISE_DEG)
    assert track.update(0.0, 131.0) is None
    assert all(track.refuse(k / 30) is None for k in range(1, 40))
    assert track.update(1.4, 131.0) is None
    assert track.refuse(1.5) is None


@pytest.mark.parametrize("quality", [0.0, 0.05])
def test_readings_of_no_worth_do_not_begin_a_track(quality: float) -> None:
    track = Track(AOP_NOISE_DEG)
    for k in range(15):
        assert track.update(k / 30, 155.0, quality=quality) is None
    for k in (15, 16):
        estimate = track.update(k / 30, 120.0)
    assert shown(estimate).value == pytest.approx(120.0, abs=1.5)


@pytest.mark.parametrize("quality", [0.0, 0.05])
def test_readings_of_no_worth_neither_move_a_track_nor_outvote_it(quality: float) -> None:
    track, t_s = steady_track()
    for k in range(1, 19):
        estimate = track.update(t_s + k / 30, 155.0, quality=quality)
        assert shown(estimate).value == pytest.approx(120.0, abs=1.0)
    assert shown(track.update(t_s + 19 / 30, 120.0)).status is EstimateStatus.MEASURED


def test_what_bad_readings_hold_is_outvoted_by_two_good_ones() -> None:
    track, t_s = steady_track()
    for k in range(1, 61):  # two seconds in which only bad readings agree with the track
        track.update(t_s + k / 30, 120.0, quality=0.05)
    t_s += 2.0
    for k in (1, 2):
        estimate = track.update(t_s + k / 30, 155.0)
    assert shown(estimate).value == pytest.approx(155.0, abs=1.0)


def test_outliers_that_contradict_each_other_are_no_new_scene() -> None:
    track, t_s = steady_track()
    for k in range(1, 25):
        estimate = shown(track.update(t_s + k / 30, 160.0 if k % 2 else 80.0))
        assert estimate.value == pytest.approx(120.0, abs=3.0)


def test_a_refusal_takes_time_as_a_measurement_does() -> None:
    track, t_s = steady_track()
    track.refuse(t_s + 1.0)
    with pytest.raises(TrackError, match="time goes back"):
        track.update(t_s + 0.5, 120.0)


# Robustness of the class itself


@settings(deadline=None, max_examples=80)
@given(
    steps=st.lists(
        st.tuples(
            st.one_of(st.floats(0.0, 1.5), st.floats(0.0, 1e12), st.just(1e-300)),
            st.floats(-1e9, 1e9),
            st.floats(0.0, 1.0),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_whatever_comes_the_estimate_is_finite(steps: list[tuple[float, float, float, bool]]) -> None:
    track, t_s = Track(AOP_NOISE_DEG), 0.0
    for dt_s, value, quality, measured in steps:
        t_s += dt_s
        estimate = track.update(t_s, value, quality=quality) if measured else track.predict(t_s)
        if estimate:
            assert math.isfinite(estimate.value)
            assert math.isfinite(estimate.rate_per_s)
            assert 0.0 < estimate.std < math.inf
            assert estimate.lo95 <= estimate.value <= estimate.hi95
            assert 0.0 <= estimate.age_s <= SHOW_S


@pytest.mark.parametrize(
    ("t_s", "value", "quality", "told"),
    [
        (2.0, 120.0, 1.0, "time goes back from 2.96"),
        (math.nan, 120.0, 1.0, "nan"),
        (math.inf, 120.0, 1.0, "inf"),
        (4.0, math.nan, 1.0, "nan"),
        (4.0, -math.inf, 1.0, "inf"),
        (4.0, 1e10, 1.0, "1e+09"),
        (4.0, 120.0, 1.5, "1.5"),
        (4.0, 120.0, math.nan, "nan"),
    ],
)
def test_bad_input_is_one_typed_error_and_leaves_the_track_alone(
    t_s: float, value: float, quality: float, told: str
) -> None:
    track, end_s = steady_track()
    before = track.predict(end_s)
    with pytest.raises(TrackError) as caught:
        track.update(t_s, value, quality=quality)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert track.predict(end_s) == before


def test_asking_for_a_past_estimate_is_an_error() -> None:
    track, end_s = steady_track()
    with pytest.raises(TrackError, match="time goes back"):
        track.predict(end_s - 0.1)


def test_runs_are_equal_to_the_last_digit_and_predictions_leave_no_trace() -> None:
    one = measured_course(21, t_s=np.arange(0.0, 10.0, 1 / 30))
    curious = Track(AOP_NOISE_DEG)
    estimates = []
    for t_s, value in zip(one.t_s.tolist(), one.measured_deg.tolist(), strict=True):
        curious.predict(t_s)
        estimates.append(curious.refuse(t_s) if math.isnan(value) else curious.update(t_s, value))
        curious.predict(t_s + 0.7)
    assert track_course(one, AOP_NOISE_DEG) == track_course(one, AOP_NOISE_DEG) == estimates
