"""`partum bench stream`: the whole pipeline, from a frame's arrival to its line in a file, as users run it.

Open loop at a rate, or as fast as possible. Everything is measured again in each of several repeats, so that two
results can be compared (`benchmarks.reporting.compare`).
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import tempfile
import threading
import time
from array import array
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rig.memory import peak_mb, resident_mb
from benchmarks.rig.schedule import LimitedSource, ScheduledSource
from benchmarks.rig.thread_times import thread_cpu_ms
from engines.base import Prediction
from engines.sharing import BorrowedEngine, SharedEngine
from stream.common.channel import Overflow
from stream.common.clock import MonotonicClock
from stream.common.opencv_threads import one_opencv_thread
from stream.inference.engine_trial import load_judged_engine
from stream.outputs.tables import JsonLinesTable
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.stages import Stage
from stream.preprocessing import FramePreprocessor, PreprocessingOptions
from stream.sources import open_source
from stream.sources.wrappers import LoopedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.sources.base import FrameSource

SHARES = (50.0, 90.0, 99.0, 99.9)
WARM_UP_FRAMES = 40
"""Left out of every repeat: caches, clocks and the sector are found in them."""
MOST_WAITING = 12
"""Frames that wait between a pipeline's threads at most: the first of them ends so many before the last."""
LEAST_MS = 0.02
MOST_DROPPED = 0.001
"""Share of frames that a feed which is carried may lose."""
OUT_OF_STEP = 7.618
"""Periods by which each feed begins after the one before: scanners do not take their pictures at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Options of a stream benchmark.

    Attributes:
        source: a recording, played again and again.
        rate_hz: of arrivals; None as fast as possible.
        streams: so many beside each other, with one engine.
        frames: of each stream in a repeat, warm-up included.
        deadline_ms: by which a result is in time; None takes a period.
        stall_ms, stall_every: the engine stops for so long at every n-th frame: to try the benchmark itself.
        live: look at pictures as at a live feed's: repeated, frozen ones are not measured.
    """

    source: str
    rate_hz: float | None = 30.0
    streams: int = 1
    frames: int = 600
    repeats: int = 5
    backend: str = "auto"
    device: str | None = None
    precision: str | None = None
    model: str | None = None
    deadline_ms: float | None = None
    stall_ms: float = 0.0
    stall_every: int = 100
    live: bool = False

    @property
    def due_ms(self) -> float | None:
        """The deadline."""
        return self.deadline_ms or (1e3 / self.rate_hz if self.rate_hz else None)


def stalling_engine(engine: Engine, *, stall_ms: float, every: int) -> Engine:
    """An engine that stops for a while at every n-th frame."""
    calls = itertools.count(1)

    def infer(images: NDArray[np.uint8]) -> Prediction:
        if next(calls) % every == 0:
            time.sleep(stall_ms / 1e3)
        return engine.infer(images)

    return BorrowedEngine(engine, infer)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StreamResult:
    """Times and counts of one stream in one repeat."""

    latency_ms: NDArray[np.float64]
    stage_ms: dict[Stage, array[float]]
    done_s: NDArray[np.float64]
    states: dict[str, int]
    lags_ms: list[float]
    first_result_ms: float
    cpu_ms_per_frame: float
    cpu_ms_by_thread: dict[str, float]
    resident_mb: list[float | None]


