"""Decoding H.264 on the GPU beside the CPU, by the video source's own option."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stream.common.clock import MonotonicClock
from stream.sources.demo import DEMO_CLIP
from stream.sources.files.video import VideoSource

if TYPE_CHECKING:
    from benchmarks.experiments.gpu.steps import Report


def measure_decoding(report: Report) -> None:
    """Frames a second of the demonstration clip, and whether both decoders give the same pictures."""
    pictures: dict[str, list[Any]] = {}
    for decoder in ("cpu",) if report.rehearsal else ("cpu", "cuda"):
        began = time.perf_counter()
        with VideoSource(DEMO_CLIP, clock=MonotonicClock(), decoder=decoder) as source:
            pictures[decoder] = [frame.image.copy() for frame in source]
            seconds = time.perf_counter() - began
            rate = round(len(pictures[decoder]) / seconds, 1)
            report.put(**{decoder: {"frames_per_second": rate, "decoder": source.info.decoder}})
    if "cuda" in pictures:
        same = [bool((one == other).all()) for one, other in zip(*pictures.values(), strict=True)]
        report.put(frames_alike=sum(same), frames=len(same))
