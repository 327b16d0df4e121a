"""A device whose memory is full, or that another process has, is no device that is missing: a later try may succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engines.errors import DeviceBusy, EngineUnavailable, InferenceError, OutOfDeviceMemory
from engines.registry import load_engine
from engines.runtime import failure_kind
from stream.app.exit_codes import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.79 GiB", OutOfDeviceMemory),
        ("CUDA error: out of memory\nCUDA kernel errors might be reported later", OutOfDeviceMemory),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", OutOfDeviceMemory),
        ("CUDNN failure 4000: CUDNN_STATUS_ALLOC_FAILED ; GPU=0", OutOfDeviceMemory),
        (
            "BFCArena::AllocateRaw Failed to allocate memory for requested buffer of size 1024",
            OutOfDeviceMemory,
        ),
        ("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory", OutOfDeviceMemory),
        ("std::bad_alloc", OutOfDeviceMemory),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", DeviceBusy),
        ("no kernel image is available for execution on the device", InferenceError),
        ("", InferenceError),
    ],
)
def test_what_runtimes_say_of_it(said: str, kind: type[InferenceError]) -> None:
    assert failure_kind(RuntimeError(said)) is kind
    assert failure_kind(MemoryError()) is OutOfDeviceMemory


def full(*_: Any, **__: Any) -> None:
    raise RuntimeError("CUDA error: out of memory")


@pytest.mark.parametrize(
    ("backend", "where"),
    [
        ("onnxruntime", "onnxruntime.InferenceSession"),
        ("torch", "engines.backends.torch.TorchEngine._ready"),
        ("torch", "engines.backends.torch.TorchEngine._run"),
        ("openvino", "openvino.Core.compile_model"),
    ],
)
def test_a_back_end_that_finds_no_memory_says_so(
    backend: str, where: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(backend)
    monkeypatch.setattr(where, full)
    with pytest.raises(DeviceBusy, match="out of memory") as caught:
        load_engine(model, backend)
    assert not isinstance(caught.value, EngineUnavailable), "systemd would not start it again"


def test_the_command_that_finds_no_memory_failed_and_was_not_wrong(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from partum import main
    from stream.sources.demo import DEMO_CLIP

    monkeypatch.setattr("engines.registry._load_automatically", lambda request: load_engine(model, "onnxruntime"))
    monkeypatch.setattr("onnxruntime.InferenceSession", full)
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(DEMO_CLIP), "--out", str(tmp_path / "out")])
    assert ended.value.code == ExitCode.FAILED
    assert "has no room to start (CUDA error: out of memory)" in capsys.readouterr().err
