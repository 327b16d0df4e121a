"""Accepts an engine in degrees, then times it: the network, a frame to its labels, batches, streams."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments.gpu.frames import screen_frame, trial_frames
from calibration.deployment.acceptance import compare_engines
from engines.backends.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineUnavailable
from engines.onnx.model_file import ModelFile, read_model_file
from engines.preprocess import Letterbox
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, load_runtime
from engines.sharing import SharedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from benchmarks.experiments.gpu.steps import Report
    from engines.base import Engine

    LoadEngine = Callable[[bool], Engine]
    """Given whether it is to answer labels."""

BATCHES, STREAMS = (1, 4, 16, 64), (1, 4, 16, 64)
CALLS, WARM_UP_CALLS = 300, 20
SECONDS = 1.0
"""How long each batch size, and each number of streams, runs."""
OVERLAPPED = 16
"""Batches of one call, which run two at a time."""


def measure_backend(report: Report, backend: str, precision: str) -> None:
    """An engine of torch or ONNX Runtime; on a CPU in a rehearsal."""
    model = read_model_file(DEFAULT_MODEL)
    if precision == "fp16" and backend.startswith("onnxruntime"):
        from engines.onnx.precision import to_precision

        model = ModelFile(replace(model.spec, precision="fp16"), to_precision(model.content, "fp16"))

    def load(labels: bool) -> Engine:
        if not report.rehearsal:
            return load_runtime(model, backend, labels=labels)
        if backend == "torch-cuda":
            from engines.backends.torch import TorchEngine

            return TorchEngine(model, labels=labels)
        return OnnxRuntimeEngine(model, labels=labels)

    measure_engine(report, load)


def measure_tensorrt(report: Report, precision: str) -> None:
    """Builds an engine, and measures it with CUDA graphs and without.

    Raises:
        EngineUnavailable: this GPU does not run the precision.
    """
    from engines.tensorrt.build import BuildOptions, build_engine
    from engines.tensorrt.cache import EngineCache
    from engines.tensorrt.cuda import CudaRuntime
    from engines.tensorrt.engine import TensorRtEngine, engine_key
    from engines.tensorrt.graph import graph_for, possible_precisions
    from engines.tensorrt.runtime import load_tensorrt, unknown_gpu

    tensorrt, device = load_tensorrt(), CudaRuntime().device(0)
    if why := unknown_gpu(tensorrt, device.compute_capability, str(device)):
        raise EngineUnavailable(why)
    if precision not in (possible := possible_precisions(tensorrt.name, device.compute_capability)):
        raise EngineUnavailable(f"{device} runs {', '.join(possible)} under {tensorrt.name}, not {precision}")
    model = read_model_file(DEFAULT_INT8_MODEL if precision in ("int8", "fp8") else DEFAULT_MODEL)
    key = engine_key(model, tensorrt, device, batch=(BATCHES[0], BATCHES[-2], BATCHES[-1]), precision=precision)
    began = time.monotonic()
    graph = graph_for(model, key, device.compute_capability)
    options = BuildOptions(batch=key.batch)
    built = build_engine(graph, model.spec, options, precision=precision, tensorrt=tensorrt)
    report.put(
        tensorrt=f"{tensorrt.name} {tensorrt.version}",
        build_s=round(time.monotonic() - began, 2),
        engine_bytes=len(built.content),
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = EngineCache(Path(folder))
        cache.store(key, model.spec.name, built.content)
        stored = cache.find(key, model.spec.name)
        measure_engine(report, lambda labels: TensorRtEngine(model, stored=stored, labels=labels))
        with TensorRtEngine(model, stored=stored, labels=True, use_graph=False) as plain:
            report.put(no_cuda_graph={"latency_ms": latency_ms(lambda: plain.infer(_noise(plain, 1)), report)})


def measure_engine(report: Report, load: LoadEngine) -> None:
    """All of it, in order of worth; each number is on disk before the next is taken."""
    frames = trial_frames(30 if report.rehearsal else 40)
    with load(False) as engine:
        report.put(engine=engine.name, model=engine.spec.name)
        with OnnxRuntimeEngine(read_model_file(DEFAULT_MODEL)) as reference:
            precision = engine.description.precision
            report.put(precision=precision, operations_per_frame=_operations())
            accepted = compare_engines(engine, reference, frames, precision=precision)
        report.put(acceptance=accepted.as_json())
        images = _fitted(engine, frames)
        expected = [engine.infer(image[None]) for image in images[:16]]
    with load(True) as engine:
        report.put(labels=_agreement(engine, images, expected))
        one = _noise(engine, 1)
        report.put(latency_ms=latency_ms(lambda: engine.infer(one), report))
        report.put(frame_to_labels_ms=latency_ms(_frame_to_labels(engine), report))
        _put_rates(report, engine)
        _put_streams(report, engine)


def _operations() -> int | None:
    """Of one frame, two for each multiply-accumulate; None where onnx is not installed."""
    try:
        from engines.onnx.cost import cost_of
    except ImportError:
        return None
    return cost_of(DEFAULT_MODEL.read_bytes()).operations


def _agreement(engine: Engine, images: NDArray[np.uint8], expected: Sequence[Any]) -> dict[str, Any]:
    """Labels of the graph beside those of the host, alone and in a batch: shares of pixels, and logits."""
    from engines.postprocess import class_labels

    spec = engine.spec
    host = np.stack([class_labels(each.class_logits[0], spec.height, spec.width) for each in expected])
    alone = [engine.infer(image[None]) for image in images[: len(expected)]]
    together = engine.infer(np.ascontiguousarray(images[: len(expected)]))
    own = np.concatenate([each.arrays["labels"] for each in alone])
    logits = np.concatenate([each.plane_logit for each in alone])
    return {
        "pixels_unlike_the_host": float(np.mean(own != host)),
        "pixels_unlike_in_a_batch": float(np.mean(own != together.arrays["labels"])),
        "plane_logit_unlike_in_a_batch": float(np.abs(logits - together.plane_logit).max()),
    }


def _fitted(engine: Engine, frames: Sequence[Any]) -> NDArray[np.uint8]:
    """(N, 1, H, W): the frames as the network is given them."""
    spec, fitted = engine.spec, []
    for frame in frames:
        height, width = frame.image.shape
        box = Letterbox(image_height=height, image_width=width, height=spec.height, width=spec.width)
        fitted.append(box.apply(frame.image))
    return np.stack(fitted)[:, None]


def _noise(engine: Engine, count: int) -> NDArray[np.uint8]:
    shape = (count, 1, engine.spec.height, engine.spec.width)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _frame_to_labels(engine: Engine) -> Callable[[], object]:
    """From a 1920 x 1080 frame in the host's memory to its labels there."""
    frame = screen_frame()
    height, width = frame.shape
    spec = engine.spec
    box = Letterbox(image_height=height, image_width=width, height=spec.height, width=spec.width)
    return lambda: engine.infer(box.apply(frame)[None, None]).labels


