"""Frames to a GPU and answers back: pinned rings, one stream, and a CUDA graph for each batch size.

TensorRT's context and CUDA are given from outside, so that all of this runs in a test without a GPU.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import InferenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import ModelSpec
    from engines.cuda import Cuda

SLOTS = 2
"""Batches that may be under way: while the device works on one, the host fills or reads the other."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One batch's page-locked memory on the host: what goes in, one array for each output, and when it is there."""

    done: Any
    images: NDArray[np.uint8]
    outputs: tuple[NDArray[np.uint8], ...]


class DeviceRun:
    """Runs batches through an execution context, in order.

    Convention: `submit` copies (B, 1, H, W) uint8 images into pinned memory and starts everything; `collect` waits for
    the oldest batch and returns fresh float32 arrays. At most `SLOTS` batches may be under way. Copies and kernels go
    to one stream and are recorded once for each batch size and slot as a CUDA graph, where the context allows it.

    Args:
        context: TensorRT execution context (or whatever takes the same calls).
        cuda: the CUDA runtime.
        spec: the model's facts.
        max_batch: the greatest batch the engine takes.
        use_graph: false never records.
        fixed_batch: the engine takes batches of `max_batch` only; smaller ones are filled up with black frames.
    """

    def __init__(
        self,
        context: Any,
        cuda: Cuda,
        spec: ModelSpec,
        *,
        max_batch: int,
        use_graph: bool = True,
        fixed_batch: bool = False,
    ) -> None:
        self._context, self._cuda, self._spec, self._max_batch = context, cuda, spec, max_batch
        self._use_graph, self._fixed_batch = use_graph, fixed_batch
        frame = spec.height * spec.width
        values = {"class_logits": 3 * spec.output_height * spec.output_width}
        self._sizes = {name: 4 * values.get(name, 1) for name in spec.output_names}
        self._frame_bytes = frame
        self._graphs: dict[tuple[int, int], Any] = {}
        self._under_way: deque[tuple[int, int]] = deque()
        self._next = 0
        self._addresses: dict[str, int] = {}
        self._slots: list[_Slot] = []
        self._batch = 0
        self._stream: Any = cuda.new_stream()
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    def _allocate(self) -> None:
        cuda = self._cuda
        sizes = {"image": self._frame_bytes, **self._sizes}
        for name, size in sizes.items():
            self._addresses[name] = cuda.allocate(size * self._max_batch)
            if not self._context.set_tensor_address(name, self._addresses[name]):
                raise InferenceError(f"the engine has no tensor {name}; build it again from this model")
        for _ in range(SLOTS):
            images, *outputs = (cuda.pinned(size * self._max_batch) for size in sizes.values())
            self._slots.append(_Slot(cuda.new_event(), images, tuple(outputs)))

    @property
    def free_slots(self) -> int:
        """How many batches may be submitted before one must be collected."""
        return SLOTS - len(self._under_way)

    def submit(self, images: NDArray[np.uint8]) -> None:
        """Starts a batch of at most `max_batch` images.

        Raises:
            InferenceError: no slot is free, or the device failed.
        """
        count = len(images)
        if not self.free_slots:
            raise InferenceError(f"{SLOTS} batches are under way; collect one before the next")
        if not 1 <= count <= self._max_batch:
            raise InferenceError(f"a batch of {count} was given to an engine for 1 to {self._max_batch}")
        slot = self._next
        batch = self._max_batch if self._fixed_batch else count
        pinned = self._slots[slot].images[: batch * self._frame_bytes]
        pinned[: count * self._frame_bytes] = images.reshape(-1)
        pinned[count * self._frame_bytes :] = 0
        self._shape_for(batch)
        graph = self._graph_for(slot, batch)
        if graph is None:
            self._enqueue(slot, batch)
        else:
            self._cuda.launch(graph, self._stream)
        self._cuda.record(self._slots[slot].done, self._stream)
        self._under_way.append((slot, count))
        self._next = (slot + 1) % SLOTS

    def collect(self) -> tuple[NDArray[np.float32], ...]:
        """Waits for the oldest batch: one fresh array for each of the spec's outputs.

        Raises:
            InferenceError: nothing is under way, or the device failed.
        """
        if not self._under_way:
            raise InferenceError("nothing is under way; submit a batch first")
        slot, count = self._under_way.popleft()
        self._cuda.wait_for(self._slots[slot].done)
        spec = self._spec
        shapes = {"class_logits": (count, 3, spec.output_height, spec.output_width)}
        return tuple(
            pinned[: count * size].view(np.float32).reshape(shapes.get(name, (count,))).copy()
            for (name, size), pinned in zip(self._sizes.items(), self._slots[slot].outputs, strict=True)
        )

    def run_on_device(self, images: Any, outputs: Any) -> None:
        """Runs a batch whose images and outputs are on the device already, without a copy (zero-copy for torch, CuPy).

        Args:
            images: (B, 1, H, W) uint8, C-contiguous, anything with `__cuda_array_interface__`.
            outputs: a mapping from each of the spec's output names to a float32 array of its shape, likewise.

        Returns when the outputs are there. Batches submitted before go first.
        """
        facts = images.__cuda_array_interface__
        expected = (self._spec.height, self._spec.width)
        if facts["typestr"] != "|u1" or tuple(facts["shape"][2:]) != expected or facts.get("strides") is not None:
            raise InferenceError(
                f"images on the device must be contiguous uint8 (B, 1, {expected[0]}, {expected[1]}), got"
                f" {facts['typestr']} {tuple(facts['shape'])}"
            )
        self._shape_for(facts["shape"][0])
        given = {"image": images, **outputs}
        try:
            for name, array in given.items():
                self._context.set_tensor_address(name, array.__cuda_array_interface__["data"][0])
            self._execute()
            self._cuda.wait(self._stream)
        finally:
            for name, address in self._addresses.items():
                self._context.set_tensor_address(name, address)

    def close(self) -> None:
        """Gives everything back, in reverse order; safe after a failed start."""
        cuda = self._cuda
        for graph in self._graphs.values():
            if graph is not None:
                cuda.free_graph(graph)
        for slot in self._slots:
            cuda.free_event(slot.done)
            for array in (slot.images, *slot.outputs):
                cuda.free_pinned(array)
        for address in self._addresses.values():
            cuda.free(address)
        if self._stream is not None:
            cuda.free_stream(self._stream)
        self._graphs, self._slots, self._addresses, self._stream = {}, [], {}, None

    def _shape_for(self, batch: int) -> None:
        """Tells the context the batch size. It is part of its state, and what a graph replays was recorded under it."""
        if batch != self._batch:
            spec = self._spec
            if not self._context.set_input_shape("image", (batch, 1, spec.height, spec.width)):
                raise InferenceError(f"the engine does not take a batch of {batch}; build one with another --batch")
            self._batch = batch

    def _graph_for(self, slot: int, batch: int) -> Any:
        """The recorded graph; the first call of a batch size runs unrecorded, as TensorRT sets itself up in it."""
        if not self._use_graph:
            return None
        place = (slot, batch)
        if place not in self._graphs:
            self._enqueue(slot, batch)
            self._cuda.wait(self._stream)
            self._graphs[place] = self._recorded(slot, batch)
        return self._graphs[place]

    def _recorded(self, slot: int, batch: int) -> Any:
        if not getattr(self._context, "is_stream_capturable", lambda _: True)(int(self._stream)):
            return None
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue(slot, batch)
        finally:
            graph = self._cuda.end_capture(self._stream)
        return graph

    def _enqueue(self, slot: int, batch: int) -> None:
        """Image up, network, answers down."""
        cuda, stream = self._cuda, self._stream
        cuda.to_device(
            self._addresses["image"], self._slots[slot].images.ctypes.data, batch * self._frame_bytes, stream
        )
        self._execute()
        for (name, size), pinned in zip(self._sizes.items(), self._slots[slot].outputs, strict=True):
            cuda.to_host(pinned, self._addresses[name], batch * size, stream)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise InferenceError("the engine refused to run; build it again")
