"""A GPU made of numpy: a TensorRT whose engines are ONNX files, on `tests.fakes.fake_cuda`."""

from __future__ import annotations

import functools
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from engines.errors import InferenceError
from engines.onnx.editing import read_graph
from engines.onnx.labelled import with_labels
from engines.tensorrt.runtime import TensorRt
from tests.fakes.fake_cuda import ALIGNMENT, GPU, FakeCuda

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "ALIGNMENT", "GPU", "PLAN_VERSION", "FakeContext", "FakeCuda", "fake_plan", "fake_tensorrt"]

PREFIX = b"fake engine:"
PLAN_VERSION = "99.1"
ACTIVATIONS = 5000
"""Bytes of device memory that a context works in."""


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
        self._content, self._session = content, _session(content)
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
            answers = _answers(self._content, image.tobytes(), shape)
            for tensor, value in zip(self._session.get_outputs(), answers, strict=True):
                raw = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
                memory[addresses[tensor.name]][: len(raw)] = raw

        def check() -> None:
            if self._shape != shape:
                raise InferenceError(f"a graph of shape {shape} is launched under {self._shape}")

        own = [self._memory] if self._memory > 0 else []
        self._cuda.add(compute, stream_handle, memory=[*addresses.values(), *own], check=check)
        return True


@functools.lru_cache(maxsize=8)
def _session(content: bytes) -> onnxruntime.InferenceSession:
    """Of a model; it keeps nothing of a call, so all contexts may share one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@functools.lru_cache(maxsize=256)
def _answers(content: bytes, image: bytes, shape: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """What a model says of pictures: the same of the same ones, so that they are asked for once."""
    pictures = np.frombuffer(image, np.uint8).reshape(shape)
    return tuple(_session(content).run(None, {"image": pictures}))


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
