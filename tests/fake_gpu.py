"""A GPU made of numpy: CUDA's calls with exact bookkeeping, and a TensorRT whose engines are ONNX files.

Nothing happens when it is asked for but when the stream is waited for, as on a device: code that reads too early reads
what was there before. Whatever is not given back is found by `FakeCuda.leaks`.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from engines.cuda import DeviceFacts
from engines.errors import InferenceError, OutOfDeviceMemory
from engines.tensorrt_module import TensorRt

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GPU = DeviceFacts(name="NVIDIA Fake", compute_capability=(9, 0), memory_bytes=1 << 30, driver="13.0")
PREFIX = b"fake engine:"
PLAN_VERSION = "99.1"


class FakeCuda:
    """See `engines.cuda.Cuda`.

    Args:
        room: bytes of device memory.
    """

    def __init__(self, *, room: int = 1 << 30) -> None:
        self._room = room
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.pinned_arrays: dict[int, NDArray[np.uint8]] = {}
        self.waiting: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.alive = {"streams": 0, "events": 0, "graphs": 0}
        self.marks: dict[int, int] = {}
        self.launches = 0
        self.used_in: set[int] = set()
        self.done = 0
        self._next = 1000

    @property
    def leaks(self) -> dict[str, int]:
        found = {**self.alive, "memory": len(self.memory), "pinned": len(self.pinned_arrays)}
        return {name: count for name, count in found.items() if count}

    def device(self, index: int) -> DeviceFacts:
        return GPU

    def use(self, index: int) -> None:
        self.used_in.add(threading.get_ident())

    def new_stream(self) -> int:
        self.alive["streams"] += 1
        return 7

    def free_stream(self, stream: int) -> None:
        self.alive["streams"] -= 1

    def allocate(self, size: int) -> int:
        if size + sum(len(array) for array in self.memory.values()) > self._room:
            raise OutOfDeviceMemory(f"no room for {size} bytes")
        self._next += 1_000_000
        self.memory[self._next] = np.full(size, 0xAB, np.uint8)
        return self._next

    def free(self, address: int) -> None:
        del self.memory[address]

    def pinned(self, size: int) -> NDArray[np.uint8]:
        array = np.full(size, 0xCD, np.uint8)
        self.pinned_arrays[array.ctypes.data] = array
        return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        del self.pinned_arrays[array.ctypes.data]

    def to_device(self, address: int, source: int, size: int, stream: int) -> None:
        array = self.pinned_arrays[source]

        def copy() -> None:
            self.memory[address][:size] = array[:size]

        self.add(copy)

    def to_host(self, array: NDArray[np.uint8], address: int, size: int, stream: int) -> None:
        def copy() -> None:
            array[:size] = self.memory[address][:size]

        self.add(copy)

    def wait(self, stream: int) -> None:
        self._run(len(self.waiting))

    def new_event(self) -> int:
        self.alive["events"] += 1
        self._next += 1
        return self._next

    def free_event(self, event: int) -> None:
        self.alive["events"] -= 1

    def record(self, event: int, stream: int) -> None:
        self.marks[event] = self.done + len(self.waiting)

    def wait_for(self, event: int) -> None:
        self._run(max(0, self.marks[event] - self.done))

    def begin_capture(self, stream: int) -> None:
        self.recording = []

    def end_capture(self, stream: int) -> list[Callable[[], None]]:
        recorded, self.recording = self.recording, None
        assert recorded is not None
        self.alive["graphs"] += 1
        return recorded

    def launch(self, graph: list[Callable[[], None]], stream: int) -> None:
        self.launches += 1
        self.waiting += graph

    def free_graph(self, graph: object) -> None:
        self.alive["graphs"] -= 1

    def add(self, step: Callable[[], None]) -> None:
        """Puts something in line on the stream, or into the graph that is being recorded."""
        (self.waiting if self.recording is None else self.recording).append(step)

    def _run(self, count: int) -> None:
        for step in self.waiting[:count]:
            step()
        del self.waiting[:count]
        self.done += count


class FakeContext:
    """Runs an engine's ONNX file on fake memory, when the stream gets there."""

    def __init__(self, content: bytes, cuda: FakeCuda) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._cuda = cuda
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self.fails = False

    def set_tensor_address(self, name: str, address: int) -> bool:
        known = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._addresses[name] = address
        return name in known

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return True

    def execute_async_v3(self, stream: int) -> bool:
        shape, addresses = self._shape, dict(self._addresses)

        def compute() -> None:
            if self.fails:
                raise InferenceError("CUDA says cudaErrorIllegalAddress; start the program again")
            memory = self._cuda.memory
            size = int(np.prod(shape))
            image = memory[addresses["image"]][:size].reshape(shape)
            for tensor, value in zip(
                self._session.get_outputs(), self._session.run(None, {"image": image}), strict=True
            ):
                raw = np.ascontiguousarray(value, np.float32).view(np.uint8).reshape(-1)
                memory[addresses[tensor.name]][: len(raw)] = raw

        self._cuda.add(compute)
        return True


def fake_tensorrt(cuda: FakeCuda) -> TensorRt:
    """A TensorRT that deserialises what `fake_plan` made, and says None to anything else, as the real one does."""

    class Logger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, content: bytes) -> Any:
            if not content.startswith(PREFIX):
                self._log.log(Logger.Severity.ERROR, "magic tag does not match")
                return None
            model = content.removeprefix(PREFIX)
            return SimpleNamespace(create_execution_context=lambda: FakeContext(model, cuda))

    return TensorRt(SimpleNamespace(ILogger=Logger, Runtime=Runtime), "tensorrt", PLAN_VERSION)


def fake_plan(content: bytes) -> bytes:
    """What a build of this ONNX file gives."""
    return PREFIX + content
