"""The absolute interval of the tracked AoP."""

from __future__ import annotations

import pytest

from stream.tracking.absolute_width import AbsoluteWidth
from stream.tracking.tracker import ABSOLUTE, REPEATABILITY, Estimate, EstimateStatus


def estimate(std: float, *, age_s: float = 0.0) -> Estimate:
    status = EstimateStatus.MEASURED if age_s == 0.0 else EstimateStatus.PREDICTED
    return Estimate(value=120.0, std=std, rate_per_s=0.0, age_s=age_s, status=status)


def half_of(width: AbsoluteWidth, given: Estimate) -> float:
    found = width.around(given)
    assert found is not None
    assert found.absolute_half is not None
    return found.absolute_half


def test_many_frames_do_not_make_it_narrower() -> None:
    width = AbsoluteWidth()
    for frame in range(300):
        width.take(frame / 30, 15.0, weight=0.7)
    assert half_of(width, estimate(1.0)) == pytest.approx(15.0)


def test_it_follows_the_frames_within_about_a_second() -> None:
    width = AbsoluteWidth()
    for frame in range(300):
        width.take(frame / 30, 12.0 if frame < 150 else 24.0, weight=1.0)
        if frame == 150:
            assert half_of(width, estimate(1.0)) < 13.0
    assert half_of(width, estimate(1.0)) > 23.5


def test_it_grows_without_readings_and_never_lies_inside_repeatability() -> None:
    width = AbsoluteWidth()
    width.take(0.0, 10.0, weight=1.0)
    assert half_of(width, estimate(2.0)) == pytest.approx(10.0)
    assert half_of(width, estimate(4.0, age_s=0.5)) == pytest.approx((100 + 1.96**2 * 12) ** 0.5)
    assert half_of(width, estimate(30.0, age_s=0.9)) >= 1.96 * 30.0


def test_where_the_model_does_not_know_it_the_other_interval_is_shown_by_its_name() -> None:
    width = AbsoluteWidth()
    unknown = width.around(estimate(2.0))
    assert unknown is not None
    assert unknown.absolute_lo95 is None
    assert unknown.shown_interval == (unknown.lo95, unknown.hi95, REPEATABILITY)
    width.take(0.0, 10.0, weight=1.0)
    known = width.around(estimate(2.0))
    assert known is not None
    assert known.shown_interval == (110.0, 130.0, ABSOLUTE)
    assert (known.absolute_lo95, known.absolute_hi95) == (110.0, 130.0)
    width.take(1.0, None, weight=1.0)  # another engine goes on, whose model does not know it
    assert width.around(estimate(2.0)) == estimate(2.0)
    assert width.around(None) is None
