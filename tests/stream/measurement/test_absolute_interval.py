"""The absolute interval of a frame's AoP: its width by expected error and AoP, and which facts make none."""

from __future__ import annotations

import math

import pytest

from stream.measurement.absolute_interval import AbsoluteInterval

FIT = AbsoluteInterval(half_deg=15.0, usual_expected_deg=5.0, power=0.5, growth=0.2)


@pytest.mark.parametrize(
    ("aop_deg", "expected_deg", "half_deg"),
    [
        (110.0, 5.0, 15.0),
        (110.0, 20.0, 30.0),
        (150.0, 20.0, 36.0),
        (179.0, 20.0, 36.0),  # no wider beyond 150
        (90.0, 5.0, 13.5),
        (60.0, 5.0, 13.5),
        (110.0, 5000.0, 45.0),  # no frame makes it wider than three times
        (110.0, 0.005, 5.0),
    ],
)
def test_width(aop_deg: float, expected_deg: float, half_deg: float) -> None:
    assert FIT.half_width_deg(aop_deg, expected_deg) == pytest.approx(half_deg)


GOOD = {"half_deg": 15.0, "usual_expected_deg": 5.0, "power": 0.5, "growth": 0.2}


@pytest.mark.parametrize(
    "facts",
    [
        {},
        GOOD | {"width": 3.0},
        GOOD | {"half_deg": 0.0},
        GOOD | {"half_deg": math.nan},
        GOOD | {"half_deg": "wide"},
        GOOD | {"half_deg": 200.0},
        GOOD | {"usual_expected_deg": -1.0},
        GOOD | {"power": 2.0},
        GOOD | {"growth": -0.1},
    ],
)
def test_facts_that_make_no_interval_are_refused(facts: dict[str, float]) -> None:
    assert AbsoluteInterval.of(GOOD) == FIT
    with pytest.raises((TypeError, ValueError)):
        AbsoluteInterval.of(facts)
