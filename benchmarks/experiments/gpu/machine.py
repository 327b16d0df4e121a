"""Which machine it is, and what it can do at most."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from benchmarks.reporting.environment import describe_machine

if TYPE_CHECKING:
    from benchmarks.experiments.gpu.steps import Report

PACKAGES = (
    "cuda-bindings",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "onnx",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "triton",
)
_QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit,compute_mode,mig.mode.current"
_SIDE, _COPIED_BYTES, _RUNS = 8192, 1 << 30, 20


def describe(report: Report) -> None:
    """Processor, GPU, driver, versions, and the providers of ONNX Runtime."""
    by_driver = _nvidia_smi()
    name = by_driver.partition(",")[0] if by_driver else None
    report.put(gpu=name, nvidia_smi=by_driver)  # kept, whatever comes now
    found = describe_machine()
    versions: Any = found["versions"]
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    report.put(**{**found, "gpu": found["gpu"] or name or _torch_gpu()}, all_cores=os.cpu_count())
    try:
        report.put(onnxruntime_providers=import_module("onnxruntime").get_available_providers())
    except ImportError:
        report.put(onnxruntime_providers=[])


def _torch_gpu() -> str | None:
    """The GPU by torch, where CUDA's binding is not installed; None where there is none."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        return None
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _nvidia_smi() -> str | None:
    words = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peaks(report: Report) -> None:
    """Operations a second of one large matrix product by type, and bytes a second of a copy, by torch."""
    torch: Any = import_module("torch")
    device = "cpu" if report.rehearsal else "cuda"
    side = 256 if report.rehearsal else _SIDE
    torch.backends.cuda.matmul.allow_tf32 = False
    operations: dict[str, float] = {}
    for name in ("float32", "bfloat16", "float16"):
        left = torch.randn(side, side, device=device).to(getattr(torch, name))
        operations[name] = 2.0 * side**3 / _seconds(torch, partial(torch.matmul, left, left), device)
        report.put(operations_per_s={kind: round(value) for kind, value in operations.items()})
    source = torch.empty((1 << 20) if report.rehearsal else _COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    report.put(copied_bytes_per_s=round(2 * source.numel() / _seconds(torch, partial(target.copy_, source), device)))


def _seconds(torch: Any, run: Any, device: str) -> float:
    """Mean time of one run, by the device's own events; on a CPU by the clock."""
    run()
    if device == "cpu":
        import time

        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(_RUNS):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / _RUNS
