"""The GPU check runs through without a GPU: no minute of a real one is to be spent on a slip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from benchmarks.errors import BenchError
from benchmarks.experiments.gpu import __main__ as runner
from benchmarks.experiments.gpu import engines as measuring
from benchmarks.experiments.gpu.device_code import SIZES, TorchContext, check_device_code, prove
from benchmarks.experiments.gpu.steps import STEPS, Report, Step
from benchmarks.experiments.gpu.targets import share_of_arithmetic, summary, targets
from engines.errors import EngineUnavailable
from engines.network.serving import LabelledNetwork
from engines.runtime import variant_spec
from engines.tensorrt.engine import TensorRtEngine, engine_key
from tests.fakes.fake_gpu import GPU, FakeCuda, fake_plan, fake_tensorrt
from tests.fakes.tiny_model import SPEC, tiny_model, tiny_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.onnx.model_file import ModelFile

ROOT = Path(__file__).resolve().parents[2]
MISSING = ("pytest", "av", "openvino", "tensorrt", "tensorrt_rtx", "rich", "hypothesis", "natsort", "pydicom", "PIL")
BLOCKER = f"""
import importlib.abc
import sys


class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocker())
"""
LABELLED = variant_spec(SPEC, heads_only=False, labels=True)


def run_script(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """`gpu_check.sh` on a machine that has torch, ONNX Runtime and OpenCV, and no GPU; and the file it wrote."""
    (folder / "sitecustomize.py").write_text(BLOCKER)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(folder),
        "OUT": str(folder / "out"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    script = ["bash", str(ROOT / "benchmarks" / "gpu_check.sh"), *words]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=300, check=False)
    (file,) = (folder / "out").glob("*.json")
    return done, json.loads(file.read_text())


@pytest.mark.slow
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done, found = run_script(tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "GPU: none" in done.stdout
    assert found["results"] == {step.name: {"left_out": "no GPU"} for step in STEPS}
    assert found["machine"]["python"].startswith("3.")
    assert all(row["reached"] is None for row in found["targets"])


@pytest.mark.slow
def test_a_rehearsal_goes_through_all_that_is_measured(tmp_path: Path) -> None:
    done, found = run_script(tmp_path, "--rehearse", "--only", "onnxruntime", "decode", "tensorrt_fp16")
    assert done.returncode == 0, done.stdout + done.stderr
    measured = found["results"]["onnxruntime"]
    assert measured["acceptance"]["accepted"]
    assert measured["labels"]["pixels_unlike_the_host"] < 1e-3
    for name in ("latency_ms", "frame_to_labels_ms", "frames_per_second", "overlapped", "streams_fps"):
        assert measured[name]
    assert found["results"]["tensorrt_fp16"]["left_out"].startswith("not installed: tensorrt or tensorrt_rtx")
    assert found["results"]["decode"] == {"left_out": "not installed: av"}
    assert found["rehearsal"] is True
    assert "no number below is of a GPU" in done.stdout


KEEP = "import sys, json, os, time; open(sys.argv[1], 'w').write(json.dumps({'first': 1}));"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("os.abort()", "ended by SIGABRT"),
        ("print('broken'); sys.exit(3)", "exit code 3"),
    ],
)
def test_a_step_that_ends_badly_keeps_what_it_had_found(code: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runner, "_command", lambda step, file, rehearsal: [sys.executable, "-c", KEEP + code, str(file)]
    )
    found = runner._in_process(Step(name="x", target="x:x"), 100.0, rehearsal=False)
    assert found["first"] == 1
    assert found["failed"] == why


def test_a_step_that_hangs_is_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    assert runner._wait(child, 0.3) == "not done after 0 s"
    assert child.returncode == -signal.SIGKILL


def test_a_failed_step_is_a_result_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(report: Report, *words: str) -> None:
        report.put(half=0.5)
        raise ValueError("two\nlines")

    monkeypatch.setattr(measuring, "measure_backend", fail)
    assert runner.main(["--step", "onnxruntime", "--file", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == {"half": 0.5, "failed": "ValueError: two lines"}


def test_a_runtime_without_its_provider_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(report: Report, *words: str) -> None:
        raise EngineUnavailable("this build has no CUDAExecutionProvider")

    monkeypatch.setattr(measuring, "measure_backend", refuse)
    runner.main(["--step", "onnxruntime", "--file", str(tmp_path / "a.json")])
    assert json.loads((tmp_path / "a.json").read_text()) == {"left_out": "this build has no CUDAExecutionProvider"}


def a_result(*, accepted: bool = True, frame_ms: float = 0.4) -> dict[str, Any]:
    return {
        "acceptance": {"accepted": accepted, "aop_delta_deg": {"robust": {"p95": 0.2}}},
        "frame_to_labels_ms": {"p50": frame_ms},
        "streams_fps": {"1": 900.0, "16": 5100.0},
        "overlapped": {"frames_per_second": 20_000.0, "share_of_engine_alone": 0.87},
    }


def test_targets_are_compared_with_the_best_accepted_engine() -> None:
    rows = targets({"torch": a_result(), "tensorrt_fp16": a_result(accepted=False, frame_ms=0.1), "peaks": {}})
    assert [(row["reached"], row["by"], row["met"]) for row in rows] == [
        (0.4, "torch", True),
        (5100.0, "torch", True),
        (0.87, "torch", False),
    ]
    text = summary({"machine": {"gpu": "X"}, "rehearsal": False, "results": {"torch": a_result()}, "targets": rows})
    assert "MISSED   share of the engine alone by device events: at least 0.9, reached 0.87 (torch)" in text
    assert "torch            accepted, AoP p95 0.20 deg, frame to labels 0.400 ms" in text


def test_a_gpu_is_set_beside_its_own_peak() -> None:
    step = {"precision": "fp16", "operations_per_frame": 2_000_000_000, "device_ms": {"1": 0.2, "64": 0.64}}
    peaks = {"operations_per_s": {"float16": 8e14, "float32": 5e13}}
    assert share_of_arithmetic({"torch": step, "peaks": peaks}) == {"torch": 0.25}
    assert share_of_arithmetic({"torch": step}) == {}


class OnFakeGpu(TorchContext):
    """A torch network on memory made of numpy, in line on its streams."""

    def __init__(self, cuda: FakeCuda, *words: Any) -> None:
        super().__init__(*words)
        self._cuda = cuda

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.refuses:
            return False
        self._cuda.add(partial(super().execute_async_v3, stream_handle), stream_handle, memory=self._addresses.values())
        return True


class Forgets(OnFakeGpu):
    """Answers as if every image were black, which no check of buffers alone would see."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._network = lambda images: network_answers(torch.zeros_like(images))
        return super().execute_async_v3(stream_handle)


