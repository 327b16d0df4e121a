"""The engine of a CPU is chosen by measurement, kept under all it depends on, and never one that is wrong there."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from engines.base import EngineDescription
from engines.onnx.model_file import ModelFile
from engines.selection.choice import ChoiceStore, choose
from engines.selection.cpu import CpuRequest, cpu_candidates
from engines.selection.machine import Machine, this_machine
from engines.selection.measuring import Reference, Variant, Verdict
from tests.conftest import REPOSITORY
from tests.fakes.doubles import SPEC, GreyLevelEngine
from tests.fakes.tiny_model import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine

WITH_VNNI = Machine(processor="test CPU", architecture="x86_64", instructions=("avx2", "avx512_vnni"), cores=2)
WITHOUT = replace(WITH_VNNI, instructions=("avx2",))


class Measured:
    """A trial whose findings are given, by the name of the engine; counts how often it is asked.

    `slowed` are the times that heats take of an engine on a busy machine, where they are not those of its verdict.
    """

    digest = "trial"

    def __init__(self, **found: Verdict) -> None:
        self._found = found
        self.asked: list[str] = []
        self.slowed: dict[str, list[float | Exception]] = {}

    def judge(self, engine: Engine, reference: Reference, *, most_ms: float) -> Verdict:
        verdict = self._found[engine.description.backend]
        self.asked.append(engine.description.backend)
        return verdict if verdict.ms <= most_ms else replace(verdict, is_complete=False, refusal="", aop_p95_deg=None)

    def time_ms(self, engine: Engine) -> float:
        name = engine.description.backend
        if name not in self.slowed:
            return self._found[name].ms
        if isinstance(time := self.slowed[name].pop(0), Exception):
            raise time
        return time


def engine_called(name: str) -> GreyLevelEngine:
    engine = GreyLevelEngine()
    engine.description = EngineDescription(backend=name, precision="fp32", device="CPU")
    return engine


def variant(name: str, *, precision: str = "fp32", error: Exception | None = None) -> Variant:
    def load() -> Engine:
        if error:
            raise error
        return engine_called(name)

    file = ModelFile(replace(SPEC, precision=precision, sha256=name), b"")
    reference = Reference("float", lambda: engine_called("exact"))
    return Variant(name=name, backend=name, file=file, hint=None, load=load, reference=reference)


def right(ms: float) -> Verdict:
    return Verdict(ms=ms, aop_p95_deg=0.2)


def wrong(ms: float) -> Verdict:
    return Verdict(ms=ms, aop_p95_deg=8.6, refusal="AoP moves by 8.6 degrees (95th percentile; 3 at most)")


def taken(variants: list[Variant], trial: Measured, folder: Path) -> list[str]:
    return [entry.variant for entry in choose(variants, trial, WITH_VNNI, ChoiceStore(folder)).usable]


def test_the_fastest_of_those_that_are_right_is_taken(tmp_path: Path) -> None:
    variants = [variant("int8", precision="int8"), variant("bf16"), variant("fp32"), variant("other")]
    trial = Measured(int8=wrong(5), bf16=right(14), fp32=right(12), other=right(90))
    choice = choose(variants, trial, WITH_VNNI, ChoiceStore(tmp_path))
    assert [entry.variant for entry in choice.usable] == ["fp32", "bf16", "other"]
    assert [entry.line for entry in choice.refused] == [
        "int8 fp32 CPU: 5.0 ms, AoP within 8.60 degrees of float32 (p95); refused: AoP moves by 8.6 degrees (95th"
        " percentile; 3 at most)"
    ]
    assert "other fp32 CPU: slower, 90.0 ms" in choice.line


def test_times_that_are_a_tie_leave_the_order(tmp_path: Path) -> None:
    trial = Measured(first=right(10.0), second=right(9.7), third=right(9.2))
    assert taken([variant("first"), variant("second"), variant("third")], trial, tmp_path)[0] == "first"


def test_other_work_on_the_machine_does_not_change_what_is_taken(tmp_path: Path) -> None:
    variants = [variant("fast"), variant("slow")]
    for fast, slow in (
        ([90, 5, 70, 60, 80], [9, 9, 9, 9, 9]),  # the preferred one was unlucky in most heats
        ([50, 60, 55, 70, 65], [90, 99, 98, 120, 110]),  # all of them were
        ([10, 10, 30, 10, 30], [9.5, 9.5, 9.5, 9.5, 9.5]),  # nothing is certain
    ):
        trial = Measured(fast=right(7), slow=right(9))
        trial.slowed = {"fast": list(fast), "slow": list(slow)}
        choice = choose(variants, trial, WITH_VNNI, ChoiceStore(tmp_path), is_anew=True)
        assert [entry.variant for entry in choice.usable] == ["fast", "slow"]
        assert [entry.ms for entry in choice.usable] == [min(fast), min(slow)]


def test_one_that_is_far_behind_runs_no_heat_and_the_preferred_one_always_does(tmp_path: Path) -> None:
    trial = Measured(preferred=right(40), quick=right(10), near=right(15))  # the preferred one was slowed
    trial.slowed = {"preferred": [9] * 5, "quick": [10] * 5, "near": [15] * 5}
    choice = choose([variant("preferred"), variant("quick"), variant("near")], trial, WITH_VNNI, ChoiceStore(tmp_path))
    assert [(entry.variant, entry.ms) for entry in choice.usable] == [("preferred", 9), ("quick", 10), ("near", 15)]
    trial = Measured(preferred=right(10), far=right(15.9), quick=right(7))
    trial.slowed = {"preferred": [10] * 5, "far": [], "quick": [7] * 5}
    choice = choose([variant("preferred"), variant("far"), variant("quick")], trial, WITHOUT, ChoiceStore(tmp_path))
    assert [(entry.variant, entry.ms) for entry in choice.usable] == [("quick", 7), ("preferred", 10), ("far", 15.9)]


def test_one_that_was_faster_in_all_heats_but_one_is_taken(tmp_path: Path) -> None:
    trial = Measured(first=right(5), second=right(7))  # the first call was slow
    trial.slowed = {"first": [10, 10, 10, 10, 10], "second": [9, 40, 9, 9, 9]}
    assert taken([variant("first"), variant("second")], trial, tmp_path) == ["second", "first"]
    assert trial.slowed == {"first": [], "second": []}


def test_an_engine_that_fails_in_a_heat_is_passed_over(tmp_path: Path) -> None:
    trial = Measured(first=right(5), second=right(7))
    trial.slowed = {"first": [5, RuntimeError("out of threads")]}
    choice = choose([variant("first"), variant("second")], trial, WITH_VNNI, ChoiceStore(tmp_path))
    assert [entry.variant for entry in choice.usable] == ["second"]
    assert choice.tried[-1].refusal == "out of threads"


def test_every_engine_is_closed_when_all_is_measured(tmp_path: Path) -> None:
    started: list[GreyLevelEngine] = []

    def load(name: str) -> Engine:
        started.append(engine_called(name))
        return started[-1]

    variants = [replace(variant(name), load=partial(load, name)) for name in ("right", "wrong", "late")]
    trial = Measured(right=right(5), wrong=wrong(6), late=right(90))
    choose(variants, trial, WITH_VNNI, ChoiceStore(tmp_path))
    assert [engine.closed for engine in started] == [True, True, True]


def test_an_int8_engine_that_is_too_slow_to_be_compared_never_runs(tmp_path: Path) -> None:
    trial = Measured(fast=right(5), int8=wrong(20), slow=right(20))
    variants = [variant("fast"), variant("int8", precision="int8"), variant("slow")]
    assert taken(variants, trial, tmp_path) == ["fast", "slow"]


def test_a_runtime_that_cannot_start_is_passed_over(tmp_path: Path) -> None:
    trial = Measured(good=right(5))
    broken = variant("broken", error=OSError("libtbb.so.12: cannot open"))
    choice = choose([broken, variant("good")], trial, WITH_VNNI, ChoiceStore(tmp_path))
    assert [entry.variant for entry in choice.usable] == ["good"]
    assert "broken: libtbb.so.12: cannot open" in choice.line
    assert not choice.refused  # nothing was found wrong with it


def test_what_was_measured_is_kept_until_something_it_depends_on_changes(tmp_path: Path) -> None:
    variants, store = [variant("one"), variant("two")], ChoiceStore(tmp_path)
    trial = Measured(one=right(5), two=right(9))
    first = choose(variants, trial, WITH_VNNI, store)
    again = choose(variants, trial, WITH_VNNI, store)
    assert trial.asked == ["one", "two"]
    assert (first.is_new, again.is_new) == (True, False)
    assert again.tried == first.tried
    choose(variants, trial, WITHOUT, store)
    choose(variants, trial, replace(WITH_VNNI, caps=("OV_CPU_MAX_ISA=AVX2",)), store)
    choose([variant("one")], trial, WITH_VNNI, store)
    choose(variants, trial, WITH_VNNI, store, threads=1)
    assert len(trial.asked) == 2 + 2 + 2 + 1 + 2
    choose(variants, trial, WITH_VNNI, store, is_anew=True)
    assert len(trial.asked) == 11


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "partum.choice/1"}', '{"schema": "partum.choice/9"}'])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    variants, store, trial = [variant("one")], ChoiceStore(tmp_path), Measured(one=right(5))
    choose(variants, trial, WITH_VNNI, store)
    (kept,) = tmp_path.glob("choice-*.json")
    kept.write_text(content)
    assert choose(variants, trial, WITH_VNNI, store).usable
    assert json.loads(kept.read_text())["tried"][0]["variant"] == "one"


def test_on_a_full_disk_the_choice_holds_and_a_line_says_that_it_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engines.selection.choice.os.fsync", full)
    choice = choose([variant("one")], Measured(one=right(5)), WITH_VNNI, ChoiceStore(tmp_path / "cache"))
    assert [entry.variant for entry in choice.usable] == ["one"]
    assert choice.trouble.startswith(f"{tmp_path / 'cache'}: which engine is best cannot be kept (No space left")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_trouble_too(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    choice = choose([variant("one")], Measured(one=right(5)), WITH_VNNI, ChoiceStore(tmp_path / "cache"))
    assert choice.usable
    assert "set PARTUM_CACHE to another folder" in choice.trouble


def test_of_two_that_start_together_one_measures_and_the_other_waits_for_it(tmp_path: Path) -> None:
    class Slow(Measured):
        def judge(self, engine: Engine, reference: Reference, *, most_ms: float) -> Verdict:
            measuring.set()
            assert go_on.wait(20)
            return super().judge(engine, reference, most_ms=most_ms)

    measuring, go_on = threading.Event(), threading.Event()
    trials = Slow(one=right(5)), Measured(one=right(5))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(choose, [variant("one")], trials[0], WITH_VNNI, ChoiceStore(tmp_path))
        assert measuring.wait(20)
        second = pool.submit(choose, [variant("one")], trials[1], WITH_VNNI, ChoiceStore(tmp_path))
        go_on.set()
        assert (first.result(20).is_new, second.result(20).is_new) == (True, False)
    assert trials[1].asked == []


def test_one_that_measures_for_ever_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.selection.choice.PATIENCE_S", 0.05)
    with ChoiceStore(tmp_path).alone():
        assert choose([variant("one")], Measured(one=right(5)), WITH_VNNI, ChoiceStore(tmp_path)).is_new


def test_two_processes_may_share_a_cache(tmp_path: Path) -> None:
    code = (  # without the modules of the tests, which import torch
        "import sys; from pathlib import Path\n"
        "from engines.selection.choice import Choice, ChoiceStore\n"
        "from engines.selection.measuring import Tried\n"
        "store, choice = ChoiceStore(Path(sys.argv[1])), Choice(tried=(Tried(variant='one', ms=5.0),))\n"
        "for _ in range(200):\n"
        "    assert not store.keep({'machine': 'x'}, choice)\n"
        "    assert store.find({'machine': 'x'}) == choice\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize(
    ("changes", "is_exact"),
    [
        ({}, True),
        ({"instructions": ("avx2", "avx_vnni")}, True),
        ({"instructions": ("avx2", "avx512f")}, False),
        ({"instructions": ()}, False),
        ({"caps": ("ONEDNN_MAX_CPU_ISA=AVX512_CORE",)}, False),
        ({"caps": ("OV_CPU_MAX_ISA=avx2",)}, False),
        ({"caps": ("ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI",)}, True),
        ({"architecture": "aarch64", "instructions": ()}, True),
    ],
)
def test_which_cpus_sum_int8_exactly(changes: dict[str, Any], is_exact: bool) -> None:
    assert replace(WITH_VNNI, **changes).sums_int8_exactly is is_exact


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine.processor
    assert machine.cores >= 1


def request_for(path: Path, **changes: Any) -> CpuRequest:
    def start(backend: str, file: ModelFile, hint: str | None) -> Engine:
        return engine_called(f"{backend} {hint}" if hint else backend)

    return replace(
        CpuRequest(files={"openvino": (path,), "torch": (path,)}, shipped=path, start=start, plain=start), **changes
    )


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def test_precisions_are_variants_and_torch_comes_last_unmeasured(float_model: Path, tmp_path: Path) -> None:
    trial = Measured(**{"openvino bf16": right(5), "openvino fp32": right(7)})
    found, notices = cpu_candidates(request_for(float_model), trial, ChoiceStore(tmp_path), machine=WITH_VNNI)
    assert [each.name for each in found] == [
        "openvino bf16 tiny.onnx",
        "openvino fp32 tiny.onnx",
        "torch fp32 tiny.onnx",
    ]
    assert [line for line in notices if "measured once on this machine (test CPU, 2 cores, with VNNI)" in line]
    one = request_for(float_model, precision="fp32", files={"openvino": (float_model,)})
    found, notices = cpu_candidates(one, Measured(), ChoiceStore(tmp_path), machine=WITH_VNNI)
    assert ([each.name for each in found], notices) == (["openvino fp32 tiny.onnx"], [])  # and nothing was measured


def test_without_a_trial_int8_runs_only_where_sums_are_exact(
    float_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = ModelFile(replace(SPEC, precision="int8", sha256="8", made_from="unknown"), b"")
    monkeypatch.setattr("engines.selection.cpu.read_model_file", lambda path: int8)
    for machine, count in ((WITH_VNNI, 2), (WITHOUT, 0)):
        found, notices = cpu_candidates(request_for(float_model), None, ChoiceStore(tmp_path), machine=machine)
        assert len(found) == count
        assert all("may sum INT8 wrongly" in line for line in notices)
    # nor does one whose float32 model is not at hand
    found, notices = cpu_candidates(request_for(float_model), Measured(), ChoiceStore(tmp_path), machine=WITHOUT)
    assert [each.name for each in found] == ["torch int8 tiny.onnx"]
    assert "put that one beside it" in notices[-1]
