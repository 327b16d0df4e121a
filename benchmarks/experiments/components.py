"""Speed of components with a budget: geometry, phantom, tracking, channels, back-ends.

    python -m benchmarks.experiments.components

Writes `results/components.json`. Times are medians over interleaved repeats; CPU time where a part runs in one
thread, because the machines at hand are shared.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
from rich.console import Console

from benchmarks.reporting.environment import write_result
from benchmarks.rig.timing import interleaved_ms, median_ms
from calibration.deployment.trial_frames import as_network_input, demonstration_frames
from engines.registry import DEFAULT_INT8_MODEL, DEFAULT_MODEL, load_engine
from stream.common.channel import Channel
from stream.common.clock import MonotonicClock
from stream.measurement.convexity import convex_labels
from stream.measurement.protocols import PROTOCOLS, measure
from stream.phantom.source import PhantomSource
from stream.tracking.tracker import AOP_NOISE_DEG, Track


def geometry_cpu_ms() -> dict[str, float]:
    """CPU time of one measurement on a phantom's mask at 256 x 256, by protocol."""
    mask = PhantomSource("phantom:?size=256", clock=MonotonicClock()).mask(0)
    return {
        name: median_ms(lambda name=name: measure(mask, protocol=name), count=50, clock=time.thread_time_ns)  # type: ignore[misc]
        for name in PROTOCOLS
    }


def convex_cpu_ms() -> float:
    """CPU time of making PS and FH one convex piece each at 256 x 256."""
    mask = PhantomSource("phantom:?size=256", clock=MonotonicClock()).mask(0)
    return median_ms(lambda: convex_labels(mask), count=50, clock=time.thread_time_ns)


def phantom_fps() -> float:
    """Frames per second of wall time of the default phantom at 512 x 512."""
    with PhantomSource("phantom:?duration=5", clock=MonotonicClock()) as source:
        start, count = time.perf_counter(), 0
        for _ in source:
            count += 1
        return round(count / (time.perf_counter() - start), 1)


def tracking_cpu_us() -> float:
    """CPU time of one update of one track."""
    track, step = Track(AOP_NOISE_DEG), iter(range(10**9))
    return 1e3 * median_ms(lambda: track.update(next(step) / 30, 120.0), count=300, clock=time.thread_time_ns)


def hand_off_us() -> dict[str, float]:
    """Wall time from `send` in one thread to the item in another, one item at a time."""
    channel: Channel[int] = Channel(1)
    delays: list[float] = []
    received = threading.Event()

    def receive() -> None:
        for sent_ns in channel:
            delays.append((time.perf_counter_ns() - sent_ns) / 1e3)
            received.set()

    receiver = threading.Thread(target=receive)
    receiver.start()
    for _ in range(3000):
        received.clear()
        channel.send(time.perf_counter_ns())
        received.wait()
    channel.close()
    receiver.join()
    return {f"p{share}": round(float(np.percentile(delays, share)), 1) for share in (50, 99)}


def engine_ms() -> dict[str, float]:
    """Wall time of one frame by back-end and model file that ships, all cores."""
    wanted = [(model, name) for name in ("openvino", "onnxruntime") for model in (DEFAULT_INT8_MODEL, DEFAULT_MODEL)]
    engines = [load_engine(model, name) for model, name in [*wanted, (DEFAULT_MODEL, "torch")]]
    spec = engines[0].spec
    image = np.random.default_rng(0).integers(0, 255, (1, 1, spec.height, spec.width), np.uint8)
    times = interleaved_ms({engine.name: partial(engine.infer, image) for engine in engines})
    for engine in engines:
        engine.close()
    return times


def early_exit_ms() -> dict[str, float]:
    """Wall time of one frame of the default engine in runs of frames on and off the standard plane, all cores.

    On the plane the whole network runs; off it the encoder alone, but for the first frame of a run.
    """
    frames = demonstration_frames()
    with load_engine(backend="openvino") as whole:
        images = as_network_input(frames, whole.spec)
        standard = [
            float(whole.infer(image[None]).plane_logit[0]) >= whole.spec.plane_logit_threshold for image in images
        ]
        on, off = images[standard][:1], images[[not each for each in standard]][-1:]
        with (
            load_engine(backend="openvino", early_exit=True) as leaving,
            load_engine(backend="openvino", early_exit=True) as staying,
        ):
            return interleaved_ms(
                {
                    "whole network": partial(whole.infer, on),
                    "early exit, standard planes": partial(staying.infer, on),
                    "early exit, other planes": partial(leaving.infer, off),
                }
            )


def main() -> None:
    """Measures and writes the result file."""
    results: dict[str, object] = {
        "geometry_cpu_ms_256": geometry_cpu_ms(),
        "convex_cpu_ms_256": convex_cpu_ms(),
        "phantom_fps_512": phantom_fps(),
        "tracking_cpu_us": tracking_cpu_us(),
        "hand_off_us": hand_off_us(),
        "engine_ms_batch_1": engine_ms(),
        "early_exit_ms": early_exit_ms(),
    }
    path = write_result("components", results, command="python -m benchmarks.experiments.components")
    Console().print(results)
    Console().print(str(path))


if __name__ == "__main__":
    main()
