"""`partum build`: builds an engine for this machine, and accepts it only after comparison."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.deployment.acceptance import compare_engines, compare_heads, print_report
from calibration.deployment.quantization.frames import choose_frames
from calibration.deployment.trial_frames import demonstration_frames, read_frames
from calibration.errors import AcceptanceError
from engines.backends.openvino import OpenVinoEngine
from engines.errors import EngineMissing, EngineUnavailable, ModelMismatch, ModelNotFound
from engines.onnx.model_file import ModelFile, read_model_file
from engines.registry import AUTO, DEFAULT_MODEL, DEFAULT_SIGNED_MODEL, available_engines, default_model, load_runtime
from engines.runtime import check_precision
from engines.tensorrt.cache import EngineCache, EngineKey, StoredEngine, no_live_stream, rejection_reason
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from calibration.data.base import LabelledFrame
    from calibration.deployment.acceptance import AcceptanceReport
    from engines.base import Engine
    from engines.runtime import RuntimeEngine
    from engines.tensorrt.runtime import TensorRt

TENSORRT, OPENVINO = "tensorrt", "openvino"
TRIAL_FRAMES = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Options of `partum build`.

    Attributes:
        model: None takes the one that ships for the back-end.
        backend: `auto` is TensorRT where it is installed, else OpenVINO.
        precision: None takes int8 for an int8 model, fp16 for TensorRT, else what the back-end runs. Where no model is
            named, the one that ships in that precision is taken; int8 under TensorRT takes the signed one.
        batch: least, usual and greatest batch size.
        device: index of a GPU, or a compute capability (`sm89`) to build for from afar.
        reference: the float32 model that an int8 one was made from, where it does not lie beside it.
        data: data sets to try the engine on; none takes the demonstration clip.
        early_exit: builds the engine without a decoder too.
        rebuild: builds even where such an engine is there.
        force: lets a refused engine run, marked.
    """

    model: Path | None = None
    backend: str = AUTO
    precision: str | None = None
    batch: tuple[int, int, int] = (1, 1, 1)
    device: str = "0"
    reference: Path | None = None
    data: Sequence[Path] = ()
    early_exit: bool = False
    rebuild: bool = False
    force: bool = False


def run_build(request: BuildRequest, *, cache: EngineCache | None = None) -> AcceptanceReport | None:
    """Builds what the request says, tries it, and keeps it; returns the acceptance report, None if built from afar.

    Raises:
        OptionError: the request contradicts itself.
        BuildError: TensorRT cannot build it, or a live stream runs.
        EngineUnavailable: the back-end cannot run here.
        AcceptanceError: the engine is refused, and `force` was not given.
    """
    console = Console(stderr=True)
    backend = request.backend
    if backend == AUTO:
        backend = TENSORRT if available_engines()[TENSORRT] is None else OPENVINO
        console.print(f"back-end: {backend}")
    model = read_model_file(request.model or _shipped_model(backend, request.precision))
    if backend != TENSORRT:
        return _try_compiled(request, backend, model, console)
    return _build_tensorrt(request, model, cache or EngineCache(), console)


def _try_compiled(request: BuildRequest, backend: str, model: ModelFile, console: Console) -> AcceptanceReport:
    """These back-ends compile when they load, in well under a second: nothing is kept, but they too are tried."""
    _check_compiled(request, backend)
    stored = model.spec.precision
    if request.precision not in (None, stored) and not (
        backend == OPENVINO and (stored, request.precision) == ("fp32", "bf16")
    ):
        raise OptionError(
            f"--precision {request.precision}: {backend} runs a model in the precision of its file, {stored};"
            f" {'name the float32 model' if stored == 'int8' else 'for int8 make one with partum quantize'}"
        )
    with _compiled(request, backend, model) as engine:
        if request.precision:
            check_precision(engine.name, asked=request.precision, runs=engine.description.precision)
        report = _judged(engine, _float_model(request, model), request, precision=engine.description.precision)
    print_report(report, console)
    if not report.accepted and not request.force:
        raise AcceptanceError(f"{engine.name}: {'; '.join(report.refusals)}")
    return report


