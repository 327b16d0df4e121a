"""Base class of engines: input and output checks, errors, closing."""

from __future__ import annotations

import os
import re
import threading
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from engines.base import Engine, Prediction, answer_type, check_answer, check_images
from engines.closing import close_after
from engines.errors import DeviceBusy, EngineUnavailable, InferenceError, ModelMismatch, OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec


_FULL = re.compile(
    r"out ?of ?memory|alloc(ation)?[ _]failed|failed to allocate|(cannot|can't|could not) allocate|not enough memory|"
    r"bad[ _]alloc",
    re.IGNORECASE,
)
_TAKEN = re.compile(r"busy or unavailable|devices?unavailable", re.IGNORECASE)
"""What runtimes say where memory is full, and where another process has the device: most have no errors of it."""


class RuntimeEngine(Engine):
    """An `engines.base.Engine`: a runtime fills in `_run` and `_release`.

    As many calls at a time as its description says, mostly one: further threads wait, and `close` waits for the calls
    under way. A runtime that fails has answered nothing, and what it answers next is what it is asked next.
    """

    failures: tuple[type[Exception], ...] = (RuntimeError,)
    """What the runtime raises when it fails; each runtime's own."""

    _calls: threading.Condition
    _running: int

    def __new__(cls, *_: object, **__: object) -> Self:
        """An engine has its lock before its start, which may fail and be closed."""
        engine = super().__new__(cls)
        engine._calls, engine._running = threading.Condition(), 0
        return engine

    def __init__(self, description: EngineDescription, spec: ModelSpec) -> None:
        self._description = description
        self._spec = spec
        self._open = True

    @property
    def description(self) -> EngineDescription:
        return self._description

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Runs (B, 1, H, W) grey images, uint8 0 to 255, through the network; the result is the caller's own.

        Raises:
            ModelMismatch: dtype or shape differ from the spec (both are named).
            InferenceError: the engine is closed, the runtime failed, or an answer is not a finite number.
        """
        check_images(images, self.spec)
        failures: tuple[type[Exception], ...] = (*self.failures, EngineUnavailable)  # a device may be gone
        with self._call():
            try:
                outputs = self._run(np.ascontiguousarray(images))
            except failures as error:
                kind = type(error) if isinstance(error, InferenceError) else failure_kind(error)
                raise kind(f"{self.name}: {error_summary(error)}") from error
        if not all(np.isfinite(output).all() for output in outputs if output.dtype != np.uint8):
            raise InferenceError(
                f"{self.name}: {self.spec.name} answers NaN or infinity here; take another back-end, or where every one"
                " says so export the model again"
            )
        answer = Prediction.of(dict(zip(self.spec.output_names, outputs, strict=True)), images)
        check_answer(answer, images, engine=self.name)
        return answer

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Waits until one more call may run; InferenceError where the engine is closed by then."""
        with self._calls:
            self._calls.wait_for(lambda: self._running < self.description.parallel)
            if not self._open:
                raise InferenceError(f"{self.name}: closed already; load the engine again")
            self._running += 1
        try:
            yield
        finally:
            with self._calls:
                self._running -= 1
                self._calls.notify_all()

    def close(self) -> None:
        """Frees the runtime's objects, all of them whatever fails on the way; raises the first error."""
        with self._calls:
            was_open, self._open = self._open, False  # first, or callers that go on asking could keep it open for ever
            self._calls.wait_for(lambda: not self._running)
            if was_open:
                self._release()

    def _warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Runs batches of black frames: the first real ones then pay for no allocation, and a broken model shows.

        Args:
            batches: their sizes, in order.

        Raises:
            ModelMismatch: the runtime took the file but cannot run it. The engine is closed then.
        """
        try:
            for size in batches:
                self.infer(np.zeros((size, 1, self.spec.height, self.spec.width), np.uint8))
        except BaseException as error:
            close_after(error, self.close)
            if isinstance(error.__cause__, EngineUnavailable):  # the device is at fault, not the model
                raise error.__cause__ from None
            if type(error) is InferenceError:  # not a full device, nor a server that went away
                raise ModelMismatch(str(error)) from error
            raise

    def _empty_outputs(self, count: int) -> tuple[NDArray[Any], ...]:
        """Arrays for `count` frames, one for each of the spec's outputs, yet to be filled."""
        shapes = self.spec.output_shapes.items()
        return tuple(np.empty((count, *shape), answer_type(name)) for name, shape in shapes)

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        """Runs contiguous images that passed the checks.

        Returns:
            Fresh arrays (B, ...), one for each of the spec's `output_shapes`.
        """

    @abstractmethod
    def _release(self) -> None:
        """Lets go of the runtime's objects; called once."""


