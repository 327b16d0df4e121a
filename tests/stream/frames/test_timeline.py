"""Stream time from timestamps that are missing, repeated or run backwards."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.frames.timeline import Timeline


def placed(stamps: list[int | None], *, time_base: Fraction, rate_hz: int) -> list[tuple[int, int]]:
    """(segment, pts) of each frame."""
    timeline = Timeline(time_base=time_base, period_s=Fraction(1, rate_hz))
    return [(timeline.segment, pts) for pts in map(timeline.place, stamps)]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 1, 2], [(0, 0), (0, 1), (0, 2)]),
        ([50, 51, None, 53, 53, 54, 10, 11], [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7)]),
        ([None, None, 90, 91], [(0, 0), (0, 1), (0, 2), (0, 3)]),
        ([0, 1, 500], [(0, 0), (0, 1), (0, 500)]),
        ([30, 31, 6, 32], [(0, 0), (0, 1), (0, 2), (0, 3)]),  # back by exactly a second is no jump
        ([30, 31, 5, 6], [(0, 0), (0, 1), (1, 2), (1, 3)]),
        ([-7, -6], [(0, 0), (0, 1)]),
    ],
)
def test_worked_values(stamps: list[int | None], expected: list[tuple[int, int]]) -> None:
    assert placed(stamps, time_base=Fraction(1, 25), rate_hz=25) == expected


def test_true_time_holds_again_after_a_repeat() -> None:
    found = placed([0, 40, 40, 80, 120], time_base=Fraction(1, 1000), rate_hz=25)
    assert [pts for _, pts in found] == [0, 40, 41, 80, 120]


def test_a_period_shorter_than_a_tick_is_one_tick() -> None:
    assert placed([None, None, None], time_base=Fraction(1), rate_hz=25) == [(0, 0), (0, 1), (0, 2)]


@settings(deadline=None, max_examples=200)
@given(
    stamps=st.lists(st.none() | st.integers(-5000, 5000), max_size=40),
    ticks_per_s=st.sampled_from([1, 25, 1000]),
    rate_hz=st.integers(1, 60),
)
def test_time_only_moves_forward(stamps: list[int | None], ticks_per_s: int, rate_hz: int) -> None:
    found = placed(stamps, time_base=Fraction(1, ticks_per_s), rate_hz=rate_hz)
    assert [pts for _, pts in found] == sorted({pts for _, pts in found})
    assert [segment for segment, _ in found] == sorted(segment for segment, _ in found)
    assert not found or found[0] == (0, 0)


@settings(deadline=None, max_examples=100)
@given(steps=st.lists(st.integers(1, 500), max_size=30), start=st.integers(-10_000, 10_000))
def test_timestamps_in_order_are_kept_as_they_are(steps: list[int], start: int) -> None:
    stamps = [start]
    for step in steps:
        stamps.append(stamps[-1] + step)
    found = placed(list(stamps), time_base=Fraction(1, 1000), rate_hz=25)
    assert found == [(0, stamp - start) for stamp in stamps]
