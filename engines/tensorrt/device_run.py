"""Runs batches on the GPU: pinned ring buffers, one stream, a CUDA graph per batch size and slot.

TensorRT's contexts and CUDA are given from outside, so that all of this runs in a test without a GPU.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.closing import close_after, close_all
from engines.errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from engines.base import ModelSpec
    from engines.tensorrt.cuda import Cuda

SLOTS = 2
"""Batches that may be under way: while the device works on one, the host fills or reads the other."""
UNANSWERED = np.frombuffer(b"\xee\xff\xc0\xff", np.uint8)
"""What stands at the end of every output until the device writes over it: a NaN that no network computes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Slot:
    """One batch's page-locked memory on the host: what goes in, one array for each output, and when it is there."""

    done: Any
    images: NDArray[np.uint8]
    outputs: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that is under way: `count` images, filled up with black ones to `size`."""

    number: int
    slot: int
    count: int
    size: int


class DeviceRun:
    """Runs batches through execution contexts, in order.

    Convention: `submit` copies (B, 1, H, W) uint8 images into pinned memory, starts everything and returns the batch's
    number; `collect` waits for that batch, the oldest, and returns fresh float32 arrays. At most `SLOTS` batches may be
    under way. Copies and kernels go to one stream and are recorded once for each batch size and slot as a CUDA graph;
    where a recording fails, all go on without. An output that the device did not write, wholly to its end, is an error
    and not what the batch before it left there.

    After any error the device is waited for and what was under way is forgotten, so that no later answer can be one of
    those. A device that cannot even be waited for runs nothing any more.

    Args:
        contexts: for each batch size a TensorRT execution context (or whatever takes the same calls), which has its
            memory. A batch of another size is filled up with black frames to the next of these.
        cuda: the CUDA runtime.
        spec: the model's facts.
        use_graph: false never records.
    """

    def __init__(self, contexts: Mapping[int, Any], cuda: Cuda, spec: ModelSpec, *, use_graph: bool = True) -> None:
        self._contexts, self._cuda, self._spec = dict(sorted(contexts.items())), cuda, spec
        self._max_batch = max(contexts)
        self._use_graph = use_graph
        self._sizes = {name: 4 * math.prod(shape) for name, shape in spec.output_shapes.items()}
        self._frame_bytes = spec.height * spec.width
        self._graphs: dict[tuple[int, int], Any] = {}
        self._numbers = itertools.count(1)
        self._under_way: deque[_Batch] = deque()
        self._next = 0
        self._ran: set[int] = set()
        self._failure = ""
        self._release: list[Callable[[], object]] = []
        try:
            self._stream = self._held(cuda.new_stream(), cuda.free_stream)
            self._addresses = self._on_device()
            for size, context in self._contexts.items():
                self._prepare(context, size)
            self._slots = [self._slot() for _ in range(SLOTS)]
        except BaseException as error:
            close_after(error, self.close)
            raise

    def _on_device(self) -> dict[str, int]:
        """Addresses of the images and of each output, the same for all contexts: they run one after the other."""
        cuda, sizes = self._cuda, {"image": self._frame_bytes, **self._sizes}
        return {name: self._held(cuda.allocate(size * self._max_batch), cuda.free) for name, size in sizes.items()}

    def _prepare(self, context: Any, batch: int) -> None:
        """Tells a context its addresses and its batch size, once and for all."""
        for name, address in self._addresses.items():
            if not context.set_tensor_address(name, address):
                raise InferenceError(f"the engine has no tensor {name}; build it again from this model")
        if not context.set_input_shape("image", (batch, 1, self._spec.height, self._spec.width)):
            raise InferenceError(f"the engine does not take a batch of {batch}; build one with another --batch")

    def _slot(self) -> _Slot:
        cuda = self._cuda
        sizes = [size * self._max_batch for size in (self._frame_bytes, *self._sizes.values())]
        images, *outputs = (self._held(cuda.pinned(size), cuda.free_pinned) for size in sizes)
        return _Slot(self._held(cuda.new_event(), cuda.free_event), images, tuple(outputs))

    def _held(self, thing: Any, release: Callable[[Any], object]) -> Any:
        """Notes how to give a thing back."""
        self._release.append(partial(release, thing))
        return thing

    @property
    def free_slots(self) -> int:
        """How many batches may be submitted before one must be collected."""
        return SLOTS - len(self._under_way)

    def submit(self, images: NDArray[np.uint8]) -> int:
        """Starts a batch of at most `max_batch` images; returns its number.

        Raises:
            InferenceError: no slot is free, or the device failed.
        """
        count = len(images)
        if self._failure:
            raise InferenceError(f"the device failed before ({self._failure}); load the engine again")
        if not self.free_slots:
            raise InferenceError(f"{SLOTS} batches are under way; collect one before the next")
        if not 1 <= count <= self._max_batch:
            raise InferenceError(f"a batch of {count} was given to an engine for 1 to {self._max_batch}")
        size = next(size for size in self._contexts if size >= count)
        batch = _Batch(next(self._numbers), self._next, count, size)
        try:
            self._start(batch, images)
        except BaseException as error:
            self.abandon(error)
            raise
        self._under_way.append(batch)
        self._next = (batch.slot + 1) % SLOTS
        return batch.number

    def _start(self, batch: _Batch, images: NDArray[np.uint8]) -> None:
        slot, given = self._slots[batch.slot], batch.count * self._frame_bytes
        pinned = slot.images[: batch.size * self._frame_bytes]
        pinned[:given] = images.reshape(-1)
        pinned[given:] = 0
        for tail in self._tails(batch):
            tail[:] = UNANSWERED
        graph = self._graph_for(batch.slot, batch.size)
        if graph is None:
            self._enqueue(batch.slot, batch.size)
        else:
            self._cuda.launch(graph, self._stream)
        self._cuda.record(slot.done, self._stream)

    def collect(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Waits for the oldest batch, which must be the one of that number: a fresh array for each of the outputs.

        Raises:
            InferenceError: nothing is under way, the device failed, or the answers of another batch came.
        """
        if not self._under_way:
            raise InferenceError("nothing is under way; submit a batch first")
        try:
            return self._answers(self._under_way.popleft(), number)
        except BaseException as error:
            self.abandon(error)
            raise

    def _answers(self, batch: _Batch, number: int) -> tuple[NDArray[np.float32], ...]:
        slot, spec = self._slots[batch.slot], self._spec
        self._cuda.wait_for(slot.done)
        if batch.number != number:
            raise InferenceError(f"batch {number} was asked for, and {batch.number} was next; start the program again")
        if any(np.array_equal(tail, UNANSWERED) for tail in self._tails(batch)):
            raise InferenceError(f"the device gave no answer to batch {number}; start the program again")
        return tuple(
            pinned[: batch.count * size].view(np.float32).reshape(batch.count, *shape).copy()
            for size, shape, pinned in zip(self._sizes.values(), spec.output_shapes.values(), slot.outputs, strict=True)
        )

    def _tails(self, batch: _Batch) -> Iterator[NDArray[np.uint8]]:
        """The last value of each output of a batch."""
        for size, output in zip(self._sizes.values(), self._slots[batch.slot].outputs, strict=True):
            yield output[batch.count * size - len(UNANSWERED) : batch.count * size]

    def abandon(self, error: BaseException) -> None:
        """Waits for the device and forgets what was under way, on the way out of `error`, which is noted."""
        self._under_way.clear()
        if self._failure:
            return
        try:
            self._cuda.wait(self._stream)
        except Exception as later:  # noqa: BLE001 - the error that came first is the one to report
            self._failure = str(error)
            error.add_note(f"then, while waiting for the device: {later!r}")

    def close(self) -> None:
        """Waits for the device and gives everything back, whatever fails on the way; raises the first error.

        Safe after a failed start, and closing twice is harmless.
        """
        release, self._release = self._release, []
        wait = [partial(self._cuda.wait, self._stream)] if release else []
        graphs = [partial(self._cuda.free_graph, graph) for graph in self._graphs.values()]
        self._graphs, self._slots = {}, []
        self._failure = self._failure or "closed"
        self._under_way.clear()
        try:
            close_all(*wait, *graphs, *reversed(release))
        finally:
            self._contexts = {}

    def _graph_for(self, slot: int, batch: int) -> Any:
        """The recorded graph; None where nothing is recorded, and it all runs call by call."""
        place = (slot, batch)
        if place in self._graphs or not self._use_graph:
            return self._graphs.get(place)
        if batch not in self._ran:  # TensorRT sets itself up in the first run of a context
            self._enqueue(slot, batch)
            self._cuda.wait(self._stream)
            self._ran.add(batch)
        try:
            self._graphs[place] = self._recorded(slot, batch)
        except InferenceError as error:
            self._use_graph = False  # and nothing more is tried: it would fail, and be said, for every size and slot
            _log.warning("this engine runs without CUDA graphs, somewhat slower: %s", str(error))
        return self._graphs.get(place)

    def _recorded(self, slot: int, batch: int) -> Any:
        """The graph of one batch size and slot; InferenceError where the context cannot be recorded."""
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue(slot, batch)
        except BaseException:
            with suppress(InferenceError):
                self._cuda.free_graph(self._cuda.end_capture(self._stream))
            raise
        return self._cuda.end_capture(self._stream)

    def _enqueue(self, slot: int, batch: int) -> None:
        """Images up, network, answers down."""
        cuda, stream, pinned = self._cuda, self._stream, self._slots[slot]
        cuda.to_device(self._addresses["image"], pinned.images.ctypes.data, batch * self._frame_bytes, stream)
        self._execute(batch)
        for (name, size), output in zip(self._sizes.items(), pinned.outputs, strict=True):
            cuda.to_host(output, self._addresses[name], batch * size, stream)

    def _execute(self, batch: int) -> None:
        if not self._contexts[batch].execute_async_v3(int(self._stream)):
            raise InferenceError("the engine refused to run; build it again")
