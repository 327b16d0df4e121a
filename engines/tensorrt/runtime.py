"""Finds the installed TensorRT: the full one or TensorRT-RTX.

Nothing else imports either; both are used by the one code path in `engines.tensorrt.build` and
`engines.tensorrt.engine`.
"""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from engines.errors import EngineUnavailable

MODULES = ("tensorrt", "tensorrt_rtx")
"""In order of preference."""
EXTRA = "partum[tensorrt]"


@dataclass(frozen=True, slots=True)
class TensorRt:
    """An installed TensorRT: its module, its name and its version."""

    module: Any
    name: str
    version: str


def load_tensorrt() -> TensorRt:
    """The TensorRT installed here, the full one where there are both.

    Raises:
        EngineUnavailable: none can be imported; says why of each.
    """
    reasons = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # bindings without their libraries raise either
            reasons.append(f"{name}: {error}")
            continue
        if not hasattr(module, "Builder"):
            reasons.append(f"{name}: it can run engines but not build them")
            continue
        return TensorRt(module, name, str(module.__version__))
    raise EngineUnavailable(f"TensorRT cannot be used ({'; '.join(reasons)}); pip install '{EXTRA}'")


def unknown_gpu(tensorrt: TensorRt, capability: tuple[int, int], device: str) -> str:
    """Why this TensorRT has no engines for a compute capability; empty where it may. TensorRT-RTX lists those it knows.

    Args:
        tensorrt: from `load_tensorrt`.
        capability: (9, 0) of a Hopper.
        device: the GPU, for people.
    """
    known = getattr(tensorrt.module, "ComputeCapability", None)
    if known is None or hasattr(known, f"SM{capability[0]}{capability[1]}"):
        return ""
    names = ", ".join(name.lower() for name in dir(known) if name.startswith("SM"))
    return (
        f"{tensorrt.name} {tensorrt.version} has no engines for {device}, it knows {names}; install the full TensorRT:"
        f" pip install '{EXTRA}', or take --backend torch-cuda or onnxruntime-cuda"
    )


def make_log(trt: Any) -> Any:
    """A TensorRT logger that prints nothing and keeps the last complaints for error messages."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps errors and warnings, newest last, in `complaints`."""

        def __init__(self) -> None:
            super().__init__()
            self.complaints: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.complaints.append(" ".join(message.split()))

    return Log()


def last_complaint(log: Any) -> str:
    """What TensorRT said last, for people."""
    return log.complaints[-1] if log.complaints else "no reason given"
