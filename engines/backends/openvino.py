"""OpenVINO on the CPU: the base installation's runtime.

The model is compiled for one frame and a batch is run frame by frame: on a CPU, where one frame already keeps
every core busy, a batch gains next to nothing, and so a frame's result cannot depend on its neighbours.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engines.base import EngineDescription
from engines.errors import EngineUnavailable
from engines.runtime import (
    RuntimeEngine,
    available_cores,
    check_precision,
    error_summary,
    heads_spec,
    model_rejected,
    runtime_unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from numpy.typing import NDArray

    from engines.onnx.model_file import ModelFile

BACKEND = "openvino"
Precision = Literal["fp32", "bf16"]
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_NAMES = {"f32": "fp32", "f16": "fp16", "u8": "int8", "i8": "int8"}
"""Its names of types, where they differ from ours."""


class OpenVinoEngine(RuntimeEngine):
    """A model compiled by OpenVINO for the CPU.

    Args:
        model: from `engines.onnx.model_file.read_model_file`.
        precision: `fp32`, so that machines agree on the result; `bf16`, about half the time where the CPU has it; None
            takes bf16 where the CPU has it. On real frames both give the same labels but for a few border pixels
            (`tests/engines/test_agreement.py`). Of an int8 model, it is that of the layers not quantised.
            `precision` of the engine, and its name, say what the compiled model really computes in.
        threads: cores it may keep busy; None takes all this process may run on.
        heads_only: leaves the decoder out.

    Raises:
        EngineUnavailable: openvino is not installed, or the CPU does not run the precision asked for.
        ModelMismatch: openvino refuses the model.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        heads_only: bool = False,
    ) -> None:
        runtime = import_openvino()
        core = runtime.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise EngineUnavailable(f"{BACKEND}: this CPU has no bfloat16; take precision fp32")
        hint = precision or ("bf16" if has_bf16 else "fp32")
        spec = heads_spec(model.spec) if heads_only else model.spec
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads or available_cores()),
            "INFERENCE_PRECISION_HINT": _HINTS[hint],
        }
        frame_shape = (1, 1, model.spec.height, model.spec.width)
        try:
            graph = core.read_model(model.content)
            if heads_only:
                outputs = [graph.output(name) for name in spec.output_names]
                graph = runtime.Model(outputs, graph.get_parameters(), spec.name)
            graph.reshape(frame_shape)
            compiled = core.compile_model(graph, "CPU", settings)
            runs = _precision_of(compiled)
        except RuntimeError as error:
            raise model_rejected(BACKEND, model.spec, error) from error
        if precision is not None and spec.precision != "int8":
            check_precision(BACKEND, asked=precision, runs=runs)
        super().__init__(EngineDescription(backend=BACKEND, precision=runs, device="CPU"), spec)
        self._request: Any = compiled.create_infer_request()
        self._frame = np.zeros(frame_shape, np.uint8)
        self._request.set_input_tensor(runtime.Tensor(self._frame, shared_memory=True))
        self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        outputs = self._empty_outputs(len(images))
        for index, image in enumerate(images):
            self._frame[0] = image
            self._request.infer()
            for place, output in enumerate(outputs):
                output[index] = self._request.get_output_tensor(place).data[0]
        return outputs

    def _release(self) -> None:
        self._request = None


def _precision_of(compiled: Any) -> str:
    """What most convolutions and products of a compiled model compute in: a hint is no promise, and makes no noise."""
    found: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        facts = layer.get_rt_info()
        if facts["layerType"].astype(str) in ("Convolution", "FullyConnected", "MatMul"):
            found[facts["runtimePrecision"].astype(str)] += 1
    most = found.most_common(1)[0][0] if found else "f32"
    return _NAMES.get(most, most)


def compiled_graph(content: bytes, precision: str, *, threads: int | None = None) -> Callable[[], object]:
    """Any ONNX model of one float32 input, compiled; calling it runs it once. For measuring what a machine can do.

    Args:
        content: of the model.
        precision: what it must compute in: `fp32`, `bf16`, or `int8` of a quantised one.
        threads: cores it may keep busy; None takes all this process may run on.

    Raises:
        EngineUnavailable: openvino is not installed, or does not run the precision on this CPU.
    """
    runtime = import_openvino()
    core = runtime.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads or available_cores()),
        "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32"),
    }
    try:
        compiled = core.compile_model(core.read_model(content), "CPU", settings)
    except RuntimeError as error:
        raise EngineUnavailable(f"{BACKEND}: this CPU does not run {precision} ({error_summary(error)})") from error
    check_precision(BACKEND, asked=precision, runs=_precision_of(compiled))
    request: Any = compiled.create_infer_request()
    run: Callable[[], object] = request.infer
    return run


def import_openvino() -> ModuleType:
    """The package, imported without its telemetry; EngineUnavailable where it is not installed."""
    try:
        with _no_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        raise runtime_unavailable(BACKEND, "partum", error) from error


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Keeps `import openvino` from reporting its use: it would start a thread, call home, and write to $HOME.

    It takes a silent stub of its own where the package `openvino_telemetry` cannot be imported, and None in
    `sys.modules` says that.
    """
    package = "openvino_telemetry"
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
