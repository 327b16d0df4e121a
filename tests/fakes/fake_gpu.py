"""A GPU made of numpy: CUDA's calls with exact bookkeeping, and a TensorRT whose engines are ONNX files.

Nothing happens when it is asked for but when the stream is waited for, as on a device: code that reads too early reads
what was there before. Whatever is not given back is found by `FakeCuda.leaks`.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from engines.errors import EngineUnavailable, InferenceError, OutOfDeviceMemory
from engines.onnx.editing import read_graph
from engines.onnx.labelled import with_labels
from engines.tensorrt.cuda import DeviceFacts
from engines.tensorrt.runtime import TensorRt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

GPU = DeviceFacts(name="NVIDIA Fake", compute_capability=(9, 0), memory_bytes=1 << 30, driver="13.0")
PREFIX = b"fake engine:"
PLAN_VERSION = "99.1"


ALIGNMENT = 256
ACTIVATIONS = 5000
"""Bytes of device memory that a context works in."""


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


class FakeContext:
    """Runs an engine's ONNX file on fake memory, when the stream gets there.

    As strict as TensorRT: it runs in memory that was given to it, aligned and large enough, on the GPU of its engine,
    with a shape of its profile and an address for every tensor; and it is not recorded before it has run.

    Args:
        content: the ONNX file.
        cuda: whose memory it works on.
        batch: least and greatest batch size of its profile.
        needs_memory: its memory is the caller's to give.
    """

    def __init__(
        self, content: bytes, cuda: FakeCuda, *, batch: tuple[int, int] = (1, 64), needs_memory: bool = False
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._cuda, self._batch, self._gpu = cuda, batch, cuda.chosen
        self._names = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._memory = 0 if needs_memory else -1
        self.fails = False
        self.ran: set[tuple[int, ...]] = set()
        counts(self, cuda, "contexts")

    def set_device_memory(self, memory: int, size: int) -> None:
        self._cuda.call("set_device_memory")
        self._cuda.belongs(memory, "set_device_memory")
        if memory % ALIGNMENT or size < ACTIVATIONS or len(self._cuda.memory[memory]) < size:
            raise InferenceError("the memory is not aligned, or too small")
        self._memory = memory

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._cuda.fails("set_tensor_address") or memory % ALIGNMENT:
            return False
        self._addresses[name] = memory
        return name in self._names

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, most = self._batch
        self._shape = ()  # where it fails, nobody knows what it is
        if self._cuda.fails("set_input_shape") or not least <= shape[0] <= most:
            return False
        self._shape = shape
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        shape, addresses = self._shape, dict(self._addresses)
        is_ready = shape and addresses.keys() == self._names and self._memory in (-1, *self._cuda.memory)
        if self._cuda.fails("execute_async_v3") or not is_ready or self._cuda.chosen != self._gpu:
            return False
        if self._cuda.recording and shape not in self.ran:
            return False  # it sets itself up in the first run, which cannot be recorded
        self.ran.add(shape)

        def compute() -> None:
            if self.fails:
                raise InferenceError("CUDA says cudaErrorIllegalAddress; start the program again")
            memory = self._cuda.memory
            size = int(np.prod(shape))
            image = memory[addresses["image"]][:size].reshape(shape)
            for tensor, value in zip(
                self._session.get_outputs(), self._session.run(None, {"image": image}), strict=True
            ):
                raw = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
                memory[addresses[tensor.name]][: len(raw)] = raw

        def check() -> None:
            if self._shape != shape:
                raise InferenceError(f"a graph of shape {shape} is launched under {self._shape}")

        own = [self._memory] if self._memory > 0 else []
        self._cuda.add(compute, stream_handle, memory=[*addresses.values(), *own], check=check)
        return True


def counts(thing: object, cuda: FakeCuda, kind: str) -> None:
    """Counts a TensorRT object as alive for as long as somebody knows it."""

    def gone() -> None:
        cuda.alive[kind] -= 1

    cuda.alive[kind] += 1
    weakref.finalize(thing, gone)


class _Kernels:
    """What TensorRT-RTX compiled: what was taken from a file, and one more for each shape that ran."""

    def __init__(self, ran: list[set[tuple[int, ...]]]) -> None:
        self._ran, self.kept = ran, b""

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels"):
            return False
        self.kept = blob
        return True

    def serialize(self) -> bytes:
        shapes = {shape for of_one in self._ran for shape in of_one}
        return b"kernels" + b"+" * len(shapes)


class _RuntimeConfig:
    """How TensorRT-RTX makes contexts."""

    def __init__(self) -> None:
        self.ran: list[set[tuple[int, ...]]] = []
        self.dynamic_shapes_kernel_specialization_strategy = "LAZY"
        self.cuda_graph_strategy = "DISABLED"
        self.strategy = "STATIC"
        self.kernels: _Kernels | None = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> _Kernels:
        return _Kernels(self.ran)

    def set_runtime_cache(self, cache: _Kernels) -> bool:
        self.kernels = cache
        return True


def fake_tensorrt(cuda: FakeCuda, name: str = "tensorrt") -> TensorRt:
    """A TensorRT that deserialises what `fake_plan` made, and says None to anything else, as the real one does.

    Args:
        cuda: the GPU it runs on.
        name: `tensorrt_rtx` makes contexts from a runtime configuration.
    """

    class Logger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    class CudaEngine:
        device_memory_size_v2 = ACTIVATIONS

        def __init__(self, content: bytes) -> None:
            batch, _, self._model = content.removeprefix(PREFIX).partition(b":")
            least, most = batch.decode().split("-")
            self._batch = int(least), int(most)
            counts(self, cuda, "engines")

        def create_execution_context(self, how: str | _RuntimeConfig = "STATIC") -> FakeContext | None:
            if cuda.fails("create_execution_context"):
                return None
            strategy = how if isinstance(how, str) else how.strategy
            made = FakeContext(self._model, cuda, batch=self._batch, needs_memory=strategy == "USER_MANAGED")
            if not isinstance(how, str):
                how.ran.append(made.ran)
                cuda.configs.append(how)
            return made

        if name == "tensorrt_rtx":

            def create_runtime_config(self) -> _RuntimeConfig:
                return _RuntimeConfig()

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, content: bytes) -> CudaEngine | None:
            if cuda.fails("deserialize_cuda_engine") or not content.startswith(PREFIX):
                self._log.log(Logger.Severity.ERROR, "magic tag does not match")
                return None
            return CudaEngine(content)

    names: dict[str, Any] = {
        "ILogger": Logger,
        "Runtime": Runtime,
        "ExecutionContextAllocationStrategy": SimpleNamespace(STATIC="STATIC", USER_MANAGED="USER_MANAGED"),
    }
    if name == "tensorrt_rtx":
        names["CudaGraphStrategy"] = SimpleNamespace(DISABLED="DISABLED", WHOLE_GRAPH_CAPTURE="WHOLE_GRAPH_CAPTURE")
        names["DynamicShapesKernelSpecializationStrategy"] = SimpleNamespace(LAZY="LAZY", EAGER="EAGER")
    return TensorRt(SimpleNamespace(**names), name, PLAN_VERSION)


def fake_plan(content: bytes, batch: tuple[int, int, int] = (1, 2, 4)) -> bytes:
    """What a build of this ONNX file for these batch sizes (least, usual, greatest) gives: it makes labels too."""
    _, spec = read_graph(content)
    if spec.decodes and not spec.answers_labels:
        content = with_labels(content, keep_logits=True)
    return PREFIX + f"{batch[0]}-{batch[2]}:".encode() + content
