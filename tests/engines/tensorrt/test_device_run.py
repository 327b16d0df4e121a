"""Buffers, streams and graphs of a GPU engine, on a GPU made of numpy that does nothing before it is waited for."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import InferenceError, OutOfDeviceMemory
from engines.onnx.folding import fold_graph
from engines.tensorrt.contexts import batch_sizes
from engines.tensorrt.device_run import LANES, DeviceRun
from tests.contracts.test_engine_contract import some_images
from tests.fakes.fake_gpu import FakeContext, FakeCuda
from tests.fakes.tiny_model import SPEC, tiny_model

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


def make_run(
    cuda: FakeCuda, *, context: Any = None, sizes: tuple[int, ...] = (1, 2, 4), use_graph: bool = True
) -> DeviceRun:
    """Two lanes; one where the context is the test's own."""
    lanes = [
        {size: context or FakeContext(fold_graph(tiny_model()), cuda) for size in sizes}
        for _ in range(1 if context else LANES)
    ]
    return DeviceRun(lanes, cuda, SPEC, use_graph=use_graph)


def alone(images: Any) -> Sequence[Any]:
    """What the network says, without any of this."""
    run = make_run(FakeCuda(), use_graph=False, sizes=(len(images),))
    return run.collect(run.submit(images))


def assert_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("use_graph", [True, False])
def test_batches_come_back_in_order_with_their_own_answers(cuda: FakeCuda, use_graph: bool) -> None:
    run = make_run(cuda, use_graph=use_graph)
    for round_ in range(3):
        first, second = some_images(2, seed=round_), some_images(3, seed=10 + round_)
        numbers = [run.submit(first), run.submit(second)]
        assert run.free_lanes == 0
        assert_same(run.collect(numbers[0]), alone(first))
        assert_same(run.collect(numbers[1]), alone(second))
    run.close()


def test_a_batch_size_is_recorded_once_for_each_lane_and_then_replayed(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    for _ in range(6):
        run.collect(run.submit(some_images(1)))
    assert cuda.launches == 6
    assert cuda.alive["graphs"] == LANES
    run.collect(run.submit(some_images(3)))
    assert cuda.alive["graphs"] == LANES + 1
    run.close()


def test_lanes_share_no_memory_that_they_work_in(cuda: FakeCuda) -> None:
    contexts = [{1: FakeContext(fold_graph(tiny_model()), cuda)} for _ in range(LANES)]
    run = DeviceRun(contexts, cuda, SPEC, use_graph=False)
    numbers = [run.submit(some_images(1)) for _ in range(LANES)]
    assert sum(bool(queue) for queue in cuda.queues.values()) == LANES
    answers = [np.empty((1, *shape), np.float32) for shape in SPEC.output_shapes.values()]
    assert run.collect(numbers[0], answers) is answers  # written once, to where they stay
    assert_same(answers, alone(some_images(1)))
    assert_same(run.collect(numbers[1]), alone(some_images(1)))
    run.close()


def test_collecting_the_first_batch_does_not_wait_for_the_second(cuda: FakeCuda) -> None:
    run = make_run(cuda, use_graph=False)
    first, second = run.submit(some_images(1)), run.submit(some_images(2))
    run.collect(first)
    assert cuda.waiting  # the second one's work
    run.collect(second)
    assert not cuda.waiting
    run.close()


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [((1, 1, 1), (1,)), ((4, 4, 4), (4,)), ((1, 4, 16), (1, 2, 4, 8, 16)), ((2, 3, 10), (2, 3, 4, 8, 10))],
)
def test_an_engine_runs_in_few_batch_sizes(batch: tuple[int, int, int], sizes: tuple[int, ...]) -> None:
    assert batch_sizes(*batch) == sizes


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_a_batch_is_filled_up_to_the_next_size_and_each_size_has_its_context(
    cuda: FakeCuda, count: int, size: int
) -> None:
    contexts = {of: FakeContext(fold_graph(tiny_model()), cuda) for of in (2, 4)}
    run = DeviceRun([contexts], cuda, SPEC)
    assert_same(run.collect(run.submit(some_images(count))), alone(some_images(count)))
    assert {of: {shape[0] for shape in context.ran} for of, context in contexts.items()} == {
        of: {of} if of == size else set() for of in contexts
    }
    run.close()


