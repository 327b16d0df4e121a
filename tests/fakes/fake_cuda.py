"""CUDA made of numpy: its calls with exact bookkeeping.

Nothing happens when it is asked for but when the stream is waited for, as on a device: code that reads too early reads
what was there before. Whatever is not given back is found by `FakeCuda.leaks`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import EngineUnavailable, InferenceError, OutOfDeviceMemory
from engines.tensorrt.cuda import DeviceFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

GPU = DeviceFacts(name="NVIDIA Fake", compute_capability=(9, 0), memory_bytes=1 << 30, driver="13.0")
ALIGNMENT = 256


@dataclass(frozen=True, slots=True)
class _Step:
    """What is in line on a stream, and the device memory it works on."""

    do: Callable[[], object]
    memory: frozenset[int]


class _Graph:
    """What was recorded, and what must hold when it is launched."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.checks: list[Callable[[], None]] = []


class FakeCuda:
    """See `engines.tensorrt.cuda.Cuda`.

    As strict as a device: nothing is waited for or allocated while a graph is recorded, a kernel that fails leaves the
    device failing for good, and what belongs to one GPU is used in threads that have chosen that GPU alone. Streams run
    independently of each other, and one piece of memory in two of them at a time is an error.

    Args:
        room: bytes of device memory.
        fail_at: number of the call, of CUDA or of TensorRT, that fails, counted from 1; 0 lets none fail.
        gpus: how many there are; all of one kind.
    """

    def __init__(self, *, room: int = 1 << 30, fail_at: int = 0, gpus: int = 1) -> None:
        self._room, self._gpus = room, gpus
        self._chosen: dict[int, int] = {}
        self._home: dict[int, int] = {}
        self.facts = GPU
        self.fail_at = fail_at
        self.calls: list[str] = []
        self.broken = ""
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.pinned_arrays: dict[int, NDArray[np.uint8]] = {}
        self.queues: dict[int, list[_Step]] = {}
        self.recording: _Graph | None = None
        self.alive = {"streams": 0, "events": 0, "graphs": 0, "contexts": 0, "engines": 0}
        self.marks: dict[int, tuple[int, int]] = {}
        self.launches = 0
        self.configs: list[Any] = []
        self.done: dict[int, int] = {}
        self._next = 1 << 20

    @property
    def leaks(self) -> dict[str, int]:
        found = {**self.alive, "memory": len(self.memory), "pinned": len(self.pinned_arrays)}
        return {name: count for name, count in found.items() if count}

    @property
    def waiting(self) -> list[_Step]:
        """All that is in line, on any stream."""
        return [step for queue in self.queues.values() for step in queue]

    def lose(self) -> None:
        """The card forgets what is in line, without a word."""
        for stream, queue in self.queues.items():
            self.done[stream] += len(queue)
            queue.clear()

    def fails(self, name: str) -> bool:
        """Counts a call; true where it is the one that fails."""
        self.calls.append(name)
        return len(self.calls) == self.fail_at

    def call(self, name: str, *, while_recording: bool = True) -> None:
        """Counts a call; raises where it is the one that fails, or cannot be made now."""
        if self.fails(name):
            raise InferenceError(f"CUDA says cudaErrorUnknown in {name}")
        if self.broken:
            raise InferenceError(self.broken)
        if self.recording and not while_recording:
            raise InferenceError(f"CUDA says cudaErrorStreamCaptureUnsupported in {name}")

    def count(self) -> int:
        self.call("count")
        return self._gpus

    def device(self, index: int) -> DeviceFacts:
        self.call("device")
        if not 0 <= index < self._gpus:
            raise EngineUnavailable(f"no GPU {index}: this machine has {self._gpus}; choose another with --device")
        self._chosen[threading.get_ident()] = index
        return self.facts

    def use(self, index: int) -> None:
        self.call("use")
        self._chosen[threading.get_ident()] = index

    @property
    def chosen(self) -> int:
        """The GPU of this thread; the first where it has chosen none."""
        return self._chosen.get(threading.get_ident(), 0)

    def belongs(self, handle: int, name: str) -> None:
        """Raises where a stream, event or address is another GPU's than the chosen one."""
        if self._home.get(handle, self.chosen) != self.chosen:
            raise InferenceError(f"CUDA says cudaErrorInvalidResourceHandle in {name}")

    def new_stream(self) -> int:
        self.call("new_stream")
        self.alive["streams"] += 1
        stream = self._new_handle()
        self.queues[stream], self.done[stream] = [], 0
        return stream

    def _new_handle(self, size: int = 0) -> int:
        self._next += ALIGNMENT * (1 + size // ALIGNMENT)
        self._home[self._next] = self.chosen
        return self._next

    def free_stream(self, stream: int) -> None:
        self.alive["streams"] -= 1
        self.call("free_stream")

    def allocate(self, size: int) -> int:
        self.call("allocate", while_recording=False)
        if size + sum(len(array) for array in self.memory.values()) > self._room:
            raise OutOfDeviceMemory(f"no room for {size} bytes")
        address = self._new_handle(size)
        self.memory[address] = np.full(size, 0xAB, np.uint8)
        return address

    def free(self, address: int) -> None:
        del self.memory[address]
        self.call("free", while_recording=False)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        self.call("pinned", while_recording=False)
        array = np.full(size, 0xCD, np.uint8)
        self.pinned_arrays[array.ctypes.data] = array
        return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        del self.pinned_arrays[array.ctypes.data]
        self.call("free_pinned", while_recording=False)

    def to_device(self, address: int, source: int, size: int, stream: int) -> None:
        self.call("to_device")
        self.belongs(stream, "to_device")
        self.belongs(address, "to_device")
        array = self.pinned_arrays[source]
        if size > min(len(array), len(self.memory[address])):
            raise InferenceError("CUDA says cudaErrorInvalidValue in to_device")

        def copy() -> None:
            self.memory[address][:size] = array[:size]

        self.add(copy, stream, memory=[address])

    def to_host(self, array: NDArray[np.uint8], address: int, size: int, stream: int) -> None:
        self.call("to_host")
        self.belongs(stream, "to_host")
        self.belongs(address, "to_host")
        if size > min(len(array), len(self.memory[address])):
            raise InferenceError("CUDA says cudaErrorInvalidValue in to_host")

        def copy() -> None:
            array[:size] = self.memory[address][:size]

        self.add(copy, stream, memory=[address])

    def wait(self, stream: int) -> None:
        self.call("wait", while_recording=False)
        self._run(stream, len(self.queues[stream]))

    def new_event(self) -> int:
        self.call("new_event")
        self.alive["events"] += 1
        return self._new_handle()

    def free_event(self, event: int) -> None:
        self.alive["events"] -= 1
        self.call("free_event")

    def record(self, event: int, stream: int) -> None:
        self.call("record")
        self.belongs(event, "record")
        self.belongs(stream, "record")
        self.marks[event] = stream, self.done[stream] + len(self.queues[stream])

    def wait_for(self, event: int) -> None:
        self.call("wait_for", while_recording=False)
        stream, mark = self.marks[event]
        self._run(stream, max(0, mark - self.done[stream]))

    def elapsed_ms(self, start: int, end: int) -> float:
        self.call("elapsed_ms", while_recording=False)
        (stream, began), (other, ended) = self.marks[start], self.marks[end]
        if stream != other or ended > self.done[stream]:
            raise InferenceError("CUDA says cudaErrorNotReady in elapsed_ms")
        return 0.1 * (ended - began)

    def begin_capture(self, stream: int) -> None:
        self.call("begin_capture", while_recording=False)
        self.recording = _Graph()

    def end_capture(self, stream: int) -> _Graph:
        recorded, self.recording = self.recording, None
        self.call("end_capture")
        assert recorded is not None
        self.alive["graphs"] += 1
        return recorded

    def launch(self, graph: _Graph, stream: int) -> None:
        self.call("launch")
        self.belongs(stream, "launch")
        for check in graph.checks:
            check()
        self.launches += 1
        for step in graph.steps:
            self._line_up(step, stream)

    def free_graph(self, graph: _Graph) -> None:
        graph.steps.clear()
        graph.checks.clear()
        self.alive["graphs"] -= 1
        self.call("free_graph")

    def add(
        self,
        do: Callable[[], object],
        stream: int,
        *,
        memory: Iterable[int] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Puts something in line on the stream, or into the graph that is being recorded.

        `memory` are the addresses it works on. `check` is called whenever that graph is launched.
        """
        step = _Step(do, frozenset(memory))
        if self.recording is None:
            self._line_up(step, stream)
        else:
            self.recording.steps.append(step)
            self.recording.checks.append(check)

    def _line_up(self, step: _Step, stream: int) -> None:
        others = [each for other, queue in self.queues.items() if other != stream for each in queue]
        if any(step.memory & each.memory for each in others):
            raise InferenceError("two streams work on one piece of memory at a time")
        self.queues[stream].append(step)

    def _run(self, stream: int, count: int) -> None:
        """Does what is in line. A step that fails is the device's end, as an illegal address is CUDA's."""
        queue = self.queues[stream]
        steps = queue[:count]
        del queue[:count]
        for step in steps:
            try:
                step.do()
            except InferenceError as error:
                self.broken = str(error)
                raise
        self.done[stream] += count
