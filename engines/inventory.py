"""Available back-ends of this machine, and why others are not."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import EngineError
from engines.registry import available_engines
from engines.tensorrt.cache import EngineCache, capability_of, damage_of, rejection_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Availability:
    """A back-end: its version, the devices it would run on, and why it cannot run; an empty reason means it can."""

    backend: str
    version: str
    devices: tuple[str, ...]
    reason: str


def list_backends() -> list[Availability]:
    """Every back-end, in the order in which `auto` takes them. Imports each runtime that is installed."""
    found = []
    for backend, missing in available_engines().items():
        if missing:
            found.append(Availability(backend, "", (), missing))
            continue
        try:
            version, devices, reason = _PROBES[backend]()
        except (EngineError, ImportError, OSError, RuntimeError) as error:
            version, devices, reason = "", (), " ".join(str(error).split())
        found.append(Availability(backend, version, devices, reason))
    return found


def _openvino() -> tuple[str, tuple[str, ...], str]:
    from engines.backends.openvino import import_openvino

    core = import_openvino().Core()
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    able = [kind for kind in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") if kind in ("BF16", "INT8", "FP32")]
    return importlib.metadata.version("openvino"), (f"CPU {name} ({', '.join(able)})",), ""


def _tensorrt() -> tuple[str, tuple[str, ...], str]:
    from engines.tensorrt.cuda import CudaRuntime
    from engines.tensorrt.runtime import load_tensorrt, unknown_gpu

    tensorrt = load_tensorrt()
    version = f"{tensorrt.name} {tensorrt.version}"
    try:
        cuda = CudaRuntime()
        gpus = [cuda.device(index) for index in range(cuda.count())]
    except EngineError as error:
        return version, (), f"{error} (it can still build engines from afar: partum build --device sm89)"
    devices = tuple(f"cuda:{index} {gpu}, CUDA {gpu.driver}" for index, gpu in enumerate(gpus))
    unknown = [why for gpu in gpus if (why := unknown_gpu(tensorrt, gpu.compute_capability, str(gpu)))]
    if len(unknown) == len(gpus):
        return version, devices, unknown[0] if unknown else "there is no GPU"
    usable = any(
        not rejection_reason(facts, str(gpu))
        and facts["key"]["device"] in (str(gpu), capability_of(str(gpu)))
        and not damage_of(path, facts)
        for path, facts in EngineCache().entries()
        for gpu in gpus
    )
    return version, devices, "" if usable else "no accepted engine in the cache; make one with partum build"


def _onnxruntime(provider: str) -> Callable[[], tuple[str, tuple[str, ...], str]]:
    def probe() -> tuple[str, tuple[str, ...], str]:
        runtime: Any = importlib.import_module("onnxruntime")
        there = runtime.get_available_providers()
        reason = "" if provider in there else f"this build has {', '.join(there)} only{_overwritten()}"
        return str(runtime.__version__), (provider.removesuffix("ExecutionProvider"),) if not reason else (), reason

    return probe


def _overwritten() -> str:
    """What to do where ONNX Runtime's CPU wheel lies over its GPU one: both fill one folder, and the last one wins."""
    names = ("onnxruntime", "onnxruntime-gpu")
    if any(not list(importlib.metadata.distributions(name=name)) for name in names):
        return ""
    return (
        "; the CPU's wheel lies over the GPU's: pip uninstall -y onnxruntime onnxruntime-gpu, then pip install"
        " 'partum[onnxruntime-gpu]'"
    )


def _torch(*, cuda: bool) -> Callable[[], tuple[str, tuple[str, ...], str]]:
    def probe() -> tuple[str, tuple[str, ...], str]:
        torch: Any = importlib.import_module("torch")
        if not cuda:
            return str(torch.__version__), ("CPU",), ""
        if not torch.cuda.is_available():
            return str(torch.__version__), (), "torch finds no GPU"
        names = tuple(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))
        return str(torch.__version__), names, ""

    return probe


_PROBES: Mapping[str, Callable[[], tuple[str, tuple[str, ...], str]]] = {
    "tensorrt": _tensorrt,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime("CPUExecutionProvider"),
    "torch": _torch(cuda=False),
    "onnxruntime-cuda": _onnxruntime("CUDAExecutionProvider"),
    "onnxruntime-tensorrt": _onnxruntime("TensorrtExecutionProvider"),
    "torch-compiled": _torch(cuda=False),
    "torch-cuda": _torch(cuda=True),
}
