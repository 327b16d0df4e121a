from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import engines
from engines import registry
from engines.backends.torch import TorchEngine
from engines.base import EngineDescription
from engines.errors import EngineUnavailable, ModelNotFound
from engines.registry import BACKENDS, DEFAULT_MODEL, available_engines, load_engine
from engines.selection.measuring import Verdict
from tests.conftest import REPOSITORY
from tests.fakes.tiny_model import HEIGHT, WIDTH, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.selection.measuring import Reference

RUNTIMES = ("openvino", "onnxruntime", "torch", "onnx", "tensorrt", "tensorrt_rtx", "cuda", "tritonclient")
HERE = ("openvino", "onnxruntime", "torch")
"""Back-ends that need no device."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


def uninstall(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def python(code: str, home: Path) -> str:
    """Runs code in a bare interpreter and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"HOME": str(home), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_all_names_are_there_and_no_others() -> None:
    assert all(getattr(engines, name) is not None for name in engines.__all__)
    exposed = {name for name in vars(engines) if not name.startswith("_")}
    submodules = {name for name in exposed if f"engines.{name}" in sys.modules}
    assert exposed - submodules - {"annotations", "import_module", "TYPE_CHECKING"} <= set(engines.__all__)


def test_importing_engines_imports_no_runtime(tmp_path: Path) -> None:
    heavy = python(
        f"import sys, engines, engines.registry, engines.onnx.model_file;"
        f"print(*[name for name in {(*RUNTIMES, 'cv2')} if name in sys.modules])",
        tmp_path,
    )
    assert heavy == ""


def test_openvino_does_not_report_its_use(model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    seen = python(
        "import sys, threading; from engines.registry import load_engine;"
        f"load_engine({str(model)!r}, 'openvino').close();"
        "print([name for name in sys.modules if 'openvino_telemetry' in name], threading.active_count())",
        home,
    )
    assert seen == "[] 1"
    assert list(home.iterdir()) == []


def test_the_default_model_ships_in_the_package() -> None:
    assert DEFAULT_MODEL.is_relative_to(REPOSITORY / "engines" / "weights")
    with load_engine() as engine:
        assert engine.spec.classes == ("background", "PS", "FH")


@pytest.mark.parametrize("backend", HERE)
def test_a_backend_asked_for_by_name_is_the_one_that_runs(model: Path, backend: str) -> None:
    with load_engine(model, backend) as engine:
        assert engine.description.backend == backend


@pytest.mark.slow
def test_the_compiled_network_says_what_the_network_says(model: Path) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch compiles for a CPU with a C++ compiler, and there is none")
    code = (  # in a process of its own: the compiler leaves threads and helpers behind
        "import numpy as np; from engines.registry import load_engine;"
        f"images = np.random.default_rng(2).integers(0, 256, (1, 1, {HEIGHT}, {WIDTH}), np.uint8);"
        f"plain, compiled = (load_engine({str(model)!r}, name) for name in ('torch', 'torch-compiled'));"
        "found, expected = compiled.infer(images), plain.infer(images);"
        "print(compiled.name, np.abs(found.class_logits - expected.class_logits).max() < 1e-4)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.stdout.strip() == "torch compiled fp32 CPU True", done.stderr[-2000:]


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt", "torch-cuda"])
def test_a_backend_without_its_device_says_so(model: Path, backend: str) -> None:
    with pytest.raises(EngineUnavailable, match=r"no (CUDA|Tensorrt)ExecutionProvider|finds no GPU|cannot start here"):
        load_engine(model, backend)


@pytest.mark.parametrize(
    ("backend", "device", "said"),
    [
        ("openvino", "cuda:1", "does not run on cuda:1; on cuda:1 run tensorrt, onnxruntime-cuda"),
        ("tensorrt", "cpu", "does not run on cpu; on cpu run openvino, onnxruntime, torch"),
        ("auto", "cuda:1", "on cuda:1 run tensorrt"),
        ("auto", "gpu", "device 'gpu' is not known; give cpu, or a GPU such as cuda:1"),
    ],
)
def test_a_device_that_is_asked_for_is_never_replaced(model: Path, backend: str, device: str, said: str) -> None:
    with pytest.raises(EngineUnavailable, match=said):
        load_engine(model, backend, device=device)


def test_auto_takes_a_backend_of_the_device(model: Path) -> None:
    with load_engine(model, device="cpu") as engine:
        assert engine.description.device == "CPU"
    with pytest.raises(EngineUnavailable, match="its server chooses the device"):
        load_engine("triton://localhost:1/net", device="cuda:0")


class HalfTorch(TorchEngine):
    """Says of itself what torch on a GPU says."""

    def __init__(self, model: ModelFile, *, device: str, threads: int | None = None) -> None:
        super().__init__(model, threads=threads)
        self._description = EngineDescription(backend="torch", precision="fp16", device=device.upper())


class Judge:
    """A trial with its verdict made up beforehand."""

    digest = "made up"

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal

    def judge(self, engine: Engine, reference: Reference, *, most_ms: float) -> Verdict:
        with reference.load() as exact:
            assert exact.description.precision == "fp32"
        return Verdict(ms=1.0, refusal=self._refusal)

    def time_ms(self, engine: Engine) -> float:
        raise AssertionError("there is nothing to choose from")


def test_what_a_gpu_computes_in_less_than_float32_is_compared_first(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = replace(registry._RUNTIMES["torch-cuda"], target=f"{__name__}:HalfTorch")
    monkeypatch.setattr(registry, "_RUNTIMES", {**registry._RUNTIMES, "torch-cuda": half})
    with load_engine(model, "torch-cuda", device="cuda:1", trial=Judge("")) as engine:
        assert engine.name == "torch fp16 CUDA:1"
    with pytest.raises(EngineUnavailable, match=r"departs from the float32 model on this GPU: AoP moves by 9 degrees"):
        load_engine(model, "torch-cuda", trial=Judge("AoP moves by 9 degrees"))


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match="'tensorflow' is not known") as error:
        load_engine(backend="tensorflow")
    assert all(name in str(error.value) for name in BACKENDS)


def test_less_than_one_thread_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="got 0"):
        load_engine(model, threads=0)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere/model\.onnx"):
        load_engine("nowhere/model.onnx")


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        ("openvino", "openvino", "'partum'"),
        ("onnxruntime", "onnxruntime", "'partum[onnxruntime]'"),
        ("torch", "torch", "'partum[torch]'"),
        ("torch", "onnx", "'partum[torch]'"),
    ],
)
def test_a_named_backend_never_falls_back(
    model: Path, monkeypatch: pytest.MonkeyPatch, backend: str, package: str, extra: str
) -> None:
    uninstall(monkeypatch, package)
    with pytest.raises(EngineUnavailable, match=f"{package} not installed") as error:
        load_engine(model, backend)
    assert f"pip install {extra}" in str(error.value)
    assert isinstance(error.value, ImportError)
    assert available_engines()[backend] == f"{package} not installed; pip install {extra}"


