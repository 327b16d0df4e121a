"""Proves buffers, streams, graphs and release of the TensorRT back-end on a real GPU where TensorRT is missing.

A context that takes TensorRT's calls runs the torch network on the addresses it is given. Everything else is the
project's own: CUDA's binding, pinned memory, events, recording and replay, two lanes, batches, errors, release.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import BenchError
from engines.base import answer_type
from engines.errors import InferenceError
from engines.tensorrt.cuda import CudaRuntime
from engines.tensorrt.device_run import LANES, DeviceRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from benchmarks.experiments.gpu.steps import Report
    from engines.base import ModelSpec
    from engines.tensorrt.cuda import Cuda

    Network = Callable[[Any], Sequence[Any]]
    TensorAt = Callable[[int, tuple[int, ...], np.dtype[Any]], Any]
    """A tensor on device memory that is there: address, shape, type."""

SIZES = (1, 2, 4, 8)
TOLERANCE = 2e-3
"""Logits of one network and batch size by two ways: the choice of kernels may differ."""
MOST_PIXELS = 1e-3
"""Share of pixels whose labels may differ: those where two classes tie to that rounding."""
LEAKED_BYTES = 8 << 20


class TorchContext:
    """Takes the calls of a TensorRT execution context, and runs a torch network.

    Args:
        network: images (B, 1, H, W) uint8 to its answers, on the device.
        names: of the answers, in their order.
        tensor_at: see above.
        on_stream: what torch does within it goes to the stream of that handle.
    """

    def __init__(
        self,
        network: Network,
        names: Sequence[str],
        tensor_at: TensorAt,
        on_stream: Callable[[int], AbstractContextManager[object]],
    ) -> None:
        self._network, self._names = network, tuple(names)
        self._tensor_at, self._on_stream = tensor_at, on_stream
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self.refuses = False

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name == "image" or name in self._names

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = tuple(shape)
        return name == "image" and shape[0] >= 1

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.refuses:
            return False
        with self._on_stream(stream_handle):
            answers = self._network(self._tensor_at(self._addresses["image"], self._shape, np.dtype(np.uint8)))
            for name, answer in zip(self._names, answers, strict=True):
                shape = (self._shape[0], *answer.shape[1:])
                self._tensor_at(self._addresses[name], shape, answer_type(name)).copy_(answer)
        return True


class _Memory:
    """Device memory by its address, in the way that CuPy, Numba and torch know."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": dtype.str,
            "strides": None,
            "version": 3,
        }


def prove(report: Report) -> None:
    """Runs all checks with torch on GPU 0; each is said on its own, and what fails stops the step."""
    if report.rehearsal:
        report.put(left_out="it needs a GPU; its test runs it on one made of numpy")
        return
    torch: Any = import_module("torch")
    network, spec = _network(torch)

    def tensor_at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return torch.as_tensor(_Memory(address, shape, dtype), device="cuda")

    def context() -> TorchContext:
        return TorchContext(network, spec.output_names, tensor_at, _on_stream(torch))

    def free_bytes() -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info()[0])

    def alone(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            return [answer.cpu().numpy() for answer in network(torch.from_numpy(images).cuda())]

    check_device_code(report, CudaRuntime(), spec, context, alone, free_bytes=free_bytes)


def _network(torch: Any) -> tuple[Network, ModelSpec]:
    """The network that ships, in float32 and with labels, on the GPU."""
    from engines.backends.torch import rebuilt
    from engines.network.serving import LabelledNetwork
    from engines.onnx.model_file import read_model_file
    from engines.registry import DEFAULT_MODEL
    from engines.runtime import variant_spec

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = read_model_file(DEFAULT_MODEL)
    spec = variant_spec(model.spec, heads_only=False, labels=True)
    labelled = LabelledNetwork(rebuilt(model), spec).eval().cuda()

    def run(images: Any) -> Sequence[Any]:
        with torch.inference_mode():
            answers: Sequence[Any] = labelled(images)
        return answers

    return run, spec


def _on_stream(torch: Any) -> Callable[[int], AbstractContextManager[object]]:
    """Puts torch on a stream of ours. What a graph replays must stay where it was recorded: memory of its own."""
    pool = torch.cuda.MemPool() if hasattr(torch.cuda, "MemPool") else None

    @contextmanager
    def on_stream(handle: int) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(handle)))
            if pool is not None:
                stack.enter_context(torch.cuda.use_mem_pool(pool))
            yield

    return on_stream


