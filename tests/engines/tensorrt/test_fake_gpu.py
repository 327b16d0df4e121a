"""The GPU made of numpy refuses what a real one refuses: what passes on it is not to fail on the first real one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from engines.errors import EngineUnavailable, InferenceError, OutOfDeviceMemory
from engines.onnx.folding import fold_graph
from tests.fakes.fake_gpu import ACTIVATIONS, ALIGNMENT, FakeContext, FakeCuda
from tests.fakes.tiny_model import HEIGHT, SPEC, WIDTH, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (2, 1, HEIGHT, WIDTH)


def ready(cuda: FakeCuda) -> FakeContext:
    """A context with memory, addresses and a shape."""
    context = FakeContext(fold_graph(tiny_model()), cuda, batch=(1, 4), needs_memory=True)
    context.set_device_memory(cuda.allocate(ACTIVATIONS), ACTIVATIONS)
    for name in ("image", *SPEC.output_names):
        assert context.set_tensor_address(name, cuda.allocate(1 << 16))
    assert context.set_input_shape("image", SHAPE)
    return context


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda cuda, stream: cuda.wait(stream),
        lambda cuda, stream: cuda.allocate(1),
        lambda cuda, stream: cuda.pinned(1),
        lambda cuda, stream: cuda.begin_capture(stream),
    ],
    ids=["wait", "allocate", "pinned", "begin again"],
)
def test_while_a_graph_is_recorded(forbidden: Callable[[FakeCuda, int], object]) -> None:
    cuda = FakeCuda()
    stream = cuda.new_stream()
    cuda.begin_capture(stream)
    with pytest.raises(InferenceError, match="cudaErrorStreamCaptureUnsupported"):
        forbidden(cuda, stream)


def test_a_context_is_not_recorded_before_it_has_run_nor_replayed_under_another_shape() -> None:
    cuda = FakeCuda()
    stream, context = cuda.new_stream(), ready(cuda)
    cuda.begin_capture(stream)
    assert not context.execute_async_v3(stream)
    cuda.end_capture(stream)
    assert context.execute_async_v3(stream)
    cuda.wait(stream)
    cuda.begin_capture(stream)
    assert context.execute_async_v3(stream)
    graph = cuda.end_capture(stream)
    cuda.launch(graph, stream)
    assert context.set_input_shape("image", (1, 1, HEIGHT, WIDTH))
    with pytest.raises(InferenceError, match="is launched under"):
        cuda.launch(graph, stream)


def test_addresses_memory_and_shapes() -> None:
    cuda = FakeCuda()
    stream, context = cuda.new_stream(), ready(cuda)
    assert not context.set_tensor_address("image", cuda.allocate(1 << 16) + ALIGNMENT // 2)
    assert not context.set_tensor_address("picture", cuda.allocate(1 << 16))
    for size, given in ((ACTIVATIONS - 1, ACTIVATIONS), (ACTIVATIONS, ACTIVATIONS - 1)):
        with pytest.raises(InferenceError, match="too small"):
            context.set_device_memory(cuda.allocate(size), given)
    assert not context.set_input_shape("image", (5, 1, HEIGHT, WIDTH))
    assert not context.execute_async_v3(stream)  # nobody knows its shape now
    bare = FakeContext(fold_graph(tiny_model()), cuda, needs_memory=True)
    assert bare.set_input_shape("image", SHAPE)
    assert not bare.execute_async_v3(stream)  # without memory and addresses


def test_copies_beyond_what_was_allocated() -> None:
    cuda = FakeCuda()
    stream, pinned, address = cuda.new_stream(), cuda.pinned(8), cuda.allocate(8)
    with pytest.raises(InferenceError, match="cudaErrorInvalidValue"):
        cuda.to_device(address, pinned.ctypes.data, 9, stream)
    with pytest.raises(InferenceError, match="cudaErrorInvalidValue"):
        cuda.to_host(pinned, address, 9, stream)
    with pytest.raises(OutOfDeviceMemory):
        FakeCuda(room=7).allocate(8)


def test_what_is_of_another_gpu_than_the_thread_has_chosen() -> None:
    cuda = FakeCuda(gpus=2)
    cuda.use(1)
    stream, context = cuda.new_stream(), ready(cuda)
    refused: list[object] = []

    def elsewhere() -> None:  # a new thread has chosen the first GPU
        refused.append(context.execute_async_v3(stream))
        with pytest.raises(InferenceError, match="cudaErrorInvalidResourceHandle"):
            cuda.record(cuda.new_event(), stream)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert refused == [False]
    assert context.execute_async_v3(stream)
    with pytest.raises(EngineUnavailable, match="no GPU 2"):
        cuda.device(2)
