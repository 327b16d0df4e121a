"""Fair timing on a shared machine: interleaved blocks and medians."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REPEATS = 7


def median_ms(run: Callable[[], object], *, count: int, clock: Callable[[], int]) -> float:
    """Median over repeats of the mean time of one of `count` calls, in ms."""
    run()
    times = []
    for _ in range(REPEATS):
        start = clock()
        for _ in range(count):
            run()
        times.append((clock() - start) / count / 1e6)
    return round(statistics.median(times), 4)


def interleaved_ms(
    runs: Mapping[str, Callable[[], object]], *, repeats: int = REPEATS, count: int = 10, rest_s: float = 0.3
) -> dict[str, float]:
    """Median wall time of one call of each, in ms; all in turn by blocks, so that drift hits them alike.

    Each block rests and warms up first: threads of the runtime before it go on spinning for a while after its last
    call, and would be measured too.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(rest_s)
            for index in range(3 + count):
                start = time.perf_counter_ns()
                run()
                if index >= 3:
                    times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: round(statistics.median(found), 2) for name, found in times.items()}
