"""Waiting times from the sender's stamps: queues are seen, and stamps that are no clock's do no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sources.live.sender_clock import LOOKED_AT, SenderClock

if TYPE_CHECKING:
    from collections.abc import Sequence

MS = 1_000_000


def waits_ms(stamps: Sequence[float], arrivals: Sequence[float], *, waited_ms: float = 0) -> list[float]:
    clock = SenderClock()
    return [
        (round(a * MS) - clock.captured_ns(round(s * MS), round(a * MS), reader_waited_ns=round(waited_ms * MS))) / MS
        for s, a in zip(stamps, arrivals, strict=True)
    ]


def test_a_queue_that_grows_to_eleven_seconds_shows_as_eleven_seconds() -> None:
    stamps = [40 * n for n in range(600)]
    arrivals = [5000 + 40 * n if n < 50 else 5000 + 2000 + (n - 50) * 60 for n in range(600)]  # 60 ms for each 40
    waits = waits_ms(stamps, arrivals)
    assert max(waits[:50]) == pytest.approx(0, abs=1)
    assert waits[-1] == pytest.approx(549 * 20, rel=0.01)
    assert waits == sorted(waits)


def test_a_stall_and_what_is_caught_up_afterwards() -> None:
    stamps = [40 * n for n in range(100)]
    arrivals = [40 * n if n < 50 else max(40 * n, 5000 + (n - 50)) for n in range(100)]
    waits = waits_ms(stamps, arrivals)
    assert waits[50] == pytest.approx(3000, abs=2)
    assert waits[-1] == pytest.approx(5049 - 40 * 99, abs=5)


@pytest.mark.parametrize("drift", [-100e-6, 100e-6])
def test_clocks_that_drift_do_not_look_like_a_queue(drift: float) -> None:
    stamps = [40.0 * n for n in range(50_000)]
    waits = waits_ms(stamps, [stamp * (1 + drift) + 3 * (number % 7) for number, stamp in enumerate(stamps)])
    assert max(waits) < 25


@pytest.mark.parametrize("step_ms", [-20_000, -300, 300, 20_000, 3_600_000, -(2**33) / 90])
def test_a_step_of_the_stamps_changes_nothing(step_ms: float) -> None:
    stamps = [40 * n + (step_ms if n >= 60 else 0) for n in range(120)]
    waits = waits_ms(stamps, [40 * n + 2 * (n % 3) for n in range(120)])
    assert max(waits) < 50


def test_a_step_back_leaves_a_queue_as_it_was() -> None:
    arrivals = [40 * n + (3000 if n >= 50 else 0) for n in range(120)]
    waits = waits_ms([40 * n - (7000 if n >= 80 else 0) for n in range(120)], arrivals)
    assert waits[-1] == pytest.approx(3000, abs=50)


@pytest.mark.parametrize(
    "stamps",
    [[5.0] * 200, [4_294_967_295_000.0 * (n % 2) for n in range(200)], [float(n * 7919 % 1000) for n in range(200)]],
    ids=["constant", "to and fro", "jumping"],
)
def test_stamps_that_are_no_clock_s_are_left_alone_and_it_is_said(stamps: list[float]) -> None:
    clock = SenderClock()
    for number, stamp in enumerate(stamps):
        captured = clock.captured_ns(round(stamp * MS), 40 * number * MS)
        if number > 20:
            assert captured == 40 * number * MS
    assert "ages count from arrival" in clock.note


def test_a_pace_of_another_clock_is_left_alone_where_nothing_waits_and_kept_where_it_may_be_a_queue() -> None:
    stamps, arrivals = [40.0 * n for n in range(4000)], [80.0 * n for n in range(4000)]
    assert waits_ms(stamps, arrivals, waited_ms=70)[-1] == 0
    assert waits_ms(stamps, arrivals, waited_ms=5)[-1] == pytest.approx(160_000, rel=0.01)


def test_no_stamp_is_no_statement() -> None:
    assert SenderClock().captured_ns(None, 123) == 123


@given(st.lists(st.tuples(st.integers(-(2**63), 2**64), st.integers(0, 10**10)), max_size=3 * LOOKED_AT))
def test_whatever_the_stamps_a_picture_is_never_captured_after_it_came(pairs: list[tuple[int, int]]) -> None:
    clock, now = SenderClock(), 0
    for stamp, step in pairs:
        now += step
        assert clock.captured_ns(stamp, now) <= now