def latency_ms(run: Callable[[], object], report: Report) -> dict[str, float]:
    """Wall time of one call, ms."""
    calls = 10 if report.rehearsal else CALLS
    times = []
    for call in range(-min(calls, WARM_UP_CALLS), calls):
        start = time.perf_counter_ns()
        run()
        if call >= 0:
            times.append((time.perf_counter_ns() - start) / 1e6)
    return {f"p{share:g}": round(float(np.percentile(times, share)), 4) for share in (50, 90, 99)}


def _put_rates(report: Report, engine: Engine) -> None:
    """Frames a second by batch, beside what the device alone needs; then many batches a call, two at a time."""
    device_ms: dict[str, float] = {}
    rates: dict[str, float] = {}
    batches = BATCHES[:2] if report.rehearsal else BATCHES
    timer = getattr(engine, "device_ms", None)
    for batch in batches:
        given = _noise(engine, batch)
        rates[str(batch)] = _rate(partial(_run, engine, given), report)
        if timer is not None and not report.rehearsal:
            device_ms[str(batch)] = round(timer(batch), 5)
        report.put(frames_per_second=rates, device_ms=device_ms)
    largest = batches[-1]
    given = _noise(engine, (2 if report.rehearsal else OVERLAPPED) * largest)
    overlapped = _rate(partial(_run, engine, given), report)
    found: dict[str, Any] = {"batch": largest, "frames_per_second": overlapped}
    if alone_ms := device_ms.get(str(largest)):
        found["engine_alone_fps"] = round(1e3 * largest / alone_ms, 1)
        found["share_of_engine_alone"] = round(overlapped / found["engine_alone_fps"], 4)
    report.put(overlapped=found)


def _run(engine: Engine, images: NDArray[np.uint8]) -> int:
    """Runs them; returns how many answers came."""
    return len(engine.infer(images).plane_logit)


def _rate(run: Callable[[], int], report: Report) -> float:
    """Frames a second, of a function that says how many it ran."""
    run()
    seconds = 0.05 if report.rehearsal else SECONDS
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += run()
    return round(done / (time.perf_counter() - began), 1)


def _put_streams(report: Report, engine: Engine) -> None:
    """Frames a second over streams that share the engine; each fits its own 1920 x 1080 frames into the network."""
    found: dict[str, float] = {}
    with SharedEngine(engine) as shared:
        for streams in STREAMS[:2] if report.rehearsal else STREAMS:
            found[str(streams)] = _streams_rate(shared, streams, 0.1 if report.rehearsal else 2 * SECONDS)
            report.put(streams_fps=found)


def _streams_rate(shared: SharedEngine, streams: int, seconds: float) -> float:
    counts = [0] * streams
    until = time.perf_counter() + seconds
    errors: list[Exception] = []

    def work(place: int) -> None:
        run = _frame_to_labels(shared.share())
        try:
            while time.perf_counter() < until:
                run()
                counts[place] += 1
        except Exception as error:  # noqa: BLE001 - a thread's boundary: raised again below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return round(sum(counts) / (time.perf_counter() - began), 1)
