"""What an engine says it runs in is what it runs in, and a build in another precision than asked for is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from calibration.deployment import build as building
from calibration.deployment.build import BuildRequest, run_build
from engines.backends import openvino as openvino_engine
from engines.backends.onnxruntime import OnnxRuntimeEngine
from engines.backends.openvino import OpenVinoEngine
from engines.backends.torch import TorchEngine
from engines.errors import EngineUnavailable, ModelMismatch
from engines.onnx.model_file import read_model_file
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, load_runtime
from stream.common.errors import OptionError
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def on_an_older_cpu(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process whose OpenVINO takes the CPU for one without bfloat16."""
    limited = {**os.environ, "OV_CPU_MAX_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=limited, capture_output=True, text=True, check=False, cwd=REPOSITORY)


@pytest.mark.slow
def test_bf16_on_a_cpu_without_it_is_refused_and_not_compared_in_fp32() -> None:
    words = ["partum", "build", "--backend", "openvino", "--precision", "bf16"]
    found = on_an_older_cpu(f"import sys, partum\nsys.argv = {words}\npartum.main()")
    assert found.returncode == 2, found.stderr
    assert "no bfloat16; take precision fp32" in found.stderr
    assert "accepted" not in found.stderr


@pytest.mark.slow
def test_a_peak_in_bf16_is_not_measured_in_fp32() -> None:
    found = on_an_older_cpu(
        "from engines.onnx.cost import matrix_product\n"
        "from engines.backends.openvino import compiled_graph\n"
        "for precision in ('fp32', 'int8', 'bf16'):\n"
        "    compiled_graph(matrix_product(64, int8=precision == 'int8'), precision)()"
    )
    assert "bf16" in found.stderr.splitlines()[-1]
    assert "EngineUnavailable" in found.stderr


@pytest.mark.slow
def test_what_auto_takes_on_a_cpu_without_bf16_says_what_it_runs() -> None:
    found = on_an_older_cpu(
        "import logging\n"
        "from engines.registry import DEFAULT_MODEL, load_engine\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "for model in (None, DEFAULT_MODEL):\n"
        "    with load_engine(model) as engine: print(engine.name, engine.description.precision)"
    )
    # Nothing has compared the INT8 model with its float32 model there, and sums of 8-bit products may saturate.
    assert found.stdout.splitlines() == ["openvino fp32 CPU fp32"] * 2, found.stderr
    assert "may sum INT8 wrongly" in found.stderr
    assert "auto takes openvino fp32 CPU" in found.stderr


def test_a_hint_that_is_passed_over_in_silence_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "_HINTS", {"fp32": "f32", "bf16": "f32"})
    with pytest.raises(EngineUnavailable, match=r"bf16 was asked for, but it runs fp32|no bfloat16"):
        OpenVinoEngine(read_model_file(DEFAULT_MODEL), precision="bf16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision", "runs"),
    [(DEFAULT_MODEL, "fp32", "fp32"), (DEFAULT_INT8_MODEL, "fp32", "int8")],
)
def test_openvino_says_what_it_compiled(model: Path, precision: Any, runs: str) -> None:
    with OpenVinoEngine(read_model_file(model), precision=precision) as engine:
        assert (engine.description.precision, engine.name) == (runs, f"openvino {runs} CPU")


@pytest.mark.parametrize(("model", "runs"), [(DEFAULT_MODEL, "fp32"), (DEFAULT_INT8_MODEL, "int8")])
def test_onnx_runtime_says_what_it_made_of_the_graph(model: Path, runs: str) -> None:
    with load_runtime(read_model_file(model), "onnxruntime") as engine:
        assert (engine.description.precision, engine.name) == (runs, f"onnxruntime {runs} CPU")