def check_device_code(
    report: Report,
    cuda: Cuda,
    spec: ModelSpec,
    new_context: Callable[[], TorchContext],
    alone: Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]],
    *,
    free_bytes: Callable[[], int],
) -> None:
    """All checks, on any CUDA and any network.

    Args:
        report: what was found.
        cuda: the CUDA runtime.
        spec: of the network; its outputs are what a context answers.
        new_context: makes a context of that network.
        alone: the same network without any of this.
        free_bytes: of the device's memory.

    Raises:
        BenchError: a check failed.
        InferenceError: the device failed.
    """
    report.put(gpu=str(cuda.device(0)))
    checks = _Checks(cuda, spec, new_context, alone)
    checks.answers(use_graph=False)
    report.put(call_by_call="ok")
    before = free_bytes()
    report.put(cuda_graphs="ok" if checks.answers(use_graph=True) else "recording failed; it went on without")
    report.put(bytes_not_given_back=max(0, before - free_bytes()))
    if before - free_bytes() > LEAKED_BYTES:
        raise BenchError(f"{before - free_bytes()} bytes of the GPU were not given back")
    checks.another_thread()
    report.put(another_thread="ok")
    checks.errors()
    report.put(errors="ok")
    report.put(device_ms=checks.device_ms())


class _Checks:
    def __init__(
        self,
        cuda: Cuda,
        spec: ModelSpec,
        new_context: Callable[[], TorchContext],
        alone: Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]],
    ) -> None:
        self._cuda, self._spec, self._new_context, self._alone = cuda, spec, new_context, alone
        self._random = np.random.default_rng(3)

    def answers(self, *, use_graph: bool) -> bool:
        """Batches of changing sizes, two under way, each with its own answers; returns whether graphs were replayed."""
        run, _ = self._run(use_graph=use_graph)
        try:
            for first, second in ((1, 1), (1, 3), (8, 2), (5, 1), (1, 8), (4, 4), (1, 1)):
                given = [self._images(first), self._images(second)]
                numbers = [run.submit(images) for images in given]
                for number, images in zip(numbers, given, strict=True):
                    self._compare(run.collect(number), images)
            return run.uses_graphs
        finally:
            run.close()

    def another_thread(self) -> None:
        """An engine made in one thread runs in another."""
        run, _ = self._run(use_graph=True)
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self._cuda.use(0)
                self._ask(run, 2)
            except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again below
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        run.close()
        if failed:
            raise failed[0]

    def errors(self) -> None:
        """What a context refuses is an error; the next answer is that of the next question."""
        run, contexts = self._run(use_graph=False)
        try:
            for _ in range(LANES):
                self._ask(run, 2)
                for context in contexts:
                    context.refuses = True
                self._must_fail(run)
                for context in contexts:
                    context.refuses = False
                self._ask(run, 3)
        finally:
            run.close()

    def _ask(self, run: DeviceRun, count: int) -> None:
        images = self._images(count)
        self._compare(run.collect(run.submit(images)), images)

    def _must_fail(self, run: DeviceRun) -> None:
        try:
            run.collect(run.submit(self._images(1)))
        except InferenceError:
            return
        raise BenchError("a context that refuses to run was not noticed")

    def device_ms(self) -> dict[str, float]:
        """The device's own time by batch, copies included, with graphs where they can be recorded."""
        run, _ = self._run(use_graph=True)
        try:
            return {str(size): round(run.device_ms(size, runs=20), 5) for size in SIZES}
        finally:
            run.close()

    def _run(self, *, use_graph: bool) -> tuple[DeviceRun, list[TorchContext]]:
        lanes: list[Mapping[int, Any]] = [{size: self._new_context() for size in SIZES} for _ in range(LANES)]
        run = DeviceRun(lanes, self._cuda, self._spec, use_graph=use_graph)
        return run, [context for lane in lanes for context in lane.values()]

    def _images(self, count: int) -> NDArray[np.uint8]:
        return self._random.integers(0, 256, (count, 1, self._spec.height, self._spec.width), np.uint8)

    def _compare(self, found: Sequence[NDArray[Any]], images: NDArray[np.uint8]) -> None:
        """Raises where answers are not those of the network to these images."""
        for name, one, other in zip(self._spec.output_names, found, self._alone(images), strict=True):
            if name == "labels":
                unlike = float(np.mean(one != other))
                if unlike > MOST_PIXELS:
                    raise BenchError(f"labels of {len(images)} images: {unlike:.2%} of the pixels are another's")
            elif not np.allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE):
                off = float(np.abs(one - other).max())
                raise BenchError(f"{name} of {len(images)} images is off by {off:.4g}")