def _check_compiled(request: BuildRequest, backend: str) -> None:
    """Raises OptionError for what only TensorRT's builds have: an option must not be passed over in silence."""
    usual = BuildRequest()
    for option, name in (("--batch", "batch"), ("--device", "device"), ("--early-exit", "early_exit")):
        if getattr(request, name) != getattr(usual, name):
            raise OptionError(f"{option} is for --backend tensorrt; {backend} compiles when it loads: leave it out")


def _compiled(request: BuildRequest, backend: str, model: ModelFile) -> RuntimeEngine:
    """The engine on trial, in the precision asked for; whether it runs in that is asked of the engine itself."""
    if backend == OPENVINO and model.spec.precision == "fp32" and request.precision in ("fp32", "bf16"):
        return OpenVinoEngine(model, precision=request.precision)  # type: ignore[arg-type]  # narrowed above
    return load_runtime(model, backend)


def _build_tensorrt(
    request: BuildRequest, model: ModelFile, cache: EngineCache, console: Console
) -> AcceptanceReport | None:
    from engines.tensorrt.engine import HEADS_ONLY, TensorRtEngine, engine_key
    from engines.tensorrt.runtime import load_tensorrt

    tensorrt = load_tensorrt()
    precision = _precision(request, model)
    device = _device(request, tensorrt)
    stored: list[StoredEngine] = []
    with no_live_stream(cache.folder):
        for flags in ((), HEADS_ONLY) if request.early_exit else ((),):
            key = engine_key(model, tensorrt, device, batch=request.batch, precision=precision, flags=flags)
            stored.append(_built(request, key, model, tensorrt, cache, console))
    if not device.driver:
        console.print(f"built from afar for {device}: not tried; run partum build on such a machine to let it in")
        return None
    trial = _trial(request)
    with (
        OpenVinoEngine(_float_model(request, model), precision="fp32") as reference,
        TensorRtEngine(model, device=int(request.device), stored=stored[0]) as engine,
    ):
        report = compare_engines(engine, reference, trial, precision=precision)
        for each in stored[1:]:
            with TensorRtEngine(model, device=int(request.device), stored=each) as heads:
                report = compare_heads(report, heads, reference, trial)
    print_report(report, console)
    for each in stored:
        cache.set_report(each, report.as_json(), forced=request.force)
    if not report.accepted and not request.force:
        raise AcceptanceError(f"{report.engine}: {'; '.join(report.refusals)}; --force runs it all the same, marked")
    return report


def _shipped_model(backend: str, precision: str | None) -> Path:
    """The file that ships for a back-end and a precision."""
    if backend == TENSORRT:
        return DEFAULT_SIGNED_MODEL if precision == "int8" else DEFAULT_MODEL
    return default_model(backend) if precision in (None, "int8") else DEFAULT_MODEL


def _precision(request: BuildRequest, model: ModelFile) -> str:
    """The precision to build in; an int8 model has its own."""
    stored = model.spec.precision
    if stored == "int8":
        if request.precision not in (None, "int8"):
            raise OptionError(f"--precision {request.precision}: {model.spec.name} is int8; name the float32 model")
        return "int8"
    if request.precision == "int8":
        raise OptionError("--precision int8 takes an int8 model: make one with partum quantize, then build that")
    return request.precision or "fp16"


def _device(request: BuildRequest, tensorrt: TensorRt) -> Any:
    """The GPU that is there, or, for TensorRT-RTX, a bare compute capability."""
    from engines.tensorrt.cuda import CudaRuntime, DeviceFacts

    if match := re.fullmatch(r"sm(\d+)(\d)", request.device):
        return _Afar(request.device, (int(match[1]), int(match[2])))
    if not request.device.isdigit():
        raise OptionError(f"--device {request.device}: give a GPU's number, or a compute capability such as sm89")
    try:
        found: DeviceFacts = CudaRuntime().device(int(request.device))
    except EngineUnavailable as error:
        afar = "; --device sm89 builds from afar for such GPUs" if tensorrt.name == "tensorrt_rtx" else ""
        raise EngineUnavailable(f"{error}{afar}") from error
    return found


@dataclass(frozen=True, slots=True)
class _Afar:
    """A GPU that is not here: its capability is all that is known."""

    name: str
    compute_capability: tuple[int, int]
    driver: str = ""

    def __str__(self) -> str:
        return self.name