def heads_spec(spec: ModelSpec) -> ModelSpec:
    """The facts of a model whose decoder is left out: it decides planes alone."""
    return replace(spec, output_height=0, output_width=0)


def gpu_index(device: str) -> int | None:
    """The number of an NVIDIA GPU that is named `cuda`, `cuda:1` or `1`; None of any other name."""
    found = re.fullmatch(r"(?:cuda(?::(\d{1,3}))?|(\d{1,3}))", device)
    return None if found is None else int(found[1] or found[2] or 0)


def variant_spec(spec: ModelSpec, *, heads_only: bool, labels: bool) -> ModelSpec:
    """The facts of a model as an engine runs it: without its decoder, or with labels in the place of class logits."""
    return heads_spec(spec) if heads_only else replace(spec, answers_labels=labels or spec.answers_labels)


def available_cores() -> int:
    """Cores this process may run on: its affinity where the system knows one, else all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def runtime_unavailable(backend: str, extra: str, error: ImportError) -> EngineUnavailable:
    """The error for a runtime that cannot be imported; `extra` is what to install."""
    return EngineUnavailable(f"{backend} cannot run here ({error_summary(error)}); pip install '{extra}'")


def check_precision(backend: str, *, asked: str, runs: str) -> None:
    """Raises EngineUnavailable where a runtime computes in another precision than it was asked for."""
    if asked != runs:
        raise EngineUnavailable(f"{backend}: {asked} was asked for, but it runs {runs} on this machine; take {runs}")


def failure_kind(error: Exception) -> type[InferenceError]:
    """The kind of an error that a runtime raised, by its words: whether a later try may succeed."""
    if isinstance(error, MemoryError) or _FULL.search(str(error)):
        return OutOfDeviceMemory
    return DeviceBusy if _TAKEN.search(str(error)) else InferenceError


def device_busy(backend: str, error: Exception) -> DeviceBusy | None:
    """The error for a start that failed since memory is full or the device is taken; None where that is not why."""
    kind = failure_kind(error)
    if not issubclass(kind, DeviceBusy):
        return None
    return kind(f"back-end {backend} has no room to start ({error_summary(error)}); end other programs, or try later")


def none_starts(said: str, errors: Iterable[Exception] = ()) -> EngineUnavailable | DeviceBusy:
    """The error where no engine starts; where one failed for want of memory or of its device, a later try may succeed.

    Args:
        said: the message, with what is said of each engine.
        errors: of them, as far as they are known.
    """
    is_busy = any(isinstance(error, DeviceBusy) for error in (*errors, device_busy("", RuntimeError(said))))
    return DeviceBusy(said) if is_busy else EngineUnavailable(said)


def model_rejected(backend: str, spec: ModelSpec, error: Exception) -> ModelMismatch | DeviceBusy:
    """The error for a model that the runtime does not take: none, or for want of memory."""
    if busy := device_busy(backend, error):
        return busy
    return ModelMismatch(f"back-end {backend} refuses model {spec.name} ({error_summary(error)}); export it again")


def error_summary(error: Exception) -> str:
    """The last line of a runtime's message that says something: they put their own source lines first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
