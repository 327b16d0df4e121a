"""The GPU check runs through on a GPU made of numpy: no minute of a real one is to be spent on a slip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.experiments import gpu
from calibration.deployment import build as building
from calibration.deployment import tensorrt_build as tensorrt_builds
from engines.registry import DEFAULT_MODEL
from engines.tensorrt import build as tensorrt_build
from engines.tensorrt import engine as tensorrt_engine
from engines.tensorrt import runtime as tensorrt_module
from engines.tensorrt.build import BuiltEngine
from engines.tensorrt.cache import EngineCache
from tests.calibration.deployment.test_build_command import small_frames
from tests.fakes.fake_gpu import FakeCuda, fake_plan, fake_tensorrt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    cuda = FakeCuda()
    monkeypatch.setattr(building, "TRIAL_FRAMES", 30)
    monkeypatch.setattr(building, "demonstration_frames", small_frames)
    monkeypatch.setattr(tensorrt_builds, "CALLS", 3)
    monkeypatch.setattr(tensorrt_builds, "WARM_UP_CALLS", 1)
    monkeypatch.setattr(tensorrt_module, "load_tensorrt", lambda: fake_tensorrt(cuda))
    monkeypatch.setattr(tensorrt_engine, "load_tensorrt", lambda: fake_tensorrt(cuda))
    monkeypatch.setattr(tensorrt_engine, "CudaRuntime", lambda: cuda)
    monkeypatch.setattr("engines.tensorrt.cuda.CudaRuntime", lambda: cuda)
    monkeypatch.setattr(
        tensorrt_build,
        "build_engine",
        lambda content, _, options, **__: BuiltEngine(fake_plan(content, options.batch), b"timings"),
    )
    monkeypatch.setattr(gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(gpu, "CALLS", 3)
    monkeypatch.setattr(gpu, "SECONDS", 0.01)
    return cuda


@pytest.mark.slow
def test_a_precision_is_built_tried_and_measured_with_and_without_graphs(fake: FakeCuda, tmp_path: Path) -> None:
    found = gpu.check_precision("fp16", DEFAULT_MODEL, [], EngineCache(tmp_path))
    assert found["acceptance"]["accepted"]
    for way in ("cuda_graph", "no_cuda_graph"):
        measured: Mapping[str, Any] = found[way]
        assert measured["latency_ms"]["p50"] > 0
        assert set(measured["frames_per_second"]) == {"1", "2"}
    assert fake.launches > 0
    assert fake.leaks == {}


def test_what_fails_is_a_result_with_its_reason(fake: FakeCuda, tmp_path: Path) -> None:
    found = gpu.check_precision("int8", DEFAULT_MODEL, [], EngineCache(tmp_path))
    assert "partum quantize" in found["failed"]
