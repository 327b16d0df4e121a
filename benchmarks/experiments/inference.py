"""`partum bench model`: how fast each engine is on this machine, after it has proved that it says the same.

Latency is the wall time of one frame through an engine that is warm, all engines in turn by blocks, so that what else
the machine does hits them alike. An engine that departs from the float32 reference by more than is allowed is not
timed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.experiments.roofline import measure_peaks, roofline
from benchmarks.reporting.environment import describe_machine, others_busy
from benchmarks.reporting.report import BUSY, draw_engines, model_table, write_report
from calibration.deployment.acceptance import compare_engines
from calibration.deployment.quantization.frames import choose_frames
from calibration.deployment.trial_frames import as_network_input, demonstration_frames, read_frames
from engines.backends.openvino import OpenVinoEngine
from engines.errors import EngineError
from engines.onnx.model_file import read_model_file
from engines.registry import AUTO, BACKENDS, DEFAULT_MODEL, default_model, load_engine
from stream.inference.engine_trial import EngineTrial
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from engines.base import Engine

SCHEMA = "partum.bench.model/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """Options of `partum bench model`.

    Attributes:
        model: None takes the ones that ship, each back-end's own.
        backends: none takes all that can run here.
        device: `cpu`, or a GPU; None takes all back-ends, those of GPUs on the first one.
        data: data sets for the agreement; none takes the demonstration clip.
        batches: batch sizes of the throughput.
        threads: of each engine; None takes what is there.
        repeats, count: blocks, and calls in each.
    """

    model: Path | None = None
    backends: Sequence[str] = ()
    device: str | None = None
    data: Sequence[Path] = ()
    batches: Sequence[int] = (1, 4, 16)
    threads: int | None = None
    repeats: int = 7
    count: int = 20


def bench_model(options: BenchOptions, *, out: Path | None = None) -> dict[str, Any]:
    """Measures, prints a table, and writes strict JSON where `out` is given.

    Raises:
        EngineError: a back-end named by the user cannot run here; others are left out with the reason.
    """
    console = Console(stderr=True)
    model_file = read_model_file(options.model or DEFAULT_MODEL)
    busy = others_busy()
    frames = read_frames(options.data) if options.data else demonstration_frames()
    frames = choose_frames(frames, 60)
    engines, models, left_out = _engines(options)
    try:
        rows: dict[str, dict[str, Any]] = {}
        with OpenVinoEngine(model_file, precision="fp32") as reference:
            for label, engine in engines.items():
                console.print(f"agreement of {label}")
                report = compare_engines(engine, reference, frames, precision=engine.description.precision)
                rows[label] = {"engine": engine.name, "agreement": report.as_json()}
        timed = {label: engine for label, engine in engines.items() if rows[label]["agreement"]["accepted"]}
        images = as_network_input(frames, next(iter(engines.values())).spec)
        for label, latency in _latencies(timed, images, options).items():
            rows[label]["latency_ms"] = latency
        peaks = measure_peaks(threads=options.threads)
        for label, model in models.items():
            if label in timed:
                spent_ms, precision = rows[label]["latency_ms"]["p50"], timed[label].description.precision
                rows[label]["roofline"] = roofline(model.read_bytes(), precision, spent_ms, peaks)
        for label, engine in timed.items():
            rows[label]["frames_per_second"] = {
                str(batch): _throughput(engine, images, batch) for batch in options.batches
            }
    finally:
        for engine in engines.values():
            engine.close()
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "machine": describe_machine(),
        "others_busy": busy,
        "busy": busy is not None and busy > BUSY,
        "left_out": left_out,
        "engines": rows,
    }
    if out:
        write_report(out, content, model_table(content))
        draw_engines(content, out.with_suffix(".png"))
    _print(content, console)
    return content


def _engines(options: BenchOptions) -> tuple[dict[str, Engine], dict[str, Path], dict[str, str]]:
    """The engines by label, the model each runs, why others are not among them; OpenVINO also runs the float model."""
    found: dict[str, Engine] = {}
    models_of: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for backend in options.backends or [name for name in BACKENDS if name != AUTO]:
        models = [options.model or default_model(backend)]
        if options.model is None and models[0] != DEFAULT_MODEL:
            models.append(DEFAULT_MODEL)
        errors: list[EngineError] = []
        for model in models:
            try:
                engine = _load(model, backend, options)
            except EngineError as error:  # an INT8 model may be wrong on this CPU where the float one is not
                errors.append(error)
                continue
            found[engine.name] = engine
            models_of[engine.name] = Path(model)
        if errors:
            left_out[backend] = "; ".join(dict.fromkeys(map(str, errors)))
        if options.backends and len(errors) == len(models):
            raise errors[0]
    if not found:
        raise EngineError(f"no engine can run here: {'; '.join(left_out.values())}")
    return found, models_of, left_out


def _load(model: Path, backend: str, options: BenchOptions) -> Engine:
    """An INT8 model is judged on this CPU first, as `partum stream` judges it."""
    trial = EngineTrial() if read_model_file(model).spec.precision == "int8" else None
    return load_engine(model, backend, device=options.device, threads=options.threads, trial=trial)


def _latencies(
    engines: Mapping[str, Engine], images: NDArray[np.uint8], options: BenchOptions
) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {label: [] for label in engines}
    for block in range(options.repeats):
        for label, engine in engines.items():
            time.sleep(0.2)  # threads of the runtime before go on spinning for a while
            for call in range(-3, options.count):
                image = images[(block * options.count + call) % len(images)][None]
                start = time.perf_counter_ns()
                engine.infer(image)
                if call >= 0:
                    times[label].append((time.perf_counter_ns() - start) / 1e6)
    return {
        label: {
            **{f"p{share}": round(float(np.percentile(found, share)), 3) for share in (50, 90, 99)},
            "least": round(min(found), 3),
            "n": len(found),
        }
        for label, found in times.items()
    }


def _throughput(engine: Engine, images: NDArray[np.uint8], batch: int, *, seconds: float = 1.0) -> float:
    """Frames per second, batch after batch for about a second."""
    given = np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:])))
    engine.infer(given)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        engine.infer(given)
        done += batch
    return round(done / (time.perf_counter() - start), 1)


def _of_limit(found: Mapping[str, Any] | None) -> str:
    return f"{found['share_of_limit']:.0%}, {found['limited_by']}" if found else "-"


def _print(content: Mapping[str, Any], console: Console) -> None:
    machine = content["machine"]
    table = Table(title=f"{machine['processor']}, {machine['cores']} cores", title_justify="left")
    for heading in ("engine", "p50", "p90", "p99 ms", "frames/s by batch", "delta AoP p95", "of its limit"):
        table.add_column(heading)
    for label, row in content["engines"].items():
        latency = row.get("latency_ms")
        delta = row["agreement"]["aop_delta_deg"][DEFAULT_PROTOCOL]
        table.add_row(
            label,
            *(f"{latency[name]:.2f}" if latency else "refused" for name in ("p50", "p90", "p99")),
            ", ".join(f"{batch}: {fps:.0f}" for batch, fps in row.get("frames_per_second", {}).items()),
            f"{delta['p95']:.2f} deg" if delta else "-",
            _of_limit(row.get("roofline")),
        )
    console.print(table)
    for backend, reason in content["left_out"].items():
        console.print(f"left out: {backend}: {reason}", markup=False)
    if content["busy"]:
        console.print("The machine was busy with other work: do not trust these numbers.")
