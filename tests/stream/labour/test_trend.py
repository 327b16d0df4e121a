"""The trend of AoP at rest by the hour."""

from __future__ import annotations

import numpy as np
import pytest

from stream.labour.trend import PLACEMENT_SD_DEG, RestCourse, fit_trend, rest_course
from stream.tracking.smoother import SmoothedCourse


def rest_of(rng: np.random.Generator, *, start_h: float, minutes: float, at_deg: float, slope: float) -> RestCourse:
    t_s = 3600.0 * start_h + np.arange(0.0, 60.0 * minutes, 30.0)
    return RestCourse(t_s=t_s, value=at_deg + slope * (t_s / 3600.0 - start_h) + rng.normal(0.0, 1.0, len(t_s)))


def test_the_interval_of_one_recording_holds_the_slope() -> None:
    inside = 0
    for seed in range(200):
        trend = fit_trend([rest_of(np.random.default_rng(seed), start_h=0.0, minutes=30, at_deg=118.0, slope=6.0)])
        assert trend is not None
        inside += trend.lo95 <= 6.0 <= trend.hi95
    assert 0.92 <= inside / 200 <= 0.995


@pytest.mark.parametrize("count", [2, 3, 5])
def test_over_a_day_the_placing_of_the_probe_counts(count: int) -> None:
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        day = [
            rest_of(
                rng,
                start_h=2.0 * k,
                minutes=5,
                at_deg=110.0 + 8.0 * k + PLACEMENT_SD_DEG * rng.normal(),
                slope=0.0,
            )
            for k in range(count)
        ]
        trend = fit_trend(day)
        assert trend is not None
        assert trend.recordings == count
        inside += trend.lo95 <= 4.0 <= trend.hi95
    assert 0.92 <= inside / 200 <= 1.0


def test_blocks_leave_out_what_was_not_measured() -> None:
    t_s = np.arange(0.0, 300.0, 0.5)
    value = np.where(t_s < 90, np.nan, 120.0)
    course = SmoothedCourse(
        t_s=t_s, value=value, std=np.ones(len(t_s)), accepted=t_s >= 90, segment=np.zeros(len(t_s), np.int64)
    )
    rest = rest_course(course, [], start_s=1000.0)
    assert len(rest.t_s) == 7
    assert rest.t_s[0] == pytest.approx(1104.75)


def test_too_little_has_no_trend() -> None:
    none = RestCourse(t_s=np.empty(0), value=np.empty(0))
    short = RestCourse(t_s=np.array([10.0, 40.0]), value=np.array([118.0, 119.0]))
    assert fit_trend([]) is None
    assert fit_trend([none]) is None
    assert fit_trend([short]) is None
    assert fit_trend([none, short]) is None
    assert fit_trend([short, short]) is None  # at one time: no slope
