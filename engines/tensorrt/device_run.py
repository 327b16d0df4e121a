"""Runs batches on the GPU in two lanes: each with its own stream, buffers, contexts and CUDA graphs.

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

from engines.base import answer_type
from engines.closing import close_after, close_all
from engines.errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from engines.base import ModelSpec
    from engines.tensorrt.cuda import Cuda

LANES = 2
"""Batches that may be under way: while one's kernels run, the other's images go up and its answers come down."""
UNANSWERED = np.frombuffer(b"\xee\xff\xc0\xff", np.uint8)
"""What stands at the end of every output until the device writes over it: a NaN that no network computes, and as labels
no class."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Lane:
    """What one batch under way works with; no other batch touches it.

    Attributes:
        contexts: by batch size, from small to large.
        stream: all of its copies and kernels, in order.
        done: event behind them.
        addresses: of images and outputs on the device, by name.
        images, outputs: page-locked memory on the host; `outputs` are those that are copied down.
        graphs: recorded so far, by batch size.
        ran: batch sizes that ran once.
    """

    contexts: Mapping[int, Any]
    stream: Any
    done: Any
    addresses: Mapping[str, int]
    images: NDArray[np.uint8]
    outputs: Mapping[str, NDArray[np.uint8]]
    graphs: dict[int, Any]
    ran: set[int]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that is under way: `count` images, filled up with black ones to `size`."""

    number: int
    lane: _Lane
    count: int
    size: int


class DeviceRun:
    """Runs batches through execution contexts, in order.

    Convention: `submit` copies (B, 1, H, W) uint8 images into pinned memory, starts everything and returns the batch's
    number; `collect` waits for that batch, the oldest, and writes its answers to where they stay. As many batches may
    be under way as there are lanes, each on a stream of its own, so that the copies of one overlap with the kernels of
    the other. Copies and kernels are recorded once for each batch size and lane as a CUDA graph; where a recording
    fails, all go on without. An output that the device did not write, wholly to its end, is an error and not what the
    batch before it left there.

    After any error the device is waited for and what was under way is forgotten, so that no later answer can be one of
    those. A device that cannot even be waited for runs nothing any more.

    Args:
        contexts: for each lane and batch size a TensorRT execution context (or whatever takes the same calls), which
            has its memory; contexts of two lanes share none. A batch of another size is filled up with black frames to
            the next of these.
        cuda: the CUDA runtime.
        spec: the model's facts; its outputs are copied down.
        unread: other outputs of the engine with their shapes for one frame, which stay on the device.
        use_graph: false never records.
    """

    def __init__(
        self,
        contexts: Sequence[Mapping[int, Any]],
        cuda: Cuda,
        spec: ModelSpec,
        *,
        unread: Mapping[str, tuple[int, ...]] | None = None,
        use_graph: bool = True,
    ) -> None:
        self._cuda, self._spec, self._use_graph = cuda, spec, use_graph
        self._max_batch = max(contexts[0])
        self._sizes = {name: _bytes(name, shape) for name, shape in spec.output_shapes.items()}
        self._unread = {name: _bytes(name, shape) for name, shape in (unread or {}).items()}
        self._frame_bytes = spec.height * spec.width
        self._numbers = itertools.count(1)
        self._under_way: deque[_Batch] = deque()
        self._failure = ""
        self._release: list[Callable[[], object]] = []
        self._lanes: deque[_Lane] = deque()
        try:
            for each in contexts:
                self._lanes.append(self._lane(dict(sorted(each.items()))))
        except BaseException as error:
            close_after(error, self.close)
            raise

    def _lane(self, contexts: Mapping[int, Any]) -> _Lane:
        cuda, most = self._cuda, self._max_batch
        stream = self._held(cuda.new_stream(), cuda.free_stream)
        on_device = {"image": self._frame_bytes, **self._sizes, **self._unread}
        addresses = {name: self._held(cuda.allocate(size * most), cuda.free) for name, size in on_device.items()}
        for size, context in contexts.items():
            self._prepare(context, size, addresses)
        images = self._held(cuda.pinned(self._frame_bytes * most), cuda.free_pinned)
        outputs = {name: self._held(cuda.pinned(size * most), cuda.free_pinned) for name, size in self._sizes.items()}
        done = self._held(cuda.new_event(), cuda.free_event)
        return _Lane(contexts, stream, done, addresses, images, outputs, graphs={}, ran=set())

    def _prepare(self, context: Any, batch: int, addresses: Mapping[str, int]) -> None:
        """Tells a context its addresses and its batch size, once and for all."""
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise InferenceError(f"the engine has no tensor {name}; build it again from this model")
        if not context.set_input_shape("image", (batch, 1, self._spec.height, self._spec.width)):
            raise InferenceError(f"the engine does not take a batch of {batch}; build one with another --batch")

    def _held(self, thing: Any, release: Callable[[Any], object]) -> Any:
        """Notes how to give a thing back."""
        self._release.append(partial(release, thing))
        return thing

    @property
    def free_lanes(self) -> int:
        """How many batches may be submitted before one must be collected."""
        return len(self._lanes) - len(self._under_way)

    def submit(self, images: NDArray[np.uint8]) -> int:
        """Starts a batch of at most `max_batch` images; returns its number.

        Raises:
            InferenceError: no lane is free, or the device failed.
        """
        count = len(images)
        if self._failure:
            raise InferenceError(f"the device failed before ({self._failure}); load the engine again")
        if not self.free_lanes:
            raise InferenceError(f"{len(self._lanes)} batches are under way; collect one before the next")
        if not 1 <= count <= self._max_batch:
            raise InferenceError(f"a batch of {count} was given to an engine for 1 to {self._max_batch}")
        lane = self._lanes[0]
        batch = _Batch(next(self._numbers), lane, count, next(size for size in lane.contexts if size >= count))
        try:
            self._start(batch, images)
        except BaseException as error:
            self.abandon(error)
            raise
        self._under_way.append(batch)
        self._lanes.rotate(-1)
        return batch.number

    def _start(self, batch: _Batch, images: NDArray[np.uint8]) -> None:
        lane, given = batch.lane, batch.count * self._frame_bytes
        pinned = lane.images[: batch.size * self._frame_bytes]
        pinned[:given] = images.reshape(-1)
        pinned[given:] = 0
        for tail in self._tails(batch):
            tail[:] = UNANSWERED
        graph = self._graph_for(lane, batch.size)
        if graph is None:
            self._enqueue(lane, batch.size)
        else:
            self._cuda.launch(graph, lane.stream)
        self._cuda.record(lane.done, lane.stream)

    def collect(self, number: int, into: Sequence[NDArray[Any]] | None = None) -> Sequence[NDArray[Any]]:
        """Waits for the oldest batch, which must be the one of that number.

        Args:
            number: of the batch.
            into: arrays (B, ...) for its answers, one for each of the spec's outputs; None makes fresh ones.

        Returns:
            The arrays that its answers were written to.

        Raises:
            InferenceError: nothing is under way, the device failed, or the answers of another batch came.
        """
        if not self._under_way:
            raise InferenceError("nothing is under way; submit a batch first")
        try:
            return self._answers(self._under_way.popleft(), number, into)
        except BaseException as error:
            self.abandon(error)
            raise

    def _answers(self, batch: _Batch, number: int, into: Sequence[NDArray[Any]] | None) -> Sequence[NDArray[Any]]:
        self._cuda.wait_for(batch.lane.done)
        if batch.number != number:
            raise InferenceError(f"batch {number} was asked for, and {batch.number} was next; start the program again")
        if any(np.array_equal(tail, UNANSWERED) for tail in self._tails(batch)):
            raise InferenceError(f"the device gave no answer to batch {number}; start the program again")
        shapes = self._spec.output_shapes
        if into is None:
            into = [np.empty((batch.count, *shape), answer_type(name)) for name, shape in shapes.items()]
        for target, (name, shape) in zip(into, shapes.items(), strict=True):
            pinned = batch.lane.outputs[name][: batch.count * self._sizes[name]]
            target[...] = pinned.view(answer_type(name)).reshape(batch.count, *shape)
        return into

    def _tails(self, batch: _Batch) -> Iterator[NDArray[np.uint8]]:
        """The last four bytes of each output of a batch."""
        for name, output in batch.lane.outputs.items():
            end = batch.count * self._sizes[name]
            yield output[end - len(UNANSWERED) : end]

    @property
    def uses_graphs(self) -> bool:
        """Whether batches are replayed as CUDA graphs."""
        return self._use_graph

    def device_ms(self, batch: int, *, runs: int = 100) -> float:
        """What the device itself needs for a batch, copies included, in ms: the mean of runs without a host between.

        Args:
            batch: one of the batch sizes of the contexts.
            runs: that are started one after the other.

        Raises:
            InferenceError: batches are under way, or the device failed.
        """
        if self._under_way or self._failure:
            raise InferenceError("the device is timed while nothing is under way; collect what is")
        cuda, lane = self._cuda, self._lanes[0]
        start = cuda.new_event()
        try:
            graph = self._graph_for(lane, batch)
            cuda.record(start, lane.stream)
            for _ in range(runs):
                if graph is None:
                    self._enqueue(lane, batch)
                else:
                    cuda.launch(graph, lane.stream)
            cuda.record(lane.done, lane.stream)
            cuda.wait(lane.stream)
            return cuda.elapsed_ms(start, lane.done) / runs
        finally:
            cuda.free_event(start)

    def abandon(self, error: BaseException) -> None:
        """Waits for the device and forgets what was under way, on the way out of `error`, which is noted."""
        self._under_way.clear()
        if self._failure:
            return
        try:
            for lane in self._lanes:
                self._cuda.wait(lane.stream)
        except Exception as later:  # noqa: BLE001 - the error that came first is the one to report
            self._failure = str(error)
            error.add_note(f"then, while waiting for the device: {later!r}")

    def close(self) -> None:
        """Waits for the device and gives everything back, whatever fails on the way; raises the first error.

        Safe after a failed start, and closing twice is harmless.
        """
        release, self._release = self._release, []
        wait = [partial(self._cuda.wait, lane.stream) for lane in self._lanes]
        graphs = [partial(self._cuda.free_graph, graph) for lane in self._lanes for graph in lane.graphs.values()]
        self._failure = self._failure or "closed"
        self._under_way.clear()
        try:
            close_all(*wait, *graphs, *reversed(release))
        finally:
            self._lanes.clear()  # the last of it: contexts go with it, and nothing may run in them any more

    def _graph_for(self, lane: _Lane, batch: int) -> Any:
        """The recorded graph; None where nothing is recorded, and it all runs call by call."""
        if batch in lane.graphs or not self._use_graph:
            return lane.graphs.get(batch)
        if batch not in lane.ran:  # TensorRT sets itself up in the first run of a context
            self._enqueue(lane, batch)
            self._cuda.wait(lane.stream)
            lane.ran.add(batch)
        try:
            lane.graphs[batch] = self._recorded(lane, batch)
        except InferenceError as error:
            self._use_graph = False  # and nothing more is tried: it would fail, and be said, for every size and lane
            _log.warning("this engine runs without CUDA graphs, somewhat slower: %s", str(error))
        return lane.graphs.get(batch)

    def _recorded(self, lane: _Lane, batch: int) -> Any:
        """The graph of one batch size and lane; InferenceError where the context cannot be recorded."""
        self._cuda.begin_capture(lane.stream)
        try:
            self._enqueue(lane, batch)
        except BaseException:
            with suppress(InferenceError):
                self._cuda.free_graph(self._cuda.end_capture(lane.stream))
            raise
        return self._cuda.end_capture(lane.stream)

    def _enqueue(self, lane: _Lane, batch: int) -> None:
        """Images up, network, answers down."""
        cuda, stream = self._cuda, lane.stream
        cuda.to_device(lane.addresses["image"], lane.images.ctypes.data, batch * self._frame_bytes, stream)
        if not lane.contexts[batch].execute_async_v3(int(stream)):
            raise InferenceError("the engine refused to run; build it again")
        for name, output in lane.outputs.items():
            cuda.to_host(output, lane.addresses[name], batch * self._sizes[name], stream)


def _bytes(name: str, shape: tuple[int, ...]) -> int:
    """Of one frame's output."""
    return answer_type(name).itemsize * math.prod(shape)
