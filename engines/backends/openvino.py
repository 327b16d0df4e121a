"""OpenVINO on the CPU: the base installation's runtime.

The model is compiled for one frame and a batch is run frame by frame: on a CPU, where one frame already keeps
every core busy, a batch gains next to nothing, and so a frame's result cannot depend on its neighbours.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from contextlib import contextmanager
from queue import SimpleQueue
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
SIDE_BY_SIDE = 2
"""Frames under way at once for throughput; more only wait for each other."""
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
        throughput: takes two frames side by side, each on half of the cores, where there are two or more: more frames a
            second on a busy machine, as no core waits for the slower one within a layer, and each frame takes longer.

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
        throughput: bool = False,
    ) -> None:
        runtime = import_openvino()
        core = runtime.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise EngineUnavailable(f"{BACKEND}: this CPU has no bfloat16; take precision fp32")
        hint = precision or ("bf16" if has_bf16 else "fp32")
        spec = heads_spec(model.spec) if heads_only else model.spec
        cores = threads or available_cores()
        parallel = min(SIDE_BY_SIDE, cores) if throughput else 1
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if parallel == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(parallel),
            "INFERENCE_NUM_THREADS": str(cores),
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
        description = EngineDescription(backend=BACKEND, precision=runs, device="CPU", parallel=parallel, threads=cores)
        super().__init__(description, spec)
        self._free: SimpleQueue[tuple[Any, NDArray[np.uint8]]] = SimpleQueue()
        for _ in range(parallel):
            request, frame = compiled.create_infer_request(), np.zeros(frame_shape, np.uint8)
            request.set_input_tensor(runtime.Tensor(frame, shared_memory=True))
            self._free.put((request, frame))
        for _ in range(parallel):  # they are taken in turn
            self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        outputs = self._empty_outputs(len(images))
        request, frame = self._free.get_nowait()  # there is one for each call that may run
        try:
            for index, image in enumerate(images):
                frame[0] = image
                request.infer()
                for place, output in enumerate(outputs):
                    output[index] = request.get_output_tensor(place).data[0]
        finally:
            self._free.put((request, frame))
        return outputs

    def _release(self) -> None:
        self._free = SimpleQueue()


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