def test_onnx_runtime_does_not_call_int8_what_it_computes_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider without integer kernels leaves Q/DQ around float convolutions; here its fusion is off."""
    import onnxruntime

    real = onnxruntime.SessionOptions

    def unfused() -> Any:
        options = real()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options

    monkeypatch.setattr(onnxruntime, "SessionOptions", unfused)
    with OnnxRuntimeEngine(read_model_file(DEFAULT_INT8_MODEL)) as engine:
        assert (engine.description.precision, engine.name) == ("fp32", "onnxruntime fp32 CPU")


def test_torch_that_computes_in_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with load_runtime(read_model_file(DEFAULT_MODEL), "torch") as engine:
        assert engine.description.precision == "fp32"
    monkeypatch.setattr("engines.backends.torch.rebuilt", lambda model: HalfNetwork())
    with pytest.raises(EngineUnavailable, match="fp32 was asked for, but it runs bf16"):
        TorchEngine(read_model_file(DEFAULT_MODEL))
    monkeypatch.undo()
    with pytest.raises(ModelMismatch, match="runs float32 models, and psfh_lite0 is int8") as caught:
        load_runtime(read_model_file(DEFAULT_INT8_MODEL), "torch")
    assert len(str(caught.value)) < 200


class HalfNetwork(torch.nn.Module):
    """Answers in bfloat16."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = torch.zeros(len(image), 3, 128, 128, dtype=torch.bfloat16)
        return logits, logits[:, 0, 0, 0], logits[:, 0, 0, 0]


@pytest.fixture
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "TRIAL_FRAMES", 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "runs"), [("fp32", "openvino fp32 CPU"), ("int8", "openvino int8 CPU"), ("bf16", "openvino bf16 CPU")]
)
def test_what_is_built_and_judged_is_what_was_asked_for(few_frames: None, precision: str, runs: str) -> None:
    try:
        report = run_build(BuildRequest(backend="openvino", precision=precision, force=True))
    except EngineUnavailable as error:
        if precision == "bf16" and "no bfloat16" in str(error):
            pytest.skip("this CPU has no bfloat16, and says so")
        raise
    assert report is not None
    assert (report.precision, report.engine, report.reference) == (precision, runs, "openvino fp32 CPU")


@pytest.mark.parametrize(
    ("model", "backend", "precision", "said"),
    [
        (DEFAULT_INT8_MODEL, "openvino", "bf16", "name the float32 model"),
        (DEFAULT_INT8_MODEL, "onnxruntime", "fp32", "name the float32 model"),
        (DEFAULT_MODEL, "onnxruntime", "bf16", "partum quantize"),
        (None, "torch", "fp16", "in the precision of its file, fp32"),
        (None, "openvino", "fp16", "in the precision of its file, fp32"),
    ],
)
def test_a_precision_that_a_model_cannot_have_is_refused(
    model: Path | None, backend: str, precision: str, said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        run_build(BuildRequest(model=model, backend=backend, precision=precision))


@pytest.mark.slow
def test_models_of_others_beside_an_int8_one_are_passed_over(few_frames: None, tmp_path: Path) -> None:
    int8 = tmp_path / "mine.int8.onnx"
    int8.write_bytes(DEFAULT_INT8_MODEL.read_bytes())
    (tmp_path / "a_stranger.onnx").write_bytes(b"somebody else's")
    (tmp_path / "an_empty_one.onnx").write_bytes(b"")
    (tmp_path / "a_folder.onnx").mkdir()
    (tmp_path / "mine.onnx").write_bytes(DEFAULT_MODEL.read_bytes())
    report = run_build(BuildRequest(model=int8, backend="openvino"))
    assert report is not None
    assert report.accepted


@pytest.mark.slow
def test_a_reference_that_is_not_the_models_is_named(few_frames: None, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="was made from"):
        run_build(BuildRequest(model=DEFAULT_INT8_MODEL, backend="openvino", reference=DEFAULT_INT8_MODEL))
    (tmp_path / "x.onnx").write_bytes(b"somebody else's")
    with pytest.raises(ModelMismatch, match=r"x\.onnx"):
        run_build(BuildRequest(model=DEFAULT_INT8_MODEL, backend="openvino", reference=tmp_path / "x.onnx"))
