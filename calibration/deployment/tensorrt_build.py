"""`partum build` for TensorRT: engines from the cache or built now, tried in degrees, timed, and kept."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.deployment.acceptance import compare_batches, compare_engines, compare_heads
from calibration.deployment.trial_frames import as_network_input
from engines.backends.openvino import OpenVinoEngine
from engines.errors import BuildError, EngineMissing, EngineUnavailable
from engines.runtime import gpu_index
from engines.tensorrt.cache import EngineCache, EngineKey, is_capability, no_live_stream, rejection_reason
from engines.tensorrt.graph import graph_for
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from calibration.data.base import LabelledFrame
    from calibration.deployment.acceptance import AcceptanceReport
    from engines.base import Engine
    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.cache import StoredEngine
    from engines.tensorrt.cuda import DeviceFacts
    from engines.tensorrt.runtime import TensorRt

CALLS, WARM_UP_CALLS = 100, 10
BATCH_FRAMES = 30
"""Frames that batches of more than one are tried on."""


@dataclass(frozen=True, slots=True)
class Target:
    """What engines are built for.

    Attributes:
        device: as keys have it, `NVIDIA H100 sm90`; the capability alone where it is not here.
        capability: compute capability, (9, 0).
        index: of the GPU here; None of one that is elsewhere.
        driver: its CUDA version; empty of one elsewhere.
    """

    device: str
    capability: tuple[int, int]
    index: int | None = None
    driver: str = ""


def find_target(asked: str, tensorrt: TensorRt) -> Target:
    """The GPU that is asked for, `cuda:1`, or a compute capability, `sm89`, to build for from afar.

    Raises:
        OptionError: it is neither.
        EngineUnavailable: there is no such GPU, or this TensorRT knows none of its kind.
    """
    from engines.tensorrt import runtime
    from engines.tensorrt.cuda import CudaRuntime

    if is_capability(asked):
        return Target(asked, (int(asked[2:-1]), int(asked[-1])))
    index = gpu_index(asked)
    if index is None:
        raise OptionError(f"--device {asked}: give a GPU, such as cuda:1, or a compute capability, such as sm89")
    try:
        found: DeviceFacts = CudaRuntime().device(index)
    except EngineUnavailable as error:
        afar = "; --device sm89 builds from afar for such GPUs" if tensorrt.name == "tensorrt_rtx" else ""
        raise EngineUnavailable(f"{error}{afar}") from error
    if why := runtime.unknown_gpu(tensorrt, found.compute_capability, str(found)):
        raise EngineUnavailable(why)
    return Target(str(found), found.compute_capability, index, found.driver)


class TensorRtBuilder:
    """Builds, tries and keeps engines of one model for one target.

    Args:
        tensorrt: what builds and runs them.
        target: from `find_target`.
        cache: where they are kept.
        console: what is told of it.
        batch: least, usual and greatest batch size.
        early_exit: builds each without a decoder too.
        rebuild: builds even where such an engine is there.
    """

    def __init__(
        self,
        tensorrt: TensorRt,
        target: Target,
        cache: EngineCache,
        console: Console,
        *,
        batch: tuple[int, int, int],
        early_exit: bool = False,
        rebuild: bool = False,
    ) -> None:
        self._tensorrt, self._target, self._cache, self._console = tensorrt, target, cache, console
        self._batch, self._early_exit, self._rebuild = batch, early_exit, rebuild

    def build(self, model: ModelFile, precision: str) -> list[StoredEngine]:
        """The whole engine, and the one without a decoder where it is wanted: those that are there, or new ones.

        Raises:
            BuildError: TensorRT cannot build it, or a live stream runs.
        """
        from engines.tensorrt.engine import HEADS_ONLY, LABELS

        with no_live_stream(self._cache.folder):
            return [self._built(model, precision, flags) for flags in (LABELS, HEADS_ONLY)[: 1 + self._early_exit]]

    def accept(
        self, model: ModelFile, stored: Sequence[StoredEngine], reference: ModelFile, trial: Sequence[LabelledFrame]
    ) -> tuple[AcceptanceReport, float]:
        """Compares built engines with the float32 model, in every batch size that they run in, and times the first.

        Returns:
            The report, and the median time of one frame in ms.
        """
        from engines.tensorrt.contexts import batch_sizes
        from engines.tensorrt.engine import TensorRtEngine

        precision, device = stored[0].facts["key"]["precision"], self._target.index or 0
        images = as_network_input(trial, model.spec)
        with (
            OpenVinoEngine(reference, precision="fp32") as judge,
            TensorRtEngine(model, device=device, stored=stored[0], cache=self._cache) as engine,
        ):
            report = compare_engines(engine, judge, trial, precision=precision)
            report = compare_batches(
                report, engine, judge, trial[:: max(1, len(trial) // BATCH_FRAMES)], batch_sizes(*self._batch)
            )
            latency_ms = time_engine(engine, images)
            for each in stored[1:]:
                with TensorRtEngine(model, device=device, stored=each, cache=self._cache) as heads:
                    report = compare_heads(report, heads, judge, trial)
                    self._keep_answers(heads, images, each)
            self._keep_answers(engine, images, stored[0])
        return report, latency_ms

    def keep_report(
        self, stored: Sequence[StoredEngine], report: AcceptanceReport, latency_ms: float, *, forced: bool
    ) -> None:
        """Keeps the report beside the engines, with where they were tried and how fast they ran."""
        facts = {"device": self._target.device, "driver": self._target.driver, "latency_ms": round(latency_ms, 4)}
        for each in stored:
            self._cache.set_report(each, {**report.as_json(), **facts}, forced=forced)

    def _keep_answers(self, engine: Engine, images: Any, stored: StoredEngine) -> None:
        from engines.tensorrt.retrial import keep_answers

        keep_answers(engine, images, stored.path)

    def _built(self, model: ModelFile, precision: str, flags: tuple[str, ...]) -> StoredEngine:
        """The engine of that key, also one that came from afar: from the cache, or built now."""
        name, key = model.spec.name, self._key(model, precision, flags)
        if not self._rebuild:
            for each in dict.fromkeys((key, key.from_afar())):
                try:
                    found = self._cache.find(each, name)
                except EngineMissing as error:
                    why = str(error)
                else:
                    refused = rejection_reason(found.facts, key.device)
                    self._console.print(f"built already: {found.path}{f' ({refused})' if refused else ''}")
                    return found
            self._console.print(f"building: {why}")
        return self._build_now(model, key)

    def _key(self, model: ModelFile, precision: str, flags: tuple[str, ...]) -> EngineKey:
        return EngineKey(
            model_sha256=model.spec.sha256,
            runtime=self._tensorrt.name,
            runtime_version=self._tensorrt.version,
            device=self._target.device,
            precision=precision,
            batch=self._batch,
            flags=flags,
        )

    def _build_now(self, model: ModelFile, key: EngineKey) -> StoredEngine:
        from engines.tensorrt.build import BuildOptions, build_engine

        options = BuildOptions(batch=key.batch, capability=key.device if key.is_from_afar else "")
        content = graph_for(model, key, self._target.capability)
        timing = self._cache.folder / f"timing-{key.runtime}-{key.runtime_version}-{key.device.replace(' ', '_')}.cache"
        began = time.monotonic()
        with _reporting(self._cache, key) as report:
            built = build_engine(
                content,
                model.spec,
                options,
                precision=key.precision,
                tensorrt=self._tensorrt,
                timing_cache=timing.read_bytes() if timing.is_file() else b"",
                report=report,
            )
        seconds = round(time.monotonic() - began, 2)
        facts = {"build_s": seconds, "model": model.spec.to_metadata(), "made_from": model.spec.made_from}
        path = self._cache.store(key, model.spec.name, built.content, **facts)
        if built.timing_cache:
            try:
                self._cache.keep(timing, built.timing_cache)
            except BuildError as error:  # the engine is there; the next build takes as long again
                self._console.print(str(error), markup=False, highlight=False)
        self._console.print(f"built in {seconds:.1f} s: {path} ({len(built.content) / 1e6:.1f} MB)")
        return self._cache.find(key, model.spec.name)


def time_engine(engine: Engine, images: Any) -> float:
    """The median time of one frame in ms, from host to host."""
    times = []
    for call in range(-WARM_UP_CALLS, CALLS):
        image = np.ascontiguousarray(images[call % len(images)][None])
        start = time.perf_counter_ns()
        engine.infer(image)
        if call >= 0:
            times.append((time.perf_counter_ns() - start) / 1e6)
    return median(times)


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
