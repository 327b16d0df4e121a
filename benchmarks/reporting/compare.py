"""`partum bench compare`: whether one result is faster than another, or whether that cannot be said.

Both results hold repeats. For each number the ratio of their medians is taken, and again with both sets of repeats
drawn anew with replacement, many times (bootstrap): what 95 of 100 of these ratios span is the interval. Faster or
slower is said only where the interval leaves out 1 by more than a margin; where the repeats of the two were not made in
turn, a machine that drifted could have made the difference, and the margin is wider.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MARGIN, MARGIN_APART = 0.01, 0.05
"""Of repeats made in turn, and of such that were not."""
DRAWS = 4000
LEAST_REPEATS = 3


class Verdict(StrEnum):
    """Whether B is faster than A."""

    FASTER = "faster"
    SLOWER = "slower"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One number of B against that of A.

    Attributes:
        ratio: B's median over A's.
        low, high: 95 % interval of the ratio.
        verdict: whether B is the faster.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


NUMBERS: Mapping[str, tuple[Callable[[Mapping[str, Any]], float | None], bool]] = {
    "frames per second": (lambda repeat: repeat.get("frames_per_second"), True),
    "CPU ms a frame": (lambda repeat: repeat.get("cpu_ms_per_frame"), False),
    "latency p50 ms": (lambda repeat: (repeat.get("latency_ms") or {}).get("p50"), False),
    "latency p99 ms": (lambda repeat: (repeat.get("latency_ms") or {}).get("p99"), False),
}
"""Name: how to take it from a repeat, and whether more is better."""


def compare(a: Mapping[str, Any], b: Mapping[str, Any], *, seed: int = 0) -> tuple[list[Comparison], list[str]]:
    """Every number that both have, and what must be said of the comparison.

    Raises:
        BenchError: a result holds too few repeats, or the two do not measure the same thing.
    """
    first, second = _results(a), _results(b)
    notes = _notes(a, b)
    in_turn = _are_in_turn(first["repeats"], second["repeats"])
    if not in_turn:
        notes.append(f"the repeats were not made in turn: only differences beyond {MARGIN_APART:.0%} are believed")
    margin = MARGIN if in_turn else MARGIN_APART
    found = []
    for name, (take, more_is_better) in NUMBERS.items():
        values = [[take(repeat) for repeat in result["repeats"]] for result in (first, second)]
        one, other = ([float(value) for value in each if value is not None] for each in values)
        if min(len(one), len(other)) >= LEAST_REPEATS:
            found.append(verdict_of(name, one, other, more_is_better=more_is_better, margin=margin, seed=seed))
    if not found:
        raise BenchError(f"no number is in {LEAST_REPEATS} repeats of both; run both with --repeats 5")
    return found, notes


def verdict_of(
    name: str, a: Sequence[float], b: Sequence[float], *, more_is_better: bool, margin: float, seed: int = 0
) -> Comparison:
    """One number: the ratio of medians, its bootstrap interval, and the verdict."""
    rng = np.random.default_rng(seed)
    medians = [np.median(rng.choice(values, (DRAWS, len(values))), axis=1) for values in (np.array(a), np.array(b))]
    low, high = np.percentile(medians[1] / medians[0], [2.5, 97.5])
    verdict = Verdict.UNDECIDED
    if low > 1 + margin:
        verdict = Verdict.FASTER if more_is_better else Verdict.SLOWER
    elif high < 1 - margin:
        verdict = Verdict.SLOWER if more_is_better else Verdict.FASTER
    middle_a, middle_b = statistics.median(a), statistics.median(b)
    return Comparison(
        name=name,
        a=middle_a,
        b=middle_b,
        ratio=round(middle_b / middle_a, 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        verdict=verdict,
    )


def read_result(path: Path) -> dict[str, Any]:
    """A result of `partum bench stream`.

    Raises:
        BenchError: it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _results(content)
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"{path}: is no result of partum bench stream ({error})") from error
    return dict(content)


def _results(content: Mapping[str, Any]) -> Mapping[str, Any]:
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or len(results.get("repeats", [])) < 1:
        raise BenchError("holds no repeats; make it with: partum bench stream --out FILE.json")
    return results


def _notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs besides the speed."""
    notes = []
    for key in ("processor", "cores"):
        one, other = a["machine"].get(key), b["machine"].get(key)
        if one != other:
            notes.append(f"made on different machines: {key} {one} and {other}")
    for key in ("source", "rate_hz", "streams", "frames"):
        one, other = a["results"]["options"].get(key), b["results"]["options"].get(key)
        if one != other:
            notes.append(f"not the same run: {key} {one} and {other}")
    notes += [f"{name} was made on a busy machine" for name, each in (("A", a), ("B", b)) if each.get("busy")]
    return notes


def _are_in_turn(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> bool:
    """Whether repeats of each lie between those of the other, at least twice."""
    stamps = [(float(repeat.get("started_unix_s", 0)), side) for side, each in (("a", a), ("b", b)) for repeat in each]
    changes = sum(one[1] != other[1] for one, other in pairwise(sorted(stamps)))
    return changes >= 3
