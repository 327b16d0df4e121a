"""What a machine can carry, measured before feeds are admitted: a second or two of work."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.sharing import BorrowedEngine
from stream.api.preprocessing import preprocessor_for
from stream.pipeline.pipeline import Pipeline
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from stream.sources.wrappers import LoopedSource

if TYPE_CHECKING:
    from engines.base import Engine

MEASURE_S = 0.7
WARM_UP = 8
"""Frames that are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """A machine's.

    Attributes:
        engine_hz: frames a second that the engine answers when it has nothing else to do.
        engine_cpu_s: of processor that the engine takes for a frame, in seconds.
        feed_cpu_s: of processor that a feed takes for a frame beside the engine, in seconds: here for the
            demonstration clip; what a feed really takes is known when it runs.
    """

    engine_hz: float
    engine_cpu_s: float
    feed_cpu_s: float


def measure_capacity(engine: Engine, *, seconds: float = MEASURE_S) -> Capacity:
    """Measures an engine that nobody else asks, and the pipeline around it on the demonstration clip.

    Args:
        engine: stays open.
        seconds: that each of the two measurements takes.
    """
    engine_hz, engine_cpu_s = _measure_engine(engine, seconds)
    whole_cpu_s = _measure_pipeline(engine, seconds)
    return Capacity(
        engine_hz=engine_hz, engine_cpu_s=engine_cpu_s, feed_cpu_s=max(whole_cpu_s - engine_cpu_s, engine_cpu_s / 10)
    )


def _measure_engine(engine: Engine, seconds: float) -> tuple[float, float]:
    """Frames a second, and seconds of processor for each."""
    spec, parallel = engine.spec, engine.description.parallel
    image = np.random.default_rng(0).integers(0, 255, (1, 1, spec.height, spec.width), np.uint8)
    deadline_s = 0.0

    def ask(_: int) -> int:
        count = 0
        while time.monotonic() < deadline_s or count < 1:
            engine.infer(image)
            count += 1
        return count

    for _ in range(WARM_UP):
        engine.infer(image)
    with ThreadPoolExecutor(parallel, "partum-capacity") as pool:
        began_s, cpu_s = time.monotonic(), time.process_time()
        deadline_s = began_s + seconds
        frames = sum(pool.map(ask, range(parallel)))
    return frames / (time.monotonic() - began_s), (time.process_time() - cpu_s) / frames


def _measure_pipeline(engine: Engine, seconds: float) -> float:
    """Seconds of processor for a frame, from the file to the number."""
    uri = str(DEMO_CLIP)
    source = LoopedSource(lambda: open_source(uri))
    preprocessor = preprocessor_for(uri, source, protocol="robust")
    with Pipeline(source, BorrowedEngine(engine), preprocessor=preprocessor) as pipeline:
        results = iter(pipeline)
        for _ in itertools.islice(results, WARM_UP):
            pass
        began_s, cpu_s, frames = time.monotonic(), time.process_time(), 0
        for _ in results:
            frames += 1
            if time.monotonic() - began_s >= seconds:
                break
        return (time.process_time() - cpu_s) / max(frames, 1)