def network_answers(images: torch.Tensor) -> Sequence[torch.Tensor]:
    with torch.inference_mode():
        answers: Sequence[torch.Tensor] = LabelledNetwork(tiny_network(), SPEC)(images)
    return answers


def check_on_fake_gpu(report: Report, kind: type[OnFakeGpu], cuda: FakeCuda) -> None:
    def tensor_at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
        size = int(np.prod(shape)) * dtype.itemsize
        return torch.from_numpy(cuda.memory[address][:size].view(dtype).reshape(shape))

    def alone(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        return [answer.numpy() for answer in network_answers(torch.from_numpy(images))]

    check_device_code(
        report,
        cuda,
        LABELLED,
        lambda: kind(cuda, network_answers, LABELLED.output_names, tensor_at, lambda handle: nullcontext()),
        alone,
        free_bytes=lambda: (1 << 30) - sum(len(array) for array in cuda.memory.values()),
    )


def test_the_device_code_is_proved_on_a_gpu_made_of_numpy(tmp_path: Path) -> None:
    cuda = FakeCuda()
    check_on_fake_gpu(Report(tmp_path / "a.json"), OnFakeGpu, cuda)
    found = json.loads((tmp_path / "a.json").read_text())
    for name in ("call_by_call", "cuda_graphs", "another_thread", "errors"):
        assert found[name] == "ok"
    assert found["bytes_not_given_back"] == 0
    assert set(found["device_ms"]) == set(map(str, SIZES))
    assert cuda.launches > 0
    assert cuda.leaks == {}


def test_device_code_that_answers_something_else_fails(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"labels of 1 images|is off by"):
        check_on_fake_gpu(Report(tmp_path / "a.json"), Forgets, FakeCuda())


def test_a_tensorrt_engine_is_measured_beside_what_it_reaches_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.onnx.model_file import ModelFile as File
    from engines.tensorrt.cache import EngineCache

    model: ModelFile = File(SPEC, tiny_model())
    cuda = FakeCuda()
    tensorrt, cache = fake_tensorrt(cuda), EngineCache(tmp_path / "engines")
    key = engine_key(model, tensorrt, GPU, batch=(1, 2, 4))
    cache.store(key, "tiny", fake_plan(model.content, key.batch))
    monkeypatch.setattr(measuring, "BATCHES", (1, 4))
    monkeypatch.setattr(measuring, "STREAMS", (1, 2))
    monkeypatch.setattr(measuring, "SECONDS", 0.02)
    report = Report(tmp_path / "a.json")
    stored = cache.find(key, "tiny")
    with TensorRtEngine(model, stored=stored, labels=True, tensorrt=tensorrt, cuda=cuda) as engine:
        measuring._put_rates(report, engine)
        measuring._put_streams(report, engine)
    found = json.loads((tmp_path / "a.json").read_text())
    assert set(found["device_ms"]) == {"1", "4"}
    assert found["overlapped"]["share_of_engine_alone"] == pytest.approx(
        found["overlapped"]["frames_per_second"] / found["overlapped"]["engine_alone_fps"], rel=1e-3
    )
    assert set(found["streams_fps"]) == {"1", "2"}
    assert cuda.leaks == {}


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_the_device_code_is_proved_on_this_gpu(tmp_path: Path) -> None:
    prove(Report(tmp_path / "a.json"))
