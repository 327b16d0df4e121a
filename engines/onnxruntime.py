"""ONNX Runtime on the CPU: where OpenVINO has no build, and a second opinion everywhere else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engines.runtime import RuntimeEngine, available_cores, refused, unavailable

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from engines.model_file import ModelFile

BACKEND = "onnxruntime"
_SILENT = 4  # its severity "fatal": errors reach us as exceptions, not as lines on stderr


class OnnxRuntimeEngine(RuntimeEngine):
    """A model run by ONNX Runtime's CPU provider in float32.

    Args:
        model: from `engines.model_file.read_model_file`.
        threads: cores it may keep busy; None takes all this process may run on.

    Raises:
        EngineUnavailable: onnxruntime is not installed.
        ModelMismatch: onnxruntime refuses the model.
    """

    def __init__(self, model: ModelFile, *, threads: int | None = None) -> None:
        super().__init__(f"{BACKEND} f32 CPU", model.spec)
        runtime = _import_onnxruntime()
        self.failures = _failures()
        options = runtime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        # Waiting threads would spin between frames and take the cores from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = runtime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
        except self.failures as error:
            raise refused(BACKEND, model.spec, error) from error
        self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(self._session.run(list(self.spec.output_names), {"image": images}))

    def _release(self) -> None:
        self._session = None


def _import_onnxruntime() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise unavailable(BACKEND, "partum[onnxruntime]", error) from error


def _failures() -> tuple[type[Exception], ...]:
    """Its exceptions share no base class of their own, so they are gathered from where it defines them."""
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = [kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, *kinds)
