"""Pushes and rest on simulated courses with known truth, and on what is no course at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.fitting.courses import Degradation, degrade_course
from calibration.fitting.courses import aop_course as true_course
from stream.labour.course import aop_course
from stream.labour.pushes import MarkedSpan, find_pushes, resting, with_marked
from stream.tracking.smoother import SmoothedCourse, smooth_course
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.labour.pushes import Level, Push

    Series = NDArray[np.float64]


def course_of(t_s: Series, value: Series, *, std: float = 0.05, segment: Series | None = None) -> SmoothedCourse:
    return SmoothedCourse(
        t_s=t_s,
        value=value,
        std=np.full(len(t_s), std),
        accepted=np.isfinite(value),
        segment=np.zeros(len(t_s), np.int64) if segment is None else segment.astype(np.int64),
    )


def level(found: Level | None) -> Level:
    assert found is not None
    return found


def push_at(t_s: Series, start_s: float, *, height: float = 14.0, plateau_s: float = 8.0) -> Series:
    """A rise of 2 s, a plateau, a fall of 2 s."""
    up, down = (np.clip((t_s - at) / 2.0, 0.0, 1.0) for at in (start_s, start_s + 2.0 + plateau_s))
    return height * (up - down)


def test_a_push_has_its_levels_times_and_best_frame() -> None:
    t_s = np.arange(0.0, 60.0, 0.04)
    quality = np.full(len(t_s), 0.4)
    quality[np.searchsorted(t_s, 26.0)] = 0.9
    quality[np.searchsorted(t_s, 50.0)] = 1.0  # the best of all, but at rest
    (push,) = find_pushes(course_of(t_s, 118.0 + push_at(t_s, 20.0)), quality=quality)
    assert level(push.rest).value == pytest.approx(118.0, abs=0.1)
    assert level(push.peak).value == pytest.approx(132.0, abs=0.2)
    assert level(push.difference).value == pytest.approx(14.0, abs=0.3)
    assert push.start_s == pytest.approx(20.0, abs=0.6)
    assert push.end_s == pytest.approx(32.0, abs=0.8)
    assert push.best_row == np.searchsorted(t_s, 26.0)
    assert push.is_whole
    assert push.measured == pytest.approx((push.end_s - push.start_s) / 0.04, abs=2)


def matches(true: list[Push], found: list[Push]) -> list[tuple[Push, Push]]:
    return [
        (one, other)
        for one in true
        for other in found
        if min(one.end_s, other.end_s) - max(one.start_s, other.start_s) > 0.5 * one.duration_s
    ]


def test_pushes_of_badly_measured_courses_are_found_and_their_levels_are_right() -> None:
    t_s = np.arange(0.0, 90.0, 1 / 8)
    peaks, differences, inside = [], [], []
    expected = seen = 0
    for seed in range(3000, 3008):
        rng = np.random.default_rng(seed)
        truth = true_course(rng, t_s)
        true = find_pushes(course_of(t_s, truth, std=0.01))
        found = find_pushes(smooth_course(t_s, degrade_course(rng, t_s, truth, Degradation())))
        pairs = matches(true, found)
        expected, seen = expected + len(true), seen + len(pairs)
        assert len(found) == len(pairs), "a push that is none"
        peaks += [level(other.peak).value - level(one.peak).value for one, other in pairs]
        rises = [(level(one.difference), level(other.difference)) for one, other in pairs]
        differences += [other.value - one.value for one, other in rises]
        inside += [other.lo95 <= one.value <= other.hi95 for one, other in rises]
    assert expected > 25
    assert seen >= 0.95 * expected
    assert np.mean(np.abs(peaks)) <= 1.0
    assert np.mean(np.abs(differences)) <= 1.6  # at 8 Hz; a pause of 3 s holds few independent readings of rest
    assert abs(np.mean(differences)) <= 1.0
    assert np.mean(inside) >= 0.9


def test_a_marked_push_is_a_push_by_its_marks_and_what_was_found_there_stays_beside_it() -> None:
    t_s = np.arange(0.0, 90.0, 0.04)
    course = course_of(t_s, 118.0 + push_at(t_s, 20.0) + push_at(t_s, 60.0))
    first, second = find_pushes(course)
    both = with_marked([first, second], [MarkedSpan(start_s=19.0, end_s=34.0, segment=0, by="A")], course)
    assert [(push.marked is not None, push.found_s) for push in both] == [
        (True, (first.start_s, first.end_s)),
        (False, None),
    ]
    assert (both[0].start_s, both[0].end_s, both[0].is_whole) == (19.0, 34.0, True)
    assert level(both[0].peak).value == pytest.approx(132.0, abs=0.3)
    assert level(both[0].rest).value == pytest.approx(118.0, abs=0.1)
    assert both[0].best_row is not None
    assert 22.0 <= t_s[both[0].best_row] <= 30.0
    assert both[1] == second


def test_a_marked_push_of_a_weak_rise_has_levels_and_one_that_nobody_measured_has_none() -> None:
    t_s = np.arange(0.0, 90.0, 0.04)
    value = 118.0 + push_at(t_s, 20.0, height=3.0)
    value[t_s > 50] = np.nan
    course = course_of(t_s, value)
    spans = [
        MarkedSpan(start_s=20.0, end_s=32.0, segment=0),
        MarkedSpan(start_s=45.0, end_s=55.0, segment=0),
        MarkedSpan(start_s=60.0, end_s=70.0, segment=0),
        MarkedSpan(start_s=60.0, end_s=70.0, segment=7),
    ]
    weak, cut_off, unseen, elsewhere = with_marked([], spans, course)
    assert level(weak.difference).value == pytest.approx(3.0, abs=0.2)
    assert (weak.is_whole, cut_off.is_whole) == (True, False)
    assert level(cut_off.peak).value == pytest.approx(118.0, abs=0.1)
    for push in (unseen, elsewhere):
        assert (push.rest, push.peak, push.difference, push.best_row, push.measured) == (None, None, None, None, 0)
    assert not resting(course, [weak])[(t_s > 21) & (t_s < 31)].any()


@pytest.mark.slow
def test_no_push_is_found_in_an_hour_at_rest() -> None:
    t_s = np.arange(0.0, 3600.0, 1 / 5)
    rng = np.random.default_rng(11)
    truth = 118.0 + 0.2 / 60 * t_s + 0.6 * np.sin(2 * np.pi * 0.3 * t_s)
    truth += 4.0 * np.exp(-0.5 * ((t_s % 150.0 - 37.5) / 15.0) ** 2)  # contractions without pushes
    badly = Degradation(edge_deg=(4.0, 12.0))
    assert find_pushes(smooth_course(t_s, degrade_course(rng, t_s, truth, badly))) == []


def test_a_step_to_another_level_and_a_slow_wave_are_no_pushes() -> None:
    t_s = np.arange(0.0, 120.0, 0.1)
    assert find_pushes(course_of(t_s, np.where(t_s < 60, 110.0, 125.0))) == []
    assert find_pushes(course_of(t_s, 115.0 + 8.0 * np.sin(2 * np.pi * t_s / 100.0))) == []
    assert find_pushes(course_of(t_s, np.where(np.abs(t_s - 60) < 0.4, 150.0, 110.0))) == []  # too short


def test_a_push_that_the_recording_ends_in_is_said_not_to_be_whole() -> None:
    t_s = np.arange(0.0, 27.0, 0.1)
    (push,) = find_pushes(course_of(t_s, 110.0 + push_at(t_s, 20.0)))
    assert not push.is_whole
    assert push.end_s <= t_s[-1]


def test_a_cut_to_another_patient_makes_no_push() -> None:
    t_s = np.arange(0.0, 40.0, 0.1)
    value, segment = np.where((t_s > 15) & (t_s < 25), 140.0, 110.0), np.digitize(t_s, [15.05, 24.95])
    assert find_pushes(course_of(t_s, value, segment=segment)) == []


def test_a_short_gap_is_bridged_and_a_long_one_divides() -> None:
    t_s = np.arange(0.0, 60.0, 0.1)
    value = 110.0 + push_at(t_s, 20.0)
    short, long = value.copy(), value.copy()
    short[(t_s > 24) & (t_s < 27)] = np.nan
    long[(t_s > 24) & (t_s < 31)] = np.nan
    assert [push.is_whole for push in find_pushes(course_of(t_s, short))] == [True]
    assert [push.is_whole for push in find_pushes(course_of(t_s, long))] == [False]


@pytest.mark.parametrize("frames", [0, 1, 2, 50])
def test_what_is_too_short_or_not_measured_has_no_push(frames: int) -> None:
    t_s = np.arange(frames) / 25.0
    assert find_pushes(course_of(t_s, np.full(frames, 120.0))) == []
    assert find_pushes(course_of(t_s, np.full(frames, np.nan))) == []


def test_rest_is_what_lies_outside_of_pushes() -> None:
    t_s = np.arange(0.0, 60.0, 0.1)
    course = course_of(t_s, 118.0 + push_at(t_s, 20.0))
    rest = resting(course, find_pushes(course))
    assert rest[t_s < 19].all()
    assert not rest[(t_s > 21) & (t_s < 31)].any()


def test_the_course_of_a_finished_run_is_smoothed_from_its_readings(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 40, off_plane=range(30, 34))
    course = aop_course(run.table)
    assert len(course) == len(run)
    assert course.accepted.sum() >= 30
    assert not course.accepted[30:34].any()
    raw = run.table.numbers("aop_raw_deg")
    np.testing.assert_allclose(course.value[5:25], raw[5:25], atol=3.0)
    assert find_pushes(course, quality=run.table.numbers("quality")) == []
