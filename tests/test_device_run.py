"""Buffers, streams and graphs of a GPU engine, on a GPU made of numpy that does nothing before it is waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.device_run import SLOTS, DeviceRun
from engines.errors import InferenceError, OutOfDeviceMemory
from engines.graph.folding import folded
from tests.fake_gpu import FakeContext, FakeCuda
from tests.test_engine_contract import some_images
from tests.tiny_model import SPEC, tiny_model


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


def make_run(cuda: FakeCuda, *, context: Any = None, **options: Any) -> DeviceRun:
    settings: dict[str, Any] = {"max_batch": 4, **options}
    return DeviceRun(context or FakeContext(folded(tiny_model()), cuda), cuda, SPEC, **settings)


def alone(images: Any) -> tuple[Any, ...]:
    """What the network says, without any of this."""
    run = make_run(FakeCuda(), use_graph=False, max_batch=len(images))
    run.submit(images)
    return run.collect()


def assert_same(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("use_graph", [True, False])
def test_batches_come_back_in_order_with_their_own_answers(cuda: FakeCuda, use_graph: bool) -> None:
    run = make_run(cuda, use_graph=use_graph)
    for round_ in range(3):
        first, second = some_images(2, seed=round_), some_images(3, seed=10 + round_)
        run.submit(first)
        run.submit(second)
        assert run.free_slots == 0
        assert_same(run.collect(), alone(first))
        assert_same(run.collect(), alone(second))
    run.close()


def test_a_batch_size_is_recorded_once_for_each_slot_and_then_replayed(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    for _ in range(6):
        run.submit(some_images(1))
        run.collect()
    assert cuda.launches == 6
    assert cuda.alive["graphs"] == SLOTS
    run.submit(some_images(3))
    run.collect()
    assert cuda.alive["graphs"] == SLOTS + 1
    run.close()


def test_a_context_that_cannot_be_recorded_runs_without(cuda: FakeCuda) -> None:
    context = FakeContext(folded(tiny_model()), cuda)
    context.is_stream_capturable = lambda stream: False  # type: ignore[method-assign]
    run = make_run(cuda, context=context)
    for _ in range(2):
        run.submit(some_images(2))
        assert_same(run.collect(), alone(some_images(2)))
    assert cuda.launches == cuda.alive["graphs"] == 0
    run.close()


def test_collecting_the_first_batch_does_not_wait_for_the_second(cuda: FakeCuda) -> None:
    run = make_run(cuda, use_graph=False)
    run.submit(some_images(1))
    run.submit(some_images(2))
    run.collect()
    assert cuda.waiting  # the second one's work
    run.collect()
    assert not cuda.waiting
    run.close()


def test_a_static_engine_is_given_its_whole_batch(cuda: FakeCuda) -> None:
    shapes = []
    context = FakeContext(folded(tiny_model()), cuda)
    set_shape = context.set_input_shape
    context.set_input_shape = lambda name, shape: shapes.append(shape) or set_shape(name, shape)  # type: ignore[method-assign, func-returns-value]
    run = make_run(cuda, context=context, fixed_batch=True)
    run.submit(some_images(2))
    found = run.collect()
    assert {shape[0] for shape in shapes} == {4}
    assert_same(found, alone(some_images(2)))
    run.close()


def test_more_than_the_slots_or_the_batch_is_refused_and_nothing_is_lost(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    with pytest.raises(InferenceError, match="nothing is under way"):
        run.collect()
    with pytest.raises(InferenceError, match="a batch of 5"):
        run.submit(some_images(5))
    for _ in range(SLOTS):
        run.submit(some_images(1))
    with pytest.raises(InferenceError, match="collect one"):
        run.submit(some_images(1))
    for _ in range(SLOTS):
        assert_same(run.collect(), alone(some_images(1)))
    run.close()


def test_everything_is_given_back(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    run.submit(some_images(1))
    run.collect()
    assert cuda.leaks
    run.close()
    assert cuda.leaks == {}


@pytest.mark.parametrize("room", [0, 10_000, 40_000])
def test_a_device_without_room_keeps_nothing(room: int) -> None:
    cuda = FakeCuda(room=room)
    with pytest.raises(OutOfDeviceMemory):
        make_run(cuda, max_batch=64)
    assert cuda.leaks == {}


def test_an_engine_of_another_model_is_named(cuda: FakeCuda) -> None:
    context = SimpleNamespace(set_tensor_address=lambda name, address: name != "normal_logit")
    with pytest.raises(InferenceError, match="no tensor normal_logit"):
        make_run(cuda, context=context)
    assert cuda.leaks == {}


def test_a_refusing_engine_is_an_error(cuda: FakeCuda) -> None:
    context = FakeContext(folded(tiny_model()), cuda)
    context.execute_async_v3 = lambda stream: False  # type: ignore[method-assign]
    run = make_run(cuda, context=context, use_graph=False)
    with pytest.raises(InferenceError, match="refused to run"):
        run.submit(some_images(1))
    run.close()
    assert cuda.leaks == {}


class OnDevice:
    """An array on the fake device, as torch and CuPy show theirs."""

    def __init__(self, cuda: FakeCuda, value: np.ndarray) -> None:
        self.address = cuda.allocate(value.nbytes)
        self._cuda, self._shape, self._kind = cuda, value.shape, value.dtype
        cuda.memory[self.address][:] = np.ascontiguousarray(value).view(np.uint8).reshape(-1)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"data": (self.address, False), "shape": self._shape, "typestr": self._kind.str, "strides": None}

    def read(self) -> np.ndarray:
        return self._cuda.memory[self.address].view(self._kind).reshape(self._shape)


def test_what_lies_on_the_device_is_used_where_it_lies(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    images = some_images(2)
    expected = alone(images)
    outputs = {
        name: OnDevice(cuda, np.zeros_like(value)) for name, value in zip(SPEC.output_names, expected, strict=True)
    }
    before = len(cuda.pinned_arrays)
    run.run_on_device(OnDevice(cuda, images), outputs)
    assert_same(tuple(array.read() for array in outputs.values()), expected)
    assert len(cuda.pinned_arrays) == before
    run.submit(images)  # and its own buffers are in place again
    assert_same(run.collect(), expected)
    with pytest.raises(InferenceError, match="contiguous uint8"):
        run.run_on_device(OnDevice(cuda, images.astype(np.float32)), outputs)
    run.close()
