"""The CUDA runtime calls that an engine needs, replaceable in tests.

`CudaRuntime` is NVIDIA's own binding (`cuda-bindings`); errors become the project's, with a mend.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engines.errors import DeviceBusy, EngineUnavailable, InferenceError, OutOfDeviceMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """An NVIDIA GPU: its name, compute capability (9.0), memory in bytes, and the driver's CUDA version (13.0)."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver: str

    def __str__(self) -> str:
        return f"{self.name} sm{self.compute_capability[0]}{self.compute_capability[1]}"


class Cuda(Protocol):
    """Device memory, streams and graphs. Streams, graphs and addresses are plain integers or the binding's own."""

    def count(self) -> int:
        """How many GPUs there are; EngineUnavailable where there is no driver."""

    def device(self, index: int) -> DeviceFacts:
        """Chooses a GPU for this thread and describes it; EngineUnavailable where there is none."""

    def use(self, index: int) -> None:
        """Chooses a GPU for this thread; CUDA remembers one for each."""

    def new_stream(self) -> Any: ...

    def free_stream(self, stream: Any) -> None: ...

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the device; OutOfDeviceMemory where they do not fit."""

    def free(self, address: int) -> None: ...

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """(size,) bytes of page-locked host memory, which the device can copy from and to by itself."""

    def free_pinned(self, array: NDArray[np.uint8]) -> None: ...

    def to_device(self, address: int, source: int, size: int, stream: Any) -> None:
        """Starts a copy from host (or device) address `source`."""

    def to_host(self, array: NDArray[np.uint8], address: int, size: int, stream: Any) -> None:
        """Starts a copy into pinned memory."""

    def wait(self, stream: Any) -> None:
        """Returns when all that was started on the stream is done; raises what failed."""

    def new_event(self) -> Any: ...

    def free_event(self, event: Any) -> None: ...

    def record(self, event: Any, stream: Any) -> None:
        """Records an event in the stream, which `wait_for` waits for."""

    def wait_for(self, event: Any) -> None:
        """Returns when all that was started before the mark is done; raises what failed."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Time on the device between two recorded events, both of which have been waited for."""

    def begin_capture(self, stream: Any) -> None: ...

    def end_capture(self, stream: Any) -> Any:
        """The calls since `begin_capture` as one graph, ready to launch; recording is over even if this fails."""

    def launch(self, graph: Any, stream: Any) -> None: ...

    def free_graph(self, graph: Any) -> None: ...


class CudaRuntime:
    """`Cuda` by NVIDIA's binding of the CUDA runtime.

    Raises:
        EngineUnavailable: the binding is not installed.
    """

    def __init__(self) -> None:
        try:
            self._cuda: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise EngineUnavailable(
                f"cuda-bindings cannot be imported ({error}); pip install 'partum[tensorrt]'"
            ) from error
        self._pinned: dict[int, int] = {}

    def count(self) -> int:
        return int(self._call("cudaGetDeviceCount"))

    def device(self, index: int) -> DeviceFacts:
        count = self.count()
        if not 0 <= index < count:
            raise EngineUnavailable(f"no GPU {index}: this machine has {count}; choose another with --device cuda:N")
        self.use(index)
        facts = self._call("cudaGetDeviceProperties", index)
        driver = self._call("cudaDriverGetVersion")
        name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
        return DeviceFacts(
            name=name.rstrip("\0"),
            compute_capability=(facts.major, facts.minor),
            memory_bytes=facts.totalGlobalMem,
            driver=f"{driver // 1000}.{driver % 1000 // 10}",
        )

    def use(self, index: int) -> None:
        self._call("cudaSetDevice", index)

    def new_stream(self) -> Any:
        return self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)

    def free_stream(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        import ctypes

        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self._pinned[array.ctypes.data] = address
        return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        self._call("cudaFreeHost", self._pinned.pop(array.ctypes.data))

    def to_device(self, address: int, source: int, size: int, stream: Any) -> None:
        self._call("cudaMemcpyAsync", address, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDefault, stream)

    def to_host(self, array: NDArray[np.uint8], address: int, size: int, stream: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, size, kind, stream)

    def wait(self, stream: Any) -> None:
        self._call("cudaStreamSynchronize", stream)

    def new_event(self) -> Any:
        # The waiting thread sleeps instead of spinning: other stages need the core.
        return self._call("cudaEventCreateWithFlags", self._cuda.cudaEventBlockingSync)

    def free_event(self, event: Any) -> None:
        self._call("cudaEventDestroy", event)

    def record(self, event: Any, stream: Any) -> None:
        self._call("cudaEventRecord", event, stream)

    def wait_for(self, event: Any) -> None:
        self._call("cudaEventSynchronize", event)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(self._call("cudaEventElapsedTime", start, end))

    def begin_capture(self, stream: Any) -> None:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, function: str, *arguments: Any) -> Any:
        """Calls the runtime; its first result is a status, the second what was asked for."""
        status, *found = getattr(self._cuda, function)(*arguments)
        if int(status) != 0:
            raise cuda_error(status.name, function)
        return found[0] if found else None


def cuda_error(status: str, function: str) -> InferenceError | EngineUnavailable:
    """The project's error for one of CUDA's, with what to do about it."""
    where = f"CUDA says {status} in {function}"
    if status == "cudaErrorMemoryAllocation":
        return OutOfDeviceMemory(f"{where}: the GPU's memory is full; end other programs on it, or use a smaller batch")
    if status in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorInvalidDevice"):
        # Short: every start says it where TensorRT is installed on a machine that has none.
        return EngineUnavailable(f"no usable NVIDIA GPU ({status}); install or update its driver")
    if status in ("cudaErrorDevicesUnavailable", "cudaErrorDeviceUnavailable"):
        return DeviceBusy(f"{where}: another process has taken the GPU; end it, or use another back-end")
    if status in ("cudaErrorNoKernelImageForDevice", "cudaErrorUnsupportedPtxVersion"):
        return EngineUnavailable(
            f"{where}: the runtime does not know this GPU; update TensorRT, or use another back-end"
        )
    return InferenceError(f"{where}; start the program again, and if it stays, build the engine again")