def test_more_than_the_lanes_or_the_batch_is_refused_and_nothing_is_lost(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    with pytest.raises(InferenceError, match="nothing is under way"):
        run.collect(1)
    with pytest.raises(InferenceError, match="a batch of 5"):
        run.submit(some_images(5))
    numbers = [run.submit(some_images(1)) for _ in range(LANES)]
    with pytest.raises(InferenceError, match="collect one"):
        run.submit(some_images(1))
    for number in numbers:
        assert_same(run.collect(number), alone(some_images(1)))
    run.close()


def test_everything_is_given_back(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    run.collect(run.submit(some_images(1)))
    assert cuda.leaks
    run.close()
    assert cuda.leaks == {}


@pytest.mark.parametrize("room", [0, 10_000, 40_000])
def test_a_device_without_room_keeps_nothing(room: int) -> None:
    cuda = FakeCuda(room=room)
    with pytest.raises(OutOfDeviceMemory):
        make_run(cuda, sizes=(64,))
    assert cuda.leaks == {}


def test_an_engine_of_another_model_is_named(cuda: FakeCuda) -> None:
    context = SimpleNamespace(set_tensor_address=lambda name, address: name != "normal_logit")
    with pytest.raises(InferenceError, match="no tensor normal_logit"):
        make_run(cuda, context=context)
    assert cuda.leaks == {}


def test_a_refusing_engine_is_an_error(cuda: FakeCuda) -> None:
    context = FakeContext(fold_graph(tiny_model()), cuda)
    context.execute_async_v3 = lambda stream_handle: False  # type: ignore[method-assign]
    run = make_run(cuda, context=context, use_graph=False, sizes=(1,))
    with pytest.raises(InferenceError, match="refused to run"):
        run.submit(some_images(1))
    run.close()
    assert cuda.leaks == {"contexts": 1}  # the test's own


def test_the_answer_to_another_batch_is_an_error_and_what_was_under_way_is_forgotten(cuda: FakeCuda) -> None:
    run = make_run(cuda)
    run.submit(some_images(1))
    second = run.submit(some_images(2))
    with pytest.raises(InferenceError, match=f"batch {second} was asked for, and 1 was next"):
        run.collect(second)
    assert run.free_lanes == LANES
    assert not cuda.waiting
    images = some_images(3, seed=9)
    assert_same(run.collect(run.submit(images)), alone(images))
    run.close()


@pytest.mark.parametrize("use_graph", [True, False])
def test_a_batch_that_the_device_never_ran_has_no_answer(cuda: FakeCuda, use_graph: bool) -> None:
    run = make_run(cuda, use_graph=use_graph)
    for _ in range(LANES):
        run.collect(run.submit(some_images(1)))
    number = run.submit(some_images(1, seed=9))
    cuda.lose()
    with pytest.raises(InferenceError, match=f"no answer to batch {number}"):
        run.collect(number)
    run.close()
    assert cuda.leaks == {}


@pytest.mark.parametrize("lost", range(len(SPEC.output_names)))
def test_an_output_that_never_came_is_not_the_one_before(
    cuda: FakeCuda, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(cuda, use_graph=False)
    for _ in range(LANES):
        run.collect(run.submit(some_images(2)))
    copy, calls = cuda.to_host, itertools.count()
    monkeypatch.setattr(cuda, "to_host", lambda *words: None if next(calls) == lost else copy(*words))
    number = run.submit(some_images(2, seed=9))
    with pytest.raises(InferenceError, match=f"no answer to batch {number}"):
        run.collect(number)
    images = some_images(2, seed=10)
    assert_same(run.collect(run.submit(images)), alone(images))
    run.close()


def test_a_failed_recording_runs_call_by_call(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    context = FakeContext(fold_graph(tiny_model()), cuda)
    execute = context.execute_async_v3
    context.execute_async_v3 = lambda stream_handle: not cuda.recording and execute(stream_handle)  # type: ignore[method-assign]
    run = make_run(cuda, context=context, sizes=(2,))
    for seed in range(3):
        images = some_images(2, seed=seed)
        assert_same(run.collect(run.submit(images)), alone(images))
    (said,) = caplog.messages  # once, whatever the batch sizes and slots
    assert "runs without CUDA graphs" in said
    assert cuda.launches == 0
    run.close()
    assert cuda.leaks == {"contexts": 1}  # the test's own


@pytest.mark.parametrize("failing", ["free_graph", "free_event", "free_pinned", "free", "free_stream", "wait"])
def test_whatever_fails_while_closing_the_rest_is_given_back_and_the_first_error_is_said(
    cuda: FakeCuda, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(cuda, failing)
    errors: list[InferenceError] = []
    is_closing = False

    def fail(thing: Any) -> None:
        real(thing)
        if is_closing:
            errors.append(InferenceError(f"{failing}, number {len(errors)}"))
            raise errors[-1]

    monkeypatch.setattr(cuda, failing, fail)
    run = make_run(cuda)
    run.collect(run.submit(some_images(1)))
    is_closing = True
    with pytest.raises(InferenceError, match=f"{failing}, number 0") as caught:
        run.close()
    assert len(getattr(caught.value, "__notes__", ())) == len(errors) - 1
    assert cuda.leaks == {}
    run.close()  # nothing is given back twice
