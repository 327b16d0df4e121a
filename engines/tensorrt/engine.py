"""TensorRT on an NVIDIA GPU: engines built and accepted beforehand by `partum build`.

This module has the name of the package it wraps; see `engines.backends.torch` for why that is safe.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from engines.base import EngineDescription
from engines.closing import close_after, close_all
from engines.errors import BuildError, EngineMissing, EngineUnavailable
from engines.runtime import RuntimeEngine, device_busy, variant_spec
from engines.tensorrt.cache import EngineCache, EngineKey, warning_of, write_whole
from engines.tensorrt.contexts import ExecutionContexts, batch_sizes
from engines.tensorrt.cuda import Cuda, CudaRuntime
from engines.tensorrt.device_run import LANES, DeviceRun
from engines.tensorrt.retrial import departure
from engines.tensorrt.runtime import last_complaint, load_tensorrt, make_log, unknown_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from engines.base import ModelSpec
    from engines.onnx.model_file import ModelFile
    from engines.tensorrt.cache import StoredEngine
    from engines.tensorrt.cuda import DeviceFacts
    from engines.tensorrt.runtime import TensorRt

_log = logging.getLogger(__name__)

HEADS_ONLY = ("heads_only",)
"""Flags of an engine without a decoder."""
LABELS = ("labels",)
"""Flags of a whole engine: it makes both labels and logits, and what is not asked for stays on the device."""


class TensorRtEngine(RuntimeEngine):
    """A model run by an engine of the cache that was built for this GPU and accepted.

    Loading never builds: a build takes minutes, and a stream may be waiting.

    Args:
        model: from `engines.onnx.model_file.read_model_file`.
        threads: not used; the host does next to nothing.
        device: index of the GPU.
        precision: of the engine to take; None takes the fastest.
        heads_only: takes the engine without a decoder (`partum build --early-exit` makes both).
        labels: answers labels in the place of class logits (`ModelSpec.answers_labels`).
        use_graph: false runs without CUDA graphs, for comparison.
        stored: this engine rather than the best of the cache; the caller answers for it.
        cache, tensorrt, cuda: where the engines lie, and what runs them; None takes what there is.

    Raises:
        EngineUnavailable: TensorRT or CUDA's binding is not installed, there is no GPU, or the engine is not for it.
        EngineMissing: no accepted engine for this model and GPU; says what the nearest one lacks.
        DeviceBusy: it does not fit (`OutOfDeviceMemory`), or another process has the GPU.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        device: int = 0,
        precision: str | None = None,
        heads_only: bool = False,
        labels: bool = False,
        use_graph: bool = True,
        stored: StoredEngine | None = None,
        cache: EngineCache | None = None,
        tensorrt: TensorRt | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        self._cuda: Cuda = cuda or CudaRuntime()
        self._device = device
        facts = self._cuda.device(device)  # before TensorRT, which takes its time to load
        self._tensorrt = tensorrt or load_tensorrt()
        if why := unknown_gpu(self._tensorrt, facts.compute_capability, str(facts)):
            raise EngineUnavailable(why)
        if stored is None:
            wanted = engine_key(
                model, self._tensorrt, facts, precision=precision, flags=HEADS_ONLY if heads_only else LABELS
            )
            stored = (cache or EngineCache()).best(wanted, precision=precision)
        key = stored.facts["key"]
        base = stored.spec or model.spec
        spec = variant_spec(base, heads_only=HEADS_ONLY[0] in key["flags"], labels=labels)
        spec = replace(spec, precision=key["precision"], warning=warning_of(stored.facts))
        name = f"{facts.name} cuda:{device}" if device else facts.name
        super().__init__(EngineDescription(backend=self._tensorrt.name, precision=key["precision"], device=name), spec)
        sizes = batch_sizes(*key["batch"])
        self._max_batch: int = sizes[-1]
        self._steps: list[Callable[[], object]] = [self._forget]
        try:
            self._load(stored, spec, sizes, use_graph=use_graph)
        except BaseException as error:
            close_after(error, *reversed(self._steps))
            raise
        self._warm_up(size for size in sizes for _ in range(LANES))
        self._keep_kernels(stored)
        if stored.report is not None and stored.report.get("driver", facts.driver) != facts.driver:
            self._try_again(stored, facts, cache or EngineCache())

    def _try_again(self, stored: StoredEngine, facts: DeviceFacts, cache: EngineCache) -> None:
        """After an update of the driver: lets the engine in if it still answers what it answered when it was accepted.

        Raises:
            EngineMissing: it does not, or what it answered was not kept. The engine is closed then.
        """
        try:
            why = departure(self, stored.path)
        except BaseException as error:
            close_after(error, self.close)
            raise
        before = (stored.report or {})["driver"]
        if why:
            self.close()
            raise EngineMissing(
                f"{stored.path}: it was accepted under driver {before}, and under {facts.driver} {why};"
                " run partum build on this machine"
            )
        _log.info("%s runs under driver %s as it did under %s", self.name, facts.driver, before)
        with suppress(BuildError):  # where it cannot be noted it is tried at the next start too
            cache.note(stored, driver=facts.driver)

    def _load(self, stored: StoredEngine, spec: ModelSpec, sizes: Sequence[int], *, use_graph: bool) -> None:
        """Engine, contexts and buffers; `_steps` is how to give back what there is so far."""
        self._engine = self._deserialised(stored)
        kept = kernels_path(stored)
        self._makes: ExecutionContexts = ExecutionContexts(
            self._engine,
            self._tensorrt,
            self._cuda,
            lanes=LANES,
            use_graph=use_graph,
            runtime_cache=kept.read_bytes() if kept.is_file() else b"",
        )
        self._steps.append(self._makes.close)
        self._run_on: DeviceRun = DeviceRun(
            [{size: self._makes.new(lane) for size in sizes} for lane in range(LANES)],
            self._cuda,
            spec,
            unread=_unread(spec),
            use_graph=use_graph and not self._makes.records_itself,
        )
        self._steps.append(self._run_on.close)

    def _keep_kernels(self, stored: StoredEngine) -> None:
        """What TensorRT-RTX compiled while it warmed up is for the next start; a full disk costs that start alone."""
        compiled, path = self._makes.compiled_kernels(), kernels_path(stored)
        if compiled and not (path.is_file() and path.read_bytes() == compiled):
            with suppress(BuildError):
                write_whole(path, compiled)

    def _deserialised(self, stored: StoredEngine) -> Any:
        self._log = make_log(self._tensorrt.module)
        self._runtime = self._tensorrt.module.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(stored.content)
        if engine is None:  # another GPU, another version, no driver, no memory: all come as None
            said = last_complaint(self._log)
            if busy := device_busy(self._tensorrt.name, RuntimeError(said)):
                raise busy
            raise EngineUnavailable(
                f"{stored.path.name}: {self._tensorrt.name} {self._tensorrt.version} does not take it"
                f" ({said}); partum build --rebuild"
            )
        return engine

    @property
    def max_batch(self) -> int:
        """The greatest batch that runs at once; larger ones are run in parts."""
        return self._max_batch

    @property
    def uses_graphs(self) -> bool:
        """Whether batches are replayed as CUDA graphs, ours or TensorRT-RTX' own."""
        return self._run_on.uses_graphs or self._makes.records_itself

    def device_ms(self, batch: int = 1) -> float:
        """What the GPU itself needs for a batch of one of its sizes, copies included, in ms."""
        with self._call():
            self._cuda.use(self._device)
            return self._run_on.device_ms(batch)

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        self._cuda.use(self._device)  # a thread has one chosen GPU, and other engines of it may have chosen another
        outputs = self._empty_outputs(len(images))
        under_way: deque[tuple[int, slice]] = deque()
        try:
            for start in range(0, len(images), self._max_batch):
                if not self._run_on.free_lanes:
                    self._collect_into(outputs, *under_way.popleft())
                place = slice(start, min(start + self._max_batch, len(images)))
                under_way.append((self._run_on.submit(images[place]), place))
            while under_way:
                self._collect_into(outputs, *under_way.popleft())
        except BaseException as error:
            self._run_on.abandon(error)
            raise
        return outputs

    def _collect_into(self, outputs: tuple[NDArray[Any], ...], number: int, place: slice) -> None:
        """Writes the answers to a batch to their place."""
        self._run_on.collect(number, [target[place] for target in outputs])

    def _release(self) -> None:
        close_all(partial(self._cuda.use, self._device), *reversed(self._steps))

    def _forget(self) -> None:
        """Lets go of engine and runtime, in this order: each lives as long as somebody knows it."""
        self._engine = None
        self._runtime = None


def _unread(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Outputs that a whole engine has beside those of the spec: labels where logits are asked for, or the reverse."""
    if not spec.decodes:
        return {}
    both = {**replace(spec, answers_labels=False).output_shapes, **replace(spec, answers_labels=True).output_shapes}
    return {name: shape for name, shape in both.items() if name not in spec.output_shapes}


def kernels_path(stored: StoredEngine) -> Path:
    """Where the kernels that TensorRT-RTX compiled for an engine are kept, beside it."""
    return stored.path.with_suffix(".kernels")


def engine_key(
    model: ModelFile,
    tensorrt: TensorRt,
    device: DeviceFacts,
    *,
    batch: tuple[int, int, int] = (1, 1, 1),
    precision: str | None = None,
    flags: tuple[str, ...] = LABELS,
) -> EngineKey:
    """The key of an engine of this model for this machine; for loading, precision and batch sizes may be any."""
    return EngineKey(
        model_sha256=model.spec.sha256,
        runtime=tensorrt.name,
        runtime_version=tensorrt.version,
        device=str(device),
        precision=precision or model.spec.precision,
        batch=batch,
        flags=flags,
    )