def test_every_engine_is_available_where_the_tests_run() -> None:
    assert available_engines() == dict.fromkeys(BACKENDS[1:])  # their packages; some lack a device


def test_auto_takes_the_first_and_says_why(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engines")
    with load_engine(model) as engine:
        taken = engine.name
    assert taken in ("openvino bf16 CPU", "openvino fp32 CPU")  # what this CPU has
    uninstall(monkeypatch, "openvino")
    with load_engine(model) as engine:
        assert engine.name == "onnxruntime fp32 CPU"
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"auto takes {taken}: ")  # and why not TensorRT
    assert caplog.messages[1].startswith("auto takes onnxruntime fp32 CPU: ")
    assert caplog.messages[1].endswith("; back-end openvino: openvino not installed; pip install 'partum'")


def test_auto_passes_over_a_runtime_that_is_installed_but_broken(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libtbb.so.12: cannot open')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    caplog.set_level(logging.INFO, logger="engines")
    with load_engine(model) as engine:
        assert engine.name == "onnxruntime fp32 CPU"
    assert "libtbb.so.12: cannot open" in caplog.messages[0]
    with pytest.raises(EngineUnavailable, match=r"libtbb\.so\.12"):
        load_engine(model, "openvino")


def test_auto_without_any_runtime_names_them_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, *HERE, "tensorrt", "tensorrt_rtx")
    with pytest.raises(EngineUnavailable, match="no back-end can run here") as error:
        load_engine(model)
    assert all(name in str(error.value) for name in ("tensorrt", *HERE))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "torch fp32 CPU"),
        ({"compiled": True}, "torch compiled fp32 CPU"),
        ({"early_exit": True, "shared": True}, "torch fp32 CPU early exit, shared"),
    ],
)
def test_the_display_name_is_made_of_the_description(changes: dict[str, bool], name: str) -> None:
    assert EngineDescription(backend="torch", precision="fp32", device="CPU", **changes).name == name