def bench_stream(options: StreamOptions) -> dict[str, Any]:
    """Runs all repeats; see the module's words for what is in the result."""
    began = time.perf_counter()
    engine = _engine_for(options)
    load_ms = (time.perf_counter() - began) * 1e3
    with ExitStack() as stack:
        stack.callback(engine.close)
        stack.enter_context(one_opencv_thread())  # as a session does
        if options.stall_ms:
            engine = stalling_engine(engine, stall_ms=options.stall_ms, every=options.stall_every)
        one_repeat(options, engine, frames=2 * WARM_UP_FRAMES)
        gc.freeze()  # as a session does
        repeats: list[dict[str, Any]] = []
        samples: list[NDArray[np.float64]] = []
        stages: dict[Stage, list[float]] = {stage: [] for stage in Stage}
        first_rss, first_result_ms = resident_mb(), 0.0
        for _ in range(options.repeats):
            repeat, taken = one_repeat(options, engine, frames=options.frames)
            repeats.append(repeat)
            first_result_ms = first_result_ms or taken[0].first_result_ms
            samples += [each.latency_ms for each in taken]
            for each in taken:
                for stage, spent in each.stage_ms.items():
                    stages[stage] += spent
        without_network = _without_network(options, engine)
        name = engine.name
    latency = np.concatenate(samples)
    return {
        "options": asdict(options),
        "engine": name,
        "frames_measured": len(latency),
        "latency_ms": percentiles(latency) if options.rate_hz else None,
        "histogram": log_histogram(latency),
        "stage_ms": {str(stage): percentiles(np.array(spent)) for stage, spent in stages.items() if spent},
        "frames_per_second": median_of(repeats, "frames_per_second"),
        "cpu_ms_per_frame": median_of(repeats, "cpu_ms_per_frame"),
        "cpu_ms_per_frame_without_network": without_network,
        "cpu_ms_by_thread": _by_thread(repeats),
        "cold_start_ms": {"load_engine": round(load_ms, 1), "first_result": round(first_result_ms, 1)},
        "resident_mb": {"before": first_rss, "after": resident_mb(), "peak": peak_mb()},
        "repeats": repeats,
    }


def _engine_for(options: StreamOptions) -> Engine:
    """An engine as a session loads it: for throughput of a recording and of several feeds, for latency of one feed."""
    return load_judged_engine(
        options.model,
        options.backend,
        device=options.device,
        precision=options.precision,
        throughput=options.rate_hz is None or options.streams > 1,
        labels=True,
    )


def one_repeat(options: StreamOptions, engine: Engine, *, frames: int) -> tuple[dict[str, Any], list[StreamResult]]:
    """All streams once, side by side."""
    results: list[StreamResult | BaseException] = []
    with ExitStack() as stack:
        engines: Sequence[Engine] = [BorrowedEngine(engine)]
        if options.streams > 1:
            shared = stack.enter_context(SharedEngine(BorrowedEngine(engine)))
            engines = [shared.share() for _ in range(options.streams)]
        threads = [
            threading.Thread(target=_collect, args=(options, each, frames, number, results), name="partum-bench")
            for number, each in enumerate(engines)
        ]
        began_s = time.perf_counter()
        started_ns = time.time_ns()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.perf_counter() - began_s
    taken = [each for each in results if isinstance(each, StreamResult)]
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return _summary(options, taken, took_s=took_s) | {"started_unix_s": round(started_ns / 1e9, 1)}, taken


def _collect(
    options: StreamOptions, engine: Engine, frames: int, number: int, results: list[StreamResult | BaseException]
) -> None:
    try:
        results.append(_take(options, engine, frames, number=number))
    except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by the repeat
        results.append(error)


