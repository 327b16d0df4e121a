"""Machine and package versions for every result file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from engines.selection.machine import this_machine

RESULTS = Path(__file__).parent.parent / "results"
ISA_LIMITS = ("OV_CPU_MAX_ISA", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables of the environment that keep OpenVINO's own kernels, oneDNN (in OpenVINO and torch) and torch's own kernels
to an older processor's instructions. ONNX Runtime has none."""
PACKAGES = ("partum", "av", "numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch")


def describe_machine() -> dict[str, object]:
    """Commit, processor, cores, governor, GPU, load, system and versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "commit": _commit(),
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "gpu": _gpu(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "measured_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(name: str, results: dict[str, object], *, command: str) -> Path:
    """Writes `results/NAME.json`: strict JSON with the machine and the command beside the numbers."""
    path = RESULTS / f"{name}.json"
    content = {"command": command, "machine": describe_machine(), "results": results}
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def others_busy(seconds: float = 1.0) -> float | None:
    """Share of all cores that were busy over a second in which this program did nothing; None where Linux is not.

    The load average would not do: for minutes it goes on counting what has ended.
    """
    try:
        before = _busy_ticks()
        time.sleep(seconds)
        after = _busy_ticks()
    except (OSError, ValueError, IndexError):
        return None
    total = after[1] - before[1]
    return round((after[0] - before[0]) / total, 3) if total else None


def _busy_ticks() -> tuple[int, int]:
    """Ticks spent busy, and all, of all cores since the machine was started; stolen ones count as busy."""
    values = [int(value) for value in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle = values[3] + values[4]
    return sum(values) - idle, sum(values)


def _commit() -> str | None:
    """Of the checkout that this runs from, with a mark where it was changed; None where it is no checkout."""
    try:
        words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _gpu() -> str | None:
    """The first NVIDIA GPU; None where there is none that can be used."""
    from engines.errors import EngineError
    from engines.tensorrt.cuda import CudaRuntime

    try:
        return str(CudaRuntime().device(0).name)
    except EngineError:
        return None


def _instructions() -> dict[str, object]:
    """Whether the processor multiplies bytes in one step (VNNI), and what keeps the runtimes to fewer instructions."""
    limits = {name: os.environ[name] for name in ISA_LIMITS if name in os.environ}
    return {"vnni": not {"avx512_vnni", "avx_vnni"}.isdisjoint(this_machine().instructions), "limited_to": limits}


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
