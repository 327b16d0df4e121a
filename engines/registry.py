"""Chooses a back-end and loads a warm engine; runtimes are imported on demand."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.closing import close_after
from engines.early_exit import EarlyExitEngine
from engines.errors import EngineUnavailable, ModelNotFound
from engines.onnx.model_file import read_model_file
from engines.redaction import looks_like_address, redact
from engines.selection.failover import Candidate, FailoverEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.runtime import RuntimeEngine

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_MODEL = WEIGHTS / "psfh_unet.onnx"
"""The model that ships with the package, in float32: what engines of every precision are made from."""
DEFAULT_INT8_MODEL = WEIGHTS / "psfh_unet.int8.onnx"
"""The same model quantised, for CPUs: unsigned activations with zero points."""
DEFAULT_SIGNED_MODEL = WEIGHTS / "psfh_unet.int8-signed.onnx"
"""The same model quantised with signed, symmetric activations, which TensorRT takes and every other runtime too."""

AUTO = "auto"
REMOTE = "triton://"


@dataclass(frozen=True, slots=True)
class _Runtime:
    target: str
    """`module:class` of the engine."""
    packages: tuple[tuple[str, ...], ...]
    """Needed packages; of each group, one is enough."""
    extra: str
    default: Path = DEFAULT_MODEL
    options: Mapping[str, Any] = field(default_factory=dict)
    is_automatic: bool = True
    has_throughput: bool = False
    """It can take several frames side by side."""


_ONNXRUNTIME = "engines.backends.onnxruntime:OnnxRuntimeEngine"
_TORCH = "engines.backends.torch:TorchEngine"
_TORCH_PACKAGES = (("torch",), ("onnx",))

# In the order in which `auto` takes them.
_RUNTIMES: Mapping[str, _Runtime] = {
    "tensorrt": _Runtime(
        "engines.tensorrt.engine:TensorRtEngine", (("tensorrt", "tensorrt_rtx"), ("cuda",)), "partum[tensorrt]"
    ),
    "openvino": _Runtime(
        "engines.backends.openvino:OpenVinoEngine", (("openvino",),), "partum", DEFAULT_INT8_MODEL, has_throughput=True
    ),
    "onnxruntime": _Runtime(_ONNXRUNTIME, (("onnxruntime",),), "partum[onnxruntime]", DEFAULT_INT8_MODEL),
    "torch": _Runtime(_TORCH, _TORCH_PACKAGES, "partum[torch]"),
    "onnxruntime-cuda": _Runtime(
        _ONNXRUNTIME,
        (("onnxruntime",),),
        "partum[onnxruntime-gpu]",
        options={"provider": "cuda"},
        is_automatic=False,
    ),
    "onnxruntime-tensorrt": _Runtime(
        _ONNXRUNTIME,
        (("onnxruntime",),),
        "partum[onnxruntime-gpu]",
        options={"provider": "tensorrt"},
        is_automatic=False,
    ),
    "torch-compiled": _Runtime(
        _TORCH, _TORCH_PACKAGES, "partum[torch]", options={"compiled": True}, is_automatic=False
    ),
    "torch-cuda": _Runtime(_TORCH, _TORCH_PACKAGES, "partum[torch]", options={"device": "cuda"}, is_automatic=False),
}

BACKENDS = (AUTO, *_RUNTIMES)
"""What `load_engine` takes for `backend`."""

_log = logging.getLogger(__name__)


def available_engines() -> dict[str, str | None]:
    """Returns for each back-end why its packages cannot be imported here, or None; imports none of them."""
    return {name: _missing(runtime) for name, runtime in _RUNTIMES.items()}


def default_model(backend: str) -> Path:
    """The shipped model file that a back-end runs where none is named."""
    return _RUNTIMES[backend].default


def load_engine(
    model: str | Path | None = None,
    backend: str = AUTO,
    *,
    threads: int | None = None,
    early_exit: bool = False,
    throughput: bool = False,
) -> Engine:
    """Loads a model file on a runtime and warms it up.

    Args:
        model: path of an ONNX file from `partum export` or `partum quantize`; `triton://host:port/model` for one on
            a server; None takes the one that ships for the back-end (`default_model`).
        backend: one of `BACKENDS`. `auto` takes the first that can run here, in that order, logs which and why, and
            goes on with the next one where it fails while it runs (`engines.selection.failover`); a back-end asked for
            by name is never replaced by another.
        threads: cores the runtime may keep busy, 1 or more; None takes what is there.
        early_exit: decode only frames that may be standard planes (`engines.early_exit`).
        throughput: for recordings and for several feeds: frames side by side where the back-end can
            (`EngineDescription.parallel`), rather than each as soon as can be.

    Raises:
        ModelNotFound: there is no file at `model`.
        ModelMismatch: the file is not a model of ours.
        EngineUnavailable: the back-end is unknown, its runtime is not installed, or it has no device or no built
            engine (`EngineMissing`).
        RemoteError: the server does not answer.
        ValueError: `threads` is less than 1.
    """
    if backend not in BACKENDS:
        raise EngineUnavailable(f"back-end {backend!r} is not known; choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    if str(model).startswith(REMOTE):
        return _load_remote(str(model), backend, early_exit=early_exit)
    path = None if model is None else Path(model)
    if isinstance(model, str) and looks_like_address(model) and not os.path.exists(model):
        raise ModelNotFound(f"{redact(model)}: is no model; give an ONNX file, or {REMOTE}host:port/name")
    load = partial(_load, path=path, threads=threads, early_exit=early_exit, throughput=throughput)
    return load(backend) if backend != AUTO else _load_first(path, load)


def _load_first(path: Path | None, load: Callable[[str], Engine]) -> Engine:
    """The first automatic back-end that starts; the next one goes on where it fails."""
    if path is not None:
        read_model_file(path)  # what is wrong with the file is no fault of a back-end
    absent: list[str] = []
    candidates: list[Candidate] = []
    for name, runtime in _RUNTIMES.items():
        if not runtime.is_automatic:
            continue
        if missing := _missing(runtime):
            absent.append(f"back-end {name}: {missing}")
            continue
        candidates.append(Candidate(name, partial(load, name)))
    try:
        engine = FailoverEngine(candidates)
    except EngineUnavailable as error:
        raise EngineUnavailable("; ".join([str(error), *absent])) from error
    why = "; ".join([*engine.notices, *absent]) or "it is installed and the first choice"
    _log.info("auto takes %s: %s", engine.name, why)
    return engine


def load_runtime(
    file: ModelFile, backend: str, *, threads: int | None = None, heads_only: bool = False, throughput: bool = False
) -> RuntimeEngine:
    """Starts a named back-end with a model that was read already; see `load_engine`."""
    runtime = _RUNTIMES[backend]
    if missing := _missing(runtime):
        raise EngineUnavailable(f"back-end {backend}: {missing}")
    module, _, engine = runtime.target.partition(":")
    make = getattr(importlib.import_module(module), engine)
    options = {"heads_only": True} if heads_only else {}
    if throughput and runtime.has_throughput:
        options["throughput"] = True
    made: RuntimeEngine = make(file, threads=threads, **options, **runtime.options)
    return made


def _load(name: str, *, path: Path | None, threads: int | None, early_exit: bool, throughput: bool) -> Engine:
    file = read_model_file(path or _RUNTIMES[name].default)
    # Which frame came before tells an early exit what to run, so it takes them one after the other.
    load = partial(load_runtime, file, name, threads=threads, throughput=throughput and not early_exit)
    whole = load()
    if not early_exit:
        return whole
    try:
        heads = load(heads_only=True)
    except BaseException as error:
        close_after(error, whole.close)
        raise
    return EarlyExitEngine(whole, heads)


def _load_remote(uri: str, backend: str, *, early_exit: bool) -> Engine:
    if backend != AUTO:
        raise EngineUnavailable(
            f"{redact(uri)}: its server chooses the back-end, not --backend {backend}; leave it out"
        )
    if early_exit:
        raise EngineUnavailable(f"{redact(uri)}: early exit is for engines of this machine; leave it out")
    from engines.backends.triton import TritonEngine

    return TritonEngine(uri)


def _missing(runtime: _Runtime) -> str | None:
    missing = [
        " or ".join(group)
        for group in runtime.packages
        if all(importlib.util.find_spec(name) is None for name in group)
    ]
    return f"{', '.join(missing)} not installed; pip install '{runtime.extra}'" if missing else None
