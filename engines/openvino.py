"""OpenVINO on the CPU: the base installation's runtime.

The model is compiled for one frame and a batch is run frame by frame: on a CPU, where one frame already keeps
every core busy, a batch gains next to nothing, and so a frame's result cannot depend on its neighbours.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.runtime import RuntimeEngine, available_cores, refused, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from numpy.typing import NDArray

    from engines.model_file import ModelFile

BACKEND = "openvino"


class OpenVinoEngine(RuntimeEngine):
    """A model compiled by OpenVINO for the CPU, in float32 so that machines agree on the result.

    Args:
        model: from `engines.model_file.read_model_file`.
        threads: cores it may keep busy; None takes all this process may run on.

    Raises:
        EngineUnavailable: openvino is not installed.
        ModelMismatch: openvino refuses the model.
    """

    def __init__(self, model: ModelFile, *, threads: int | None = None) -> None:
        super().__init__(f"{BACKEND} f32 CPU", model.spec)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads or available_cores()),
            # Left to itself it takes bfloat16 where the CPU has it, and machines would disagree.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        runtime = _import_openvino()
        frame_shape = (1, 1, model.spec.height, model.spec.width)
        try:
            core = runtime.Core()
            graph = core.read_model(model.content)
            graph.reshape(frame_shape)
            self._request: Any = core.compile_model(graph, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise refused(BACKEND, model.spec, error) from error
        self._frame = np.zeros(frame_shape, np.uint8)
        self._request.set_input_tensor(runtime.Tensor(self._frame, shared_memory=True))
        self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        spec = self.spec
        class_logits = np.empty((len(images), 3, spec.output_height, spec.output_width), np.float32)
        plane_logit = np.empty(len(images), np.float32)
        for index, image in enumerate(images):
            self._frame[0] = image
            self._request.infer()
            class_logits[index] = self._request.get_output_tensor(0).data[0]
            plane_logit[index] = self._request.get_output_tensor(1).data[0]
        return class_logits, plane_logit

    def _release(self) -> None:
        self._request = None


def _import_openvino() -> ModuleType:
    try:
        with _no_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        raise unavailable(BACKEND, "partum", error) from error


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
