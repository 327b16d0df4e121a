"""ONNX Runtime: on the CPU where OpenVINO has no build and as a second opinion; on NVIDIA GPUs by its providers."""

from __future__ import annotations

import importlib
import io
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engines.base import EngineDescription
from engines.errors import EngineUnavailable
from engines.onnx.model_file import operators
from engines.runtime import RuntimeEngine, available_cores, model_rejected, runtime_unavailable, variant_spec

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from engines.onnx.model_file import ModelFile

BACKEND = "onnxruntime"
Provider = Literal["cpu", "cuda", "tensorrt"]
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_SILENT = 4  # its severity "fatal": errors reach us as exceptions, not as lines on stderr


class OnnxRuntimeEngine(RuntimeEngine):
    """A model run by one of ONNX Runtime's providers, in the precision of its file.

    Args:
        model: from `engines.onnx.model_file.read_model_file`.
        threads: cores it may keep busy; None takes all this process may run on.
        provider: `cpu`, or a GPU's; none is ever replaced by another.
        device: number of the GPU.
        heads_only: leaves the decoder out; needs `onnx`.
        labels: answers labels in the place of class logits (`ModelSpec.answers_labels`); needs `onnx`.

    Raises:
        EngineUnavailable: onnxruntime is not installed, or this build or machine lacks the provider.
        ModelMismatch: onnxruntime refuses the model.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        device: int = 0,
        heads_only: bool = False,
        labels: bool = False,
    ) -> None:
        spec = variant_spec(model.spec, heads_only=heads_only, labels=labels)
        runtime = _import_onnxruntime()
        self.failures = _failures()
        wanted = _PROVIDERS[provider]
        if provider != "cpu":
            _preload_cuda(runtime)
        if wanted not in runtime.get_available_providers():
            raise EngineUnavailable(
                f"back-end {BACKEND}: this build has no {wanted}; pip install 'partum[onnxruntime-gpu]'"
            )
        options = runtime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        # Waiting threads would spin between frames and take the cores from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # On an x86 CPU without VNNI sums of signed weights saturate in 16 bits: this takes kernels that do not.
        options.add_session_config_entry("session.x64quantprecision", "1")
        content = _variant(model.content, heads_only=heads_only, labels=labels)
        # Float32 means float32: on a GPU it would take TensorFloat-32, of 10 bits, without a word.
        given: Any = wanted
        if provider != "cpu":
            given = (wanted, {"device_id": str(device)} | ({"use_tf32": "0"} if provider == "cuda" else {}))
        runs = spec.precision
        if provider == "tensorrt" and runs == "fp32":
            runs = "tf32"  # TensorRT's own provider has no option against it
        try:
            if runs == "int8" and provider != "tensorrt":
                self._session, runs = _quantised_session(runtime, content, options, given)
            else:
                self._session = runtime.InferenceSession(content, options, providers=[given])
        except self.failures as error:
            raise model_rejected(BACKEND, spec, error) from error
        if self._session.get_providers()[0] != wanted:  # it falls back to the CPU without a word
            raise EngineUnavailable(f"back-end {BACKEND}: {wanted} cannot start here; is there a GPU and its driver?")
        threads = options.intra_op_num_threads if provider == "cpu" else None
        name = _device_name(provider, device)
        super().__init__(EngineDescription(backend=BACKEND, precision=runs, device=name, threads=threads), spec)
        self._warm_up()

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        return tuple(self._session.run(list(self.spec.output_names), {"image": images}))

    def _release(self) -> None:
        self._session = None


def _device_name(provider: Provider, device: int) -> str:
    return f"{provider.upper()} cuda:{device}" if device else provider.upper()


def _preload_cuda(runtime: ModuleType) -> None:
    """Loads CUDA and cuDNN from their wheels, where a session does not look for them."""
    if hasattr(runtime, "preload_dlls"):
        with redirect_stdout(io.StringIO()):  # it prints what it does not find; the session then says what it lacks
            runtime.preload_dlls()


def _quantised_session(runtime: ModuleType, content: bytes, options: Any, provider: Any) -> tuple[Any, str]:
    """A session of an int8 model, and what its convolutions compute in, read from the graph it made of the file.

    Where a provider has no integer kernels it leaves Q/DQ standing around float32 convolutions.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(kept)
        session = runtime.InferenceSession(content, options, providers=[provider])
        kinds = Counter(operators(kept.read_bytes()))
    return session, "int8" if kinds["QLinearConv"] > kinds["Conv"] + kinds["FusedConv"] else "fp32"


def _variant(content: bytes, *, heads_only: bool, labels: bool) -> bytes:
    """The graph to run, without what is not wanted: all outputs are computed, whichever are asked for."""
    if not heads_only and not labels:
        return content
    try:
        from engines.onnx.heads_only import heads_only as without_decoder
        from engines.onnx.labelled import with_labels
    except ImportError as error:
        raise runtime_unavailable(BACKEND, "partum[build]", error) from error
    return without_decoder(content) if heads_only else with_labels(content)


def _import_onnxruntime() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise runtime_unavailable(BACKEND, "partum[onnxruntime]", error) from error


def _failures() -> tuple[type[Exception], ...]:
    """Its exceptions share no base class of their own, so they are gathered from where it defines them."""
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = [kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, *kinds)
