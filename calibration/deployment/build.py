"""`partum build`: builds an engine for this machine, and accepts it only after comparison."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from calibration.deployment.acceptance import compare_engines, print_report
from calibration.deployment.quantization.frames import choose_frames
from calibration.deployment.tensorrt_build import TensorRtBuilder, find_target
from calibration.deployment.trial_frames import demonstration_frames, read_frames
from calibration.errors import AcceptanceError
from engines.backends.openvino import OpenVinoEngine
from engines.errors import BuildError, EngineError, ModelMismatch, ModelNotFound
from engines.onnx.model_file import ModelFile, read_model_file
from engines.registry import AUTO, DEFAULT_INT8_MODEL, DEFAULT_MODEL, available_engines, default_model, load_runtime
from engines.runtime import check_precision
from engines.tensorrt.cache import EngineCache
from engines.tensorrt.graph import possible_precisions
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calibration.data.base import LabelledFrame
    from calibration.deployment.acceptance import AcceptanceReport
    from engines.base import Engine
    from engines.runtime import RuntimeEngine

TENSORRT, OPENVINO = "tensorrt", "openvino"
TRIAL_FRAMES = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Options of `partum build`.

    Attributes:
        model: None takes the one that ships for the back-end.
        backend: `auto` is TensorRT where it is installed, else OpenVINO.
        precision: None takes what the back-end runs; under TensorRT all that could be worth it, of which `auto` then
            takes the fastest. Where no model is named, the one that ships in that precision is taken.
        batch: least, usual and greatest batch size.
        device: a GPU, `cuda:1`, or a compute capability, `sm89`, to build for from afar.
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
    device: str = "cuda:0"
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
    """Every precision that is asked for, or could be worth it; a report of the one that `auto` then takes."""
    from engines.tensorrt.runtime import load_tensorrt

    tensorrt = load_tensorrt()
    target = find_target(request.device, tensorrt)
    builder = TensorRtBuilder(
        tensorrt,
        target,
        cache,
        console,
        batch=request.batch,
        early_exit=request.early_exit,
        rebuild=request.rebuild,
    )
    wanted = _precisions(request, model, possible_precisions(tensorrt.name, target.capability))
    reports: list[tuple[AcceptanceReport, float]] = []
    failures: list[str] = []
    for of_model, precision in wanted:
        try:
            stored = builder.build(of_model, precision)
            if target.index is None:
                continue
            report, latency_ms = builder.accept(of_model, stored, _float_model(request, of_model), _trial(request))
        except EngineError as error:  # what one precision fails at another may do
            if len(wanted) == 1:
                raise
            console.print(f"{precision}: {error}", markup=False)
            failures.append(str(error))
            continue
        print_report(report, console)
        console.print(f"one frame: {latency_ms:.2f} ms")
        builder.keep_report(stored, report, latency_ms, forced=request.force)
        reports.append((report, latency_ms))
    if target.index is None:
        if len(failures) == len(wanted):
            raise BuildError("; ".join(failures))
        console.print(f"built from afar for {target.device}: not tried; run partum build on such a machine")
        return None
    return _fastest(reports, failures, console, force=request.force)


def _fastest(
    reports: Sequence[tuple[AcceptanceReport, float]], failures: Sequence[str], console: Console, *, force: bool
) -> AcceptanceReport:
    """The report of the engine that `auto` takes.

    Raises:
        AcceptanceError: all are refused, and may not run all the same.
        BuildError: none could be tried.
    """
    usable = [(latency_ms, report) for report, latency_ms in reports if report.accepted or force]
    if usable:
        latency_ms, report = min(usable, key=lambda entry: entry[0])
        if len(usable) > 1:
            console.print(f"the fastest of {len(usable)}, which auto takes: {report.precision}, {latency_ms:.2f} ms")
        return report
    refused = [f"{report.engine}: {'; '.join(report.refusals)}" for report, _ in reports]
    if refused:
        raise AcceptanceError(f"{'; '.join([*refused, *failures])}; --force runs it all the same, marked")
    raise BuildError("; ".join(failures))


def _shipped_model(backend: str, precision: str | None) -> Path:
    """The file that ships for a back-end and a precision."""
    if backend == TENSORRT:
        return DEFAULT_INT8_MODEL if precision in ("int8", "fp8") else DEFAULT_MODEL
    return default_model(backend) if precision in (None, "int8") else DEFAULT_MODEL


def _precisions(request: BuildRequest, model: ModelFile, possible: Sequence[str]) -> list[tuple[ModelFile, str]]:
    """The precisions to build, each with the model that it is made of.

    None asked for: float16, and where there is a quantised form of the model, int8 and fp8: which of them is fastest on
    a GPU is only known by measuring.

    Raises:
        OptionError: the model, or the GPU, has not the one that is asked for.
    """
    asked, stored = request.precision, model.spec.precision
    eight = ("int8", "fp8")
    if asked is None:
        quantised = model if stored == "int8" else _quantised_model(request, model)
        found = [(model, "fp16")] if stored == "fp32" else []
        return found + [(quantised, each) for each in eight if quantised is not None and each in possible]
    if asked not in possible:
        raise OptionError(f"--precision {asked}: this GPU runs {', '.join(possible)}; take one of these")
    if stored == "int8" and asked not in eight:
        raise OptionError(f"--precision {asked}: {model.spec.name} is int8; name the float32 model")
    if stored != "int8" and asked in eight:
        raise OptionError(f"--precision {asked} takes an int8 model: make one with partum quantize, then build that")
    return [(model, asked)]


def _quantised_model(request: BuildRequest, model: ModelFile) -> ModelFile | None:
    """The int8 form of a float32 model that ships or lies beside it; None where there is none."""
    beside = [] if request.model is None else sorted(request.model.parent.glob("*.onnx"))
    for path in (DEFAULT_INT8_MODEL, *beside):
        with suppress(ModelMismatch, ModelNotFound):
            found = read_model_file(path)
            if found.spec.made_from == model.spec.sha256:
                return found
    return None


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
