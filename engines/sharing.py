"""One engine shared by several streams: waiting frames run as one batch.

Nothing waits for a batch to fill: while the device is busy frames gather, and when it is free they run together. A
stream alone pays no delay, and many share the cost of a launch. An engine that takes several calls side by side, as one
of a CPU does for throughput, gets the waiting frames one by one instead: there a batch gains nothing over that, and a
frame would wait for the others of its batch.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from engines.base import Engine, check_answer, check_images
from engines.closing import close_all
from engines.errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from engines.base import EngineDescription, ModelSpec, Prediction


class SharedEngine:
    """Owns an engine and gives each stream one of its own, which hands frames to it.

    Frames of one stream are answered in order, and an error of the engine reaches every stream whose frames were in the
    batch; so does an answer that is not the one to this batch. A stream that closes its share does not disturb the
    others; the engine is closed by `close`.

    Args:
        engine: closed with this object.
        max_batch: most frames of one run, 1 or more.
    """

    def __init__(self, engine: Engine, *, max_batch: int = 16) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be 1 or more, got {max_batch}")
        self._engine, self._max_batch = engine, max_batch
        self._waiting: deque[tuple[NDArray[np.uint8], Future[Prediction]]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self.batches = 0
        self.frames = 0
        self._workers = [
            threading.Thread(target=self._work, name="partum-shared-engine", daemon=True)
            for _ in range(engine.description.parallel)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def description(self) -> EngineDescription:
        return replace(self._engine.description, shared=True)

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    @property
    def notices(self) -> tuple[str, ...]:
        return self._engine.notices

    def share(self) -> EngineShare:
        """An `engines.base.Engine` for one more stream."""
        return EngineShare(self)

    def submit(self, images: NDArray[np.uint8]) -> Future[Prediction]:
        """Puts (B, 1, H, W) images in line. They must stay as they are until they are answered.

        Raises:
            ModelMismatch: dtype or shape differ from the spec.
            InferenceError: the engine is closed.
        """
        check_images(images, self.spec)
        answer: Future[Prediction] = Future()
        with self._changed:
            if not self._open:
                raise InferenceError(f"{self.name}: closed already; load the engine again")
            self._waiting.append((images, answer))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Answers what waits, then frees the engine, whatever fails on the way. Closing twice is harmless."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        close_all(*(worker.join for worker in self._workers), self._engine.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while batch := self._next_batch():
            wanted = [(images, answer) for images, answer in batch if answer.set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)

    def _answer(self, batch: list[tuple[NDArray[np.uint8], Future[Prediction]]]) -> None:
        """Runs a batch and gives each submission its own rows, or all of them the error."""
        try:
            together = np.concatenate([images for images, _ in batch])
            found = self._engine.infer(together)
            check_answer(found, together, engine=self.name)
            if found.engine is not None:
                description = replace(found.engine.description, shared=True)
                found = replace(found, engine=replace(found.engine, description=description))
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again in each stream
            for _, answer in batch:
                answer.set_exception(error)
            return
        start = 0
        for images, answer in batch:
            answer.set_result(found.rows(slice(start, start + len(images)), images))
            start += len(images)

    def _next_batch(self) -> list[tuple[NDArray[np.uint8], Future[Prediction]]]:
        """What waits, up to `max_batch` frames; one submission is never torn. Empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            batch = [self._waiting.popleft()] if self._waiting else []
            count = sum(len(images) for images, _ in batch)
            most = self._max_batch if len(self._workers) == 1 else 0
            while self._waiting and count + len(self._waiting[0][0]) <= most:
                batch.append(self._waiting.popleft())
                count += len(batch[-1][0])
            self.batches += bool(batch)
            self.frames += count
            return batch


class _ForwardingEngine(Engine):
    """Has the name and the facts of another engine, which it leaves open when it is closed."""

    def __init__(self, behind: Engine | SharedEngine) -> None:
        self._behind = behind

    @property
    def description(self) -> EngineDescription:
        return self._behind.description

    @property
    def spec(self) -> ModelSpec:
        return self._behind.spec

    @property
    def notices(self) -> tuple[str, ...]:
        return self._behind.notices


class EngineShare(_ForwardingEngine):
    """One stream's share of a `SharedEngine`; an `engines.base.Engine`."""

    def __init__(self, shared: SharedEngine) -> None:
        super().__init__(shared)
        self._shared = shared
        self._open = True

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        """Waits for the answer; see `engines.base.Engine`."""
        if not self._open:
            raise InferenceError(f"{self.name}: closed already; take another share")
        answer = self._shared.submit(images).result()
        check_answer(answer, images, engine=self.name)
        return answer

    def close(self) -> None:
        self._open = False


class BorrowedEngine(_ForwardingEngine):
    """An engine that a pipeline borrows: closing it leaves the engine behind it open.

    Args:
        engine: whose name and facts it has.
        infer: in the place of the engine's own.
    """

    def __init__(self, engine: Engine, infer: Callable[[NDArray[np.uint8]], Prediction] | None = None) -> None:
        super().__init__(engine)
        self._infer = infer or engine.infer

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        return self._infer(images)

    def close(self) -> None:
        """Leaves the engine open."""
