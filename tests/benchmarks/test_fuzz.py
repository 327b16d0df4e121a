"""Mutated inputs: a short run of each format, and a supervisor that finds what it is there to find."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.fuzz.formats import FORMATS
from benchmarks.fuzz.supervisor import CRASH, GROWTH, HANG, MEMORY, Limits, supervise
from benchmarks.fuzz.worker import DEFECT, input_of, outcome_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = 25


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_seed_is_sound(name: str) -> None:
    for index, seed in enumerate(FORMATS[name].seeds()):
        assert outcome_of(FORMATS[name], seed) == ("read", ""), f"seed {index}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_inputs_end_in_pictures_or_in_one_line(name: str) -> None:
    for case in range(CASES):
        outcome, details = outcome_of(FORMATS[name], input_of(name, 1, case))
        assert outcome != DEFECT, f"python -m benchmarks.fuzz {name} --seed 1 --case {case}\n{details}"


def test_a_case_is_the_same_every_time() -> None:
    assert input_of("pnm", 3, 7) == input_of("pnm", 3, 7)
    assert len({input_of("pnm", 3, case) for case in range(20)}) > 15


PRELUDE = """
import json, os, sys, time
def tell(**line): print(json.dumps(line), flush=True)
first, end = map(int, sys.argv[1:])
for case in range(first, end):
    tell(begin=case)
    held = 10.0
    outcome = "read"
"""
EPILOGUE = """
    tell(case=case, outcome=outcome, details="", resident_mb=held)
"""


def scripted(body: str) -> Sequence[str]:
    return [sys.executable, "-c", f"{PRELUDE}    {body}{EPILOGUE}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("time.sleep(60 if case == 3 else 0)", HANG),
        ("os.abort() if case == 3 else None", CRASH),
        ("outcome = 'defect' if case == 3 else 'read'", DEFECT),
        ("waste = bytearray(600 << 20) if case == 3 else b''; time.sleep(60 if case == 3 else 0)", MEMORY),
    ],
)
def test_what_a_case_does_is_found_and_the_others_are_run(body: str, kind: str) -> None:
    limits = Limits(seconds=0.5 if kind == HANG else 30, memory_mb=256)
    script = scripted(body)
    result = supervise(lambda first, end: [*script, str(first), str(end)], first=0, count=6, limits=limits)
    assert [(finding.case, finding.kind) for finding in result.findings] == [(3, kind)]
    assert result.outcomes == {"read": 5, kind: 1}


def test_growth_over_many_cases_is_found() -> None:
    script = scripted("held = 10.0 + case")
    result = supervise(lambda first, end: [*script, str(first), str(end)], first=0, count=100, limits=Limits())
    assert [finding.kind for finding in result.findings] == [GROWTH]
    assert result.growth_mb == pytest.approx(80)
