"""Chooses a back-end and loads a warm engine; runtimes are imported on demand."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.closing import close_after
from engines.early_exit import EarlyExitEngine
from engines.errors import DeviceBusy, EngineUnavailable, ModelNotFound
from engines.onnx.model_file import read_model_file
from engines.redaction import looks_like_address, redact
from engines.runtime import check_precision, gpu_index, none_starts
from engines.selection.choice import THROUGHPUT, USES, ChoiceStore
from engines.selection.cpu import CpuRequest, cpu_candidates, cpu_choice, float_model_of
from engines.selection.failover import Candidate, FailoverEngine
from engines.selection.measuring import Reference
from engines.tensorrt.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.runtime import RuntimeEngine
    from engines.selection.choice import Choice
    from engines.selection.measuring import Trial

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_MODEL = WEIGHTS / "psfh_lite0.onnx"
"""The model that ships with the package, in float32: what engines of every precision are made from."""
DEFAULT_INT8_MODEL = WEIGHTS / "psfh_lite0.int8.onnx"
"""The same model quantised, with unsigned activations, for CPUs; TensorRT's build makes signed ones of it."""

AUTO, TENSORRT = "auto", "tensorrt"
CPU = "cpu"
"""What `load_engine` takes for `device`, beside GPUs."""
PRECISIONS = ("fp32", "bf16", "fp16", "int8", "fp8")
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
    gpu: Callable[[int], Any] | None = None
    """What its engine takes for `device`, by the number of a GPU; None: it runs on the CPU."""
    has_variants: bool = False
    """On a CPU, where the best of its variants is chosen (`engines.selection.cpu`)."""
    has_throughput: bool = False
    """It can take several frames side by side."""
    makes_labels: bool = False
    """Whether labels cost less made on its device than on the host (`load_engine`)."""


_ONNXRUNTIME = "engines.backends.onnxruntime:OnnxRuntimeEngine"
_TORCH = "engines.backends.torch:TorchEngine"
_TORCH_PACKAGES = (("torch",), ("onnx",))

