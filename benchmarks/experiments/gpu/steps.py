"""The steps of the GPU check, in order of worth, and how a step says what it found. The standard library alone."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "benchmarks.experiments.gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, which runs in a process of its own.

    Attributes:
        name: in the result file.
        target: `module:function` of this package; the function takes a `Report` and `arguments`.
        arguments: handed on.
        packages: without one of each group the step is left out.
        deadline_s: then it is ended; what it has said so far is kept.
    """

    name: str
    target: str
    arguments: tuple[str, ...] = ()
    packages: tuple[tuple[str, ...], ...] = ()
    deadline_s: float = 120.0

    @property
    def missing(self) -> str:
        """What is not installed; empty where the step can run."""
        absent = [group for group in self.packages if not any(map(_is_installed, group))]
        return ", ".join(" or ".join(group) for group in absent)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a package that is there in part
        return False


_TORCH, _ONNX, _CUDA = ("torch",), ("onnx",), ("cuda",)
_ONNXRUNTIME = ("onnxruntime",)
_TENSORRT = (("tensorrt", "tensorrt_rtx"), _CUDA, _ONNX, _ONNXRUNTIME)

MACHINE = Step(name="machine", target="machine:describe", deadline_s=60)
STEPS: Sequence[Step] = (
    Step(name="device_code", target="device_code:prove", packages=(_TORCH, _ONNX, _CUDA), deadline_s=150),
    Step(
        name="torch",
        target="engines:measure_backend",
        arguments=("torch-cuda", "fp16"),
        packages=(_TORCH, _ONNX, _ONNXRUNTIME),
        deadline_s=150,
    ),
    *(
        Step(
            name=f"tensorrt_{precision}",
            target="engines:measure_tensorrt",
            arguments=(precision,),
            packages=_TENSORRT,
            deadline_s=150,
        )
        for precision in ("fp16", "int8", "fp8", "bf16", "fp32")
    ),
    Step(
        name="onnxruntime",
        target="engines:measure_backend",
        arguments=("onnxruntime-cuda", "fp32"),
        packages=(_ONNXRUNTIME, _ONNX),
        deadline_s=120,
    ),
    Step(
        name="onnxruntime_fp16",
        target="engines:measure_backend",
        arguments=("onnxruntime-cuda", "fp16"),
        packages=(_ONNXRUNTIME, _ONNX),
        deadline_s=120,
    ),
    Step(name="fitting", target="fitting:measure_letterbox", packages=(_TORCH, _ONNX), deadline_s=60),
    Step(name="peaks", target="machine:peaks", packages=(_TORCH, _ONNX), deadline_s=60),
    Step(name="decode", target="decode:measure_decoding", packages=(("av",),), deadline_s=60),
)


class Report:
    """What a step has found so far, on disk at once.

    Args:
        path: of the step's own file.
        rehearsal: the step runs on the CPU, with few calls, to find slips before a GPU is at hand.
    """

    def __init__(self, path: Path, *, rehearsal: bool = False) -> None:
        self._path, self._found = path, dict[str, Any]()
        self.rehearsal = rehearsal

    def put(self, **found: Any) -> None:
        """Adds to what was found."""
        self._found |= found
        write_json(self._path, self._found)


def write_json(path: Path, content: Any) -> None:
    """Strict JSON, whole or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