def _built(
    request: BuildRequest,
    key: EngineKey,
    model: ModelFile,
    tensorrt: TensorRt,
    cache: EngineCache,
    console: Console,
) -> StoredEngine:
    """The engine of that key: from the cache, or built now."""
    from engines.tensorrt.build import BuildOptions, build_engine

    name = model.spec.name
    if not request.rebuild:
        try:
            found = cache.find(key, name)
        except EngineMissing as error:
            console.print(f"building: {error}")
        else:
            console.print(f"built already: {found.path}{f' ({why})' if (why := rejection_reason(found.facts)) else ''}")
            return found
    options = BuildOptions(batch=key.batch, capability="" if key.driver else key.device)
    content = _in_precision(model, key)
    timing = cache.folder / f"timing-{key.runtime}-{key.runtime_version}-{key.device.replace(' ', '_')}.cache"
    began = time.monotonic()
    with _reporting(cache, key) as report:
        built = build_engine(
            content,
            model.spec,
            options,
            precision=key.precision,
            tensorrt=tensorrt,
            timing_cache=timing.read_bytes() if timing.is_file() else b"",
            report=report,
        )
    seconds = round(time.monotonic() - began, 2)
    path = cache.store(key, name, built.content, build_s=seconds)
    if built.timing_cache:
        cache.keep(timing, built.timing_cache)
    console.print(f"built in {seconds:.1f} s: {path} ({len(built.content) / 1e6:.1f} MB)")
    return cache.find(key, name)


def _in_precision(model: ModelFile, key: EngineKey) -> bytes:
    """The graph to build from: folded, in the key's precision, without a decoder where its flags say so."""
    from engines.onnx.folding import fold_graph
    from engines.onnx.heads_only import heads_only
    from engines.onnx.precision import to_precision
    from engines.tensorrt.engine import HEADS_ONLY

    if key.precision in ("fp16", "bf16"):
        content = to_precision(model.content, key.precision)  # type: ignore[arg-type]
    else:
        content = fold_graph(model.content)
    return heads_only(content) if key.flags == HEADS_ONLY else content


@contextmanager
def _reporting(cache: EngineCache, key: EngineKey) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the phase, the time so far, and what such builds took before: it must never look like a hang."""
    before = [
        float(facts["build_s"])
        for _, facts in cache.entries()
        if facts.get("build_s") and facts["key"]["runtime"] == key.runtime
    ]
    usual = f"at most {max(before):.0f} s so far" if before else "a first build may take minutes"
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn(usual))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda phase, step, steps: progress.update(task, description=phase, completed=step, total=steps or None)


def _float_model(request: BuildRequest, model: ModelFile) -> ModelFile:
    """The float32 model that an engine is compared with: the model itself, or the one an int8 model was made from.

    Raises:
        OptionError: that one is neither beside it nor the one that ships.
    """
    if model.spec.precision == "fp32":
        return model
    if request.reference:
        found = read_model_file(request.reference)
        if found.spec.sha256 != model.spec.made_from:
            raise OptionError(
                f"--reference {request.reference}: sha256 {found.spec.sha256[:12]}..., and {model.spec.name} was made"
                f" from {model.spec.made_from[:12]}..."
            )
        return found
    beside = [] if request.model is None else sorted(request.model.parent.glob("*.onnx"))
    for path in (DEFAULT_MODEL, *beside):
        with suppress(ModelMismatch, ModelNotFound):  # somebody else's, or another version's
            found = read_model_file(path)
            if found.spec.sha256 == model.spec.made_from:
                return found
    raise OptionError(
        f"{request.model}: the float32 model it was made from (sha256 {model.spec.made_from[:12]}...) is not beside it;"
        " name it with --reference"
    )


def _judged(engine: Engine, model: ModelFile, request: BuildRequest, *, precision: str) -> AcceptanceReport:
    with OpenVinoEngine(model, precision="fp32") as reference:
        return compare_engines(engine, reference, _trial(request), precision=precision)


def _trial(request: BuildRequest) -> list[LabelledFrame]:
    frames = read_frames(request.data) if request.data else demonstration_frames()
    return choose_frames(frames, TRIAL_FRAMES)