# In the order in which `auto` takes them.
_RUNTIMES: Mapping[str, _Runtime] = {
    "tensorrt": _Runtime(
        "engines.tensorrt.engine:TensorRtEngine",
        (("tensorrt", "tensorrt_rtx"), ("cuda",)),
        "partum[tensorrt]",
        makes_labels=True,
        gpu=int,
    ),
    "openvino": _Runtime(
        "engines.backends.openvino:OpenVinoEngine",
        (("openvino",),),
        "partum",
        DEFAULT_INT8_MODEL,
        has_variants=True,
        has_throughput=True,
    ),
    "onnxruntime": _Runtime(
        _ONNXRUNTIME, (("onnxruntime",),), "partum[onnxruntime]", DEFAULT_INT8_MODEL, has_variants=True
    ),
    "torch": _Runtime(_TORCH, _TORCH_PACKAGES, "partum[torch]", has_variants=True),
    "onnxruntime-cuda": _Runtime(
        _ONNXRUNTIME,
        (("onnxruntime",),),
        "partum[onnxruntime-gpu]",
        options={"provider": "cuda"},
        is_automatic=False,
        gpu=int,
        makes_labels=True,
    ),
    "onnxruntime-tensorrt": _Runtime(
        _ONNXRUNTIME,
        (("onnxruntime",),),
        "partum[onnxruntime-gpu]",
        options={"provider": "tensorrt"},
        is_automatic=False,
        gpu=int,
        makes_labels=True,
    ),
    "torch-compiled": _Runtime(
        _TORCH, _TORCH_PACKAGES, "partum[torch]", options={"compiled": True}, is_automatic=False
    ),
    "torch-cuda": _Runtime(
        _TORCH,
        _TORCH_PACKAGES,
        "partum[torch]",
        is_automatic=False,
        gpu="cuda:{}".format,
        makes_labels=True,
    ),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What `load_engine` was asked for, beside the back-end."""

    path: Path | None
    device: str | None = None
    threads: int | None = None
    early_exit: bool = False
    throughput: bool = False
    precision: str | None = None
    labels: bool = False
    trial: Trial | None = None
    store: ChoiceStore = field(default_factory=lambda: ChoiceStore(cache_folder()))


def load_engine(
    model: str | Path | None = None,
    backend: str = AUTO,
    *,
    device: str | None = None,
    threads: int | None = None,
    early_exit: bool = False,
    throughput: bool = False,
    precision: str | None = None,
    labels: bool = False,
    trial: Trial | None = None,
) -> Engine:
    """Loads a model file on a runtime and warms it up.

    Args:
        model: path of an ONNX file from `partum export` or `partum quantize`; `triton://host:port/model` for one on
            a server; None takes the one that ships for the back-end (`default_model`).
        backend: one of `BACKENDS`. `auto` takes TensorRT where it can run, else the best on this CPU, says which and
            why, and goes on with the next one where it fails while it runs (`engines.selection.failover`); a back-end
            asked for by name is never replaced by another.
        device: `cpu`, or a GPU, `cuda:1`; `auto` takes no back-end of another. None takes the first GPU, or the CPU.
        threads: cores the runtime may keep busy, 1 or more; None takes what is there.
        early_exit: decode only frames that may be standard planes (`engines.early_exit`).
        throughput: for recordings and for several feeds: frames side by side where the back-end can
            (`EngineDescription.parallel`), rather than each as soon as can be.
        precision: fp32, fp16, bf16 or int8; the engine runs in no other. None takes any.
        labels: the caller needs no class logits: a back-end on a GPU answers labels in their place
            (`ModelSpec.answers_labels`). On a CPU the host makes them in less time than the graph.
        trial: what engines of a CPU are compared by, and those of a GPU that compute in less than float32, in degrees
            (`stream.inference.engine_trial`). On a CPU the fastest that is right on this machine is taken, measured
            once and kept (`engines.selection.choice`). None measures nothing: INT8 is taken first where the CPU sums it
            exactly, and not at all where it does not.

    Raises:
        ModelNotFound: there is no file at `model`.
        ModelMismatch: the file is not a model of ours.
        EngineUnavailable: the back-end is unknown, its runtime is not installed, it has no device or no built engine
            (`EngineMissing`), it does not run the precision, or the model is wrong on this CPU.
        DeviceBusy: the device, or its memory, is taken: a later try may succeed.
        RemoteError: the server does not answer.
        ValueError: `threads` is less than 1.
    """
    if backend not in BACKENDS:
        raise EngineUnavailable(f"back-end {backend!r} is not known; choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    if device is not None and device != CPU and gpu_index(device) is None:
        raise EngineUnavailable(f"device {device!r} is not known; give {CPU}, or a GPU such as cuda:1")
    if str(model).startswith(REMOTE):
        return _load_remote(str(model), backend, device=device, early_exit=early_exit)
    path = None if model is None else Path(model)
    if isinstance(model, str) and looks_like_address(model) and not os.path.exists(model):
        raise ModelNotFound(f"{redact(model)}: is no model; give an ONNX file, or {REMOTE}host:port/name")
    if path is not None:
        read_model_file(path)  # what is wrong with the file is no fault of a back-end
    request = _Request(
        path=path,
        device=device,
        threads=threads,
        early_exit=early_exit,
        # Which frame came before tells an early exit what to run, so it takes them one after the other.
        throughput=throughput and not early_exit,
        precision=precision,
        labels=labels,
        trial=trial,
    )
    return _load_automatically(request) if backend == AUTO else _load_named(backend, request)


def _load_named(backend: str, request: _Request) -> Engine:
    """The named back-end and no other: on a CPU the best of its variants."""
    if missing := _missing(_RUNTIMES[backend]):
        raise EngineUnavailable(f"back-end {backend}: {missing}")
    if not _runs_on(_RUNTIMES[backend], request.device):
        raise EngineUnavailable(f"back-end {backend} does not run on {request.device}; {_those_of(request.device)}")
    if not _RUNTIMES[backend].has_variants:
        return _load(backend, request)
    candidates, notices = _on_cpu([backend], request)
    if not candidates:
        why = "; ".join(notices) or f"it runs no such model in {request.precision} on a CPU"
        raise none_starts(f"back-end {backend}: {why}")
    engine = candidates[0].load()
    return FailoverEngine([Candidate(backend, lambda: engine)], notices) if notices else engine


def _load_automatically(request: _Request) -> Engine:
    """The first automatic back-end that starts; the next one goes on where it fails."""
    automatic = {
        name: runtime
        for name, runtime in _RUNTIMES.items()
        if runtime.is_automatic and _runs_on(runtime, request.device)
    }
    absent = [f"back-end {name}: {missing}" for name, runtime in automatic.items() if (missing := _missing(runtime))]
    if request.device not in (None, CPU):
        absent.append(_those_of(request.device))
    notices: list[str] = []
    started: list[Engine] = []

    def candidates() -> Iterator[Candidate]:
        there = [name for name, runtime in automatic.items() if not _missing(runtime)]
        for name in there:
            if not _RUNTIMES[name].has_variants:
                yield Candidate(name, partial(_load, name, request))
        # A stream that lost its device must not wait for a measurement.
        asked = replace(request, trial=None) if started else request
        found, said = _on_cpu([name for name in there if _RUNTIMES[name].has_variants], asked)
        notices.extend(said)
        yield from found

    try:
        engine = FailoverEngine(candidates(), notices)
    except (EngineUnavailable, DeviceBusy) as error:
        raise type(error)("; ".join([str(error), *absent])) from error
    started.append(engine)
    why = "; ".join([*engine.notices, *absent]) or "it is installed and the first choice"
    _log.info("auto takes %s: %s", engine.name, why)
    return engine


def _on_cpu(backends: Sequence[str], request: _Request) -> tuple[list[Candidate], list[str]]:
    """The engines of some back-ends that may run on this CPU, the best first; and what is to be said of the choice."""
    return cpu_candidates(_cpu_request(backends, request), request.trial, request.store)


def _cpu_request(backends: Sequence[str], request: _Request) -> CpuRequest:
    return CpuRequest(
        files={name: (request.path,) if request.path else _shipped_for(name) for name in backends},
        shipped=DEFAULT_MODEL,
        start=partial(_start, request),
        plain=partial(_start, replace(request, early_exit=False)),
        precision=request.precision,
        threads=request.threads,
        throughput=request.throughput,
    )


def default_choices(trial: Trial, *, is_anew: bool = False) -> dict[str, Choice | None]:
    """What `auto` goes by on this CPU with the model that ships, by use; None where nothing was measured yet.

    Args:
        trial: as of `load_engine`.
        is_anew: measures now, and keeps what is found.
    """
    there = [name for name, runtime in _RUNTIMES.items() if runtime.has_variants and not _missing(runtime)]
    asked = {use: _Request(path=None, throughput=mode == THROUGHPUT, trial=trial) for mode, use in USES.items()}
    return {
        use: cpu_choice(_cpu_request(there, request), trial, request.store, is_anew=is_anew)
        for use, request in asked.items()
    }


def _shipped_for(backend: str) -> tuple[Path, ...]:
    """The files that ship for a back-end of a CPU: its own, and the float32 one that this was made from."""
    return tuple(dict.fromkeys((_RUNTIMES[backend].default, DEFAULT_MODEL)))


def load_runtime(
    file: ModelFile,
    backend: str,
    *,
    gpu: int = 0,
    threads: int | None = None,
    precision: str | None = None,
    heads_only: bool = False,
    throughput: bool = False,
    labels: bool = False,
) -> RuntimeEngine:
    """Starts a named back-end with a model that was read already; see `load_engine`.

    `precision` is for those that run a float model in several (`engines.selection.cpu.HINTS`), and for TensorRT; `gpu`
    for those that run on one.
    """
    runtime = _RUNTIMES[backend]
    if missing := _missing(runtime):
        raise EngineUnavailable(f"back-end {backend}: {missing}")
    module, _, engine = runtime.target.partition(":")
    make = getattr(importlib.import_module(module), engine)
    options: dict[str, Any] = {"heads_only": True} if heads_only else {}
    options |= {"labels": True} if labels and runtime.makes_labels and not heads_only else {}
    options |= {"precision": precision} if precision else {}
    options |= {"throughput": True} if throughput and runtime.has_throughput else {}
    options |= {"device": runtime.gpu(gpu)} if runtime.gpu else {}
    made: RuntimeEngine = make(file, threads=threads, **options, **runtime.options)
    return made


def _load(name: str, request: _Request) -> Engine:
    """A back-end of one variant, with the model named or the one that ships for it."""
    file = read_model_file(request.path or _RUNTIMES[name].default)
    engine = _start(request, name, file, request.precision if name == TENSORRT else None)
    try:
        if request.precision:
            check_precision(name, asked=request.precision, runs=engine.description.precision)
        _judge(engine, name, file, request)
    except BaseException as error:
        close_after(error, engine.close)
        raise
    return engine


def _start(request: _Request, name: str, file: ModelFile, hint: str | None) -> Engine:
    """A back-end with a model, in a precision that it may be asked for (None: its own)."""
    start = partial(load_runtime, file, name, gpu=_gpu(request), threads=request.threads, precision=hint)
    whole = start(throughput=request.throughput, labels=request.labels)
    if not request.early_exit:
        return whole
    try:
        heads = start(heads_only=True)
    except BaseException as error:
        close_after(error, whole.close)
        raise
    return EarlyExitEngine(whole, heads)


def _judge(engine: Engine, name: str, file: ModelFile, request: _Request) -> None:
    """Compares what a GPU computes in less than float32 with the float32 model, but for TensorRT's engines.

    Those were compared when they were built. Raises EngineUnavailable where it is wrong.
    """
    is_exact = engine.description.precision == file.spec.precision == "fp32"
    if request.trial is None or _RUNTIMES[name].gpu is None or name == TENSORRT or is_exact:
        return
    beside = None if request.path is None else request.path.parent
    model = file if file.spec.precision == "fp32" else float_model_of(file, beside=beside, shipped=DEFAULT_MODEL)
    if model is None:
        return
    reference = Reference(model.spec.sha256, partial(load_runtime, model, "openvino", precision="fp32"))
    if why := request.trial.judge(engine, reference, most_ms=math.inf).refusal:
        raise EngineUnavailable(
            f"{engine.name} departs from the float32 model on this GPU: {why}; take another back-end"
        )


def _gpu(request: _Request) -> int:
    return gpu_index(request.device or "cuda") or 0


def _runs_on(runtime: _Runtime, device: str | None) -> bool:
    return device is None or (device == CPU) == (runtime.gpu is None)


def _those_of(device: str | None) -> str:
    """Which back-ends run on a device, for people."""
    names = [name for name, runtime in _RUNTIMES.items() if _runs_on(runtime, device)]
    return f"on {device} run {', '.join(names)}"


def _load_remote(uri: str, backend: str, *, device: str | None, early_exit: bool) -> Engine:
    if device is not None:
        raise EngineUnavailable(f"{redact(uri)}: its server chooses the device, not --device {device}; leave it out")
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
