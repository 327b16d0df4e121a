"""The stopwatch itself: what is slower is said to be slower, in turn, and warming up is not counted."""

from __future__ import annotations

import time
from itertools import count

from benchmarks.rig.timing import interleaved_ms, median_ms


def test_the_median_of_a_clock_that_is_known() -> None:
    ticks = count(step=5_000_000)  # the clock is read twice a repeat, 5 ms apart
    assert median_ms(lambda: None, count=10, clock=lambda: next(ticks)) == 0.5


def test_runs_take_turns_by_blocks_and_the_slower_one_is_told() -> None:
    called: list[str] = []

    def run(name: str, seconds: float) -> None:
        called.append(name)
        time.sleep(seconds)

    times = interleaved_ms(
        {"quick": lambda: run("quick", 0.0), "slow": lambda: run("slow", 0.005)}, repeats=2, count=4, rest_s=0.0
    )
    assert called == (["quick"] * 7 + ["slow"] * 7) * 2
    assert times["slow"] >= 5.0 > times["quick"]


def test_the_first_slow_calls_are_no_part_of_it() -> None:
    calls = count()
    times = interleaved_ms({"cold": lambda: time.sleep(0.05 * (next(calls) < 3))}, repeats=1, count=3, rest_s=0.0)
    assert times["cold"] < 50.0