def _take(options: StreamOptions, engine: Engine, frames: int, *, number: int) -> StreamResult:
    """One stream, the `number`-th of those side by side, through the pipeline into a file."""
    clock = MonotonicClock()
    preprocessor = FramePreprocessor(PreprocessingOptions(), is_live=options.live)
    with open_source(options.source, clock=clock) as beginning:
        preprocessor.look_ahead(beginning)
    looped = LoopedSource(lambda: open_source(options.source, clock=clock))
    source: FrameSource
    if options.rate_hz:
        delay_s = number * OUT_OF_STEP / options.rate_hz
        source = ScheduledSource(looped, rate_hz=options.rate_hz, count=frames, clock=clock, delay_s=delay_s)
    else:
        source = LimitedSource(looped, count=frames)
    overflow = Overflow.DROP_OLDEST if options.rate_hz else Overflow.BLOCK
    latency_ms, done_s = array("d"), array("d")  # eight bytes a number, so that a long run shows the program's memory
    stage_ms = {stage: array("d") for stage in Stage}
    resident: list[float | None] = []
    states = {str(state): 0 for state in FrameState}
    began_ns, first_ms = clock.now_ns(), 0.0
    warm_up, cpu_s = min(WARM_UP_FRAMES, frames // 2), 0.0
    all_run = warm_up, frames - 1 - MOST_WAITING  # of these frames every thread is there
    threads_ms = [thread_cpu_ms(), thread_cpu_ms()]
    with (
        tempfile.TemporaryDirectory() as folder,
        Pipeline(source, engine, overflow=overflow, preprocessor=preprocessor, clock=clock) as pipeline,
    ):
        lines = JsonLinesTable(Path(folder) / "measurements.jsonl")
        for measurement in pipeline:
            lines.write(measurement)
            now_ns = clock.now_ns()
            first_ms = first_ms or (now_ns - began_ns) / 1e6
            if measurement.frame.index in all_run:
                threads_ms = [threads_ms[1], thread_cpu_ms()]
            if measurement.frame.index < warm_up:
                cpu_s = time.process_time()
                continue
            if measurement.frame.index % max(1, frames // 10) == 0:
                resident.append(resident_mb())
            states[str(measurement.state)] += 1
            if measurement.state is FrameState.DROPPED:
                continue
            latency_ms.append((now_ns - measurement.frame.captured_ns) / 1e6)
            done_s.append(now_ns / 1e9)
            for stage, spent in measurement.stage_ms.items():
                stage_ms[stage].append(spent)
        lines.close()
    return StreamResult(
        latency_ms=np.array(latency_ms),
        stage_ms=stage_ms,
        done_s=np.array(done_s),
        states=states,
        lags_ms=source.lags_ms if isinstance(source, ScheduledSource) else [],
        first_result_ms=first_ms,
        resident_mb=resident,
        cpu_ms_per_frame=(time.process_time() - cpu_s) * 1e3 / (frames - warm_up),
        cpu_ms_by_thread={
            name: round((spent - threads_ms[0][name]) / max(1, all_run[1] - all_run[0]), 3)
            for name, spent in threads_ms[1].items()
        },
    )


def _summary(options: StreamOptions, taken: Sequence[StreamResult], *, took_s: float) -> dict[str, Any]:
    latency = np.concatenate([each.latency_ms for each in taken])
    states = {name: sum(each.states[name] for each in taken) for name in taken[0].states}
    counted = sum(states.values())
    lags = [lag for each in taken for lag in each.lags_ms]
    spans_s = [float(each.done_s[-1] - each.done_s[0]) for each in taken if len(each.done_s) > 1]
    rates = [(len(each.done_s) - 1) / span for each, span in zip(taken, spans_s, strict=False) if span]
    # How old what is shown gets before the next result takes its place.
    ages = np.concatenate([np.diff(each.done_s) * 1e3 + each.latency_ms[:-1] for each in taken])
    found: dict[str, Any] = {
        "frames_per_second": round(sum(rates), 2),
        "states": states,
        "dropped_share": round(states["dropped"] / counted, 5) if counted else None,
        # Of the whole process, so that of several streams each has seen the CPU time of all.
        "cpu_ms_per_frame": round(max(each.cpu_ms_per_frame for each in taken) / len(taken), 3),
        "cpu_ms_by_thread": taken[0].cpu_ms_by_thread if len(taken) == 1 else None,
        "resident_mb_by_tenths": taken[0].resident_mb,
        "took_s": round(took_s, 2),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if options.rate_hz and len(latency):
        assert options.due_ms is not None
        in_time = int((latency <= options.due_ms).sum())
        found |= {
            "latency_ms": percentiles(latency),
            "age_before_next_ms": percentiles(ages),
            "in_time_share": round(in_time / counted, 5),  # a dropped frame is never in time
            "first_half_p50_ms": round(float(np.median(latency[: len(latency) // 2])), 3),
            "second_half_p50_ms": round(float(np.median(latency[len(latency) // 2 :])), 3),
            "pacer_lag_p99_ms": round(float(np.percentile(lags, 99)), 3) if lags else None,
        }
    return found


def _without_network(options: StreamOptions, engine: Engine) -> float:
    """CPU time a frame costs in everything but the network: the same run with an answer that costs nothing."""
    clock = MonotonicClock()
    preprocessor = FramePreprocessor(is_live=False)
    with open_source(options.source, clock=clock) as beginning:
        preprocessor.look_ahead(beginning)
    answers: list[Prediction] = []

    def asked(images: NDArray[np.uint8]) -> Prediction:
        answers.append(engine.infer(images))
        return answers[-1]

    first = LimitedSource(open_source(options.source, clock=clock), count=20)
    with Pipeline(first, BorrowedEngine(engine, asked), preprocessor=preprocessor) as pipeline:
        for _ in pipeline:
            pass
    best = max(answers, key=lambda prediction: float(prediction.plane_logit[0]))
    kept = replace(best.rows(slice(None), np.empty((0, 1, 1, 1), np.uint8)), images=None)  # answers any images
    unpaced = StreamOptions(source=options.source, rate_hz=None, frames=min(options.frames, 300), live=options.live)
    spent = []
    for _ in range(3):
        repeat, _ = one_repeat(unpaced, BorrowedEngine(engine, lambda images: kept), frames=unpaced.frames)
        spent.append(float(repeat["cpu_ms_per_frame"]))
    return round(statistics.median(spent), 3)


def _by_thread(repeats: Sequence[dict[str, Any]]) -> dict[str, float]:
    """CPU time a frame by thread, the median over the repeats; threads that did next to nothing are left out."""
    found = [repeat["cpu_ms_by_thread"] or {} for repeat in repeats]
    names = {name for each in found for name in each}
    median = {name: round(statistics.median(each.get(name, 0.0) for each in found), 3) for name in sorted(names)}
    return {name: spent for name, spent in median.items() if spent >= LEAST_MS}


def find_capacity(options: StreamOptions, *, most: int) -> dict[str, Any]:
    """How many feeds at the rate one machine carries: all results in two periods (99th percentile), none lost.

    Tries 1, 2, 3 ... until one too many.
    """
    assert options.rate_hz is not None, "feeds have a rate"
    tried, carried = [], 0
    with one_opencv_thread():
        for streams in range(1, most + 1):
            beside = replace(options, streams=streams)
            with _engine_for(beside) as engine:
                repeat, _ = one_repeat(beside, engine, frames=options.frames)
            p99_ms = repeat["latency_ms"]["p99"]
            is_carried = repeat["dropped_share"] <= MOST_DROPPED and p99_ms <= 2e3 / options.rate_hz
            tried.append(
                {
                    "streams": streams,
                    "frames_per_second": repeat["frames_per_second"],
                    "p99_ms": p99_ms,
                    "dropped_share": repeat["dropped_share"],
                    "is_carried": is_carried,
                }
            )
            if not is_carried:
                break
            carried = streams
    return {"streams": carried, "tried": tried}


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """p50 to p99.9, the greatest, and how many."""
    found = {f"p{share:g}": round(float(np.percentile(values, share)), 3) for share in SHARES}
    return found | {"max": round(float(values.max()), 3), "n": len(values)}


def log_histogram(values: NDArray[np.float64], *, growth: float = 0.05) -> dict[str, list[float]]:
    """Counts in bins each 5 % wider than the one before: all that a picture of the distribution needs."""
    low, high = max(1e-3, float(values.min())), float(values.max())
    edges = low * (1 + growth) ** np.arange(int(np.ceil(np.log(max(high / low, 1.01)) / np.log1p(growth))) + 1)
    counts, _ = np.histogram(values, np.append(edges, max(high, edges[-1]) * 1.0001))
    return {"edges_ms": [round(float(edge), 4) for edge in edges], "counts": [int(count) for count in counts]}


def median_of(repeats: Sequence[dict[str, Any]], key: str) -> float:
    """The median of one number over the repeats."""
    return round(statistics.median(float(repeat[key]) for repeat in repeats), 3)
