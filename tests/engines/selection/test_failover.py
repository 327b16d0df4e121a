"""An engine that cannot start is passed over, and one that fails is replaced: the next one answers the same images."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.base import EngineDescription
from engines.errors import DeviceBusy, EngineUnavailable, InferenceError, ModelMismatch, OutOfDeviceMemory
from engines.selection.failover import Candidate, FailoverEngine
from engines.sharing import SharedEngine
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import Engine, Prediction


class Named(GreyLevelEngine):
    """Fails with `error` at call `fail_at`; `close` fails too where `is_stuck`."""

    def __init__(self, name: str, *, error: Exception | None = None, fail_at: int = 0, is_stuck: bool = False) -> None:
        super().__init__(error=error, fail_at=fail_at)
        self.description = EngineDescription(backend=name, precision="fp32", device="CPU")
        self._is_stuck = is_stuck

    def close(self) -> None:
        super().close()
        if self._is_stuck:
            raise InferenceError("the device cannot even be waited for")


def started(engine: Engine) -> Candidate:
    return Candidate(engine.description.backend, lambda: engine)


def failing(name: str, error: Exception) -> Candidate:
    def load() -> Engine:
        raise error

    return Candidate(name, load)


@pytest.mark.parametrize(
    ("error", "notice"),
    [
        (
            EngineUnavailable("no usable NVIDIA GPU; install its driver"),
            "card: no usable NVIDIA GPU; install its driver",
        ),
        (OutOfDeviceMemory("the GPU's memory is full"), "card: the GPU's memory is full"),
        (ModelMismatch("back-end card refuses model tiny"), "back-end card refuses model tiny"),
        (OSError("libcuda.so.1: cannot open"), "card: libcuda.so.1: cannot open"),
        (AttributeError("module 'cuda' has no attribute 'x'"), "card: module 'cuda' has no attribute 'x'"),
    ],
)
def test_whatever_keeps_an_engine_from_starting_the_next_one_runs(error: Exception, notice: str) -> None:
    with FailoverEngine([failing("card", error), started(Named("second"))]) as engine:
        assert engine.name == "second fp32 CPU"
        assert engine.notices == (notice,)


def test_where_none_starts_the_error_says_why_of_each() -> None:
    with pytest.raises(EngineUnavailable, match="no back-end can run here: one: no GPU; two: libtbb is missing"):
        FailoverEngine([failing("one", EngineUnavailable("no GPU")), failing("two", OSError("libtbb is missing"))])
    with pytest.raises(EngineUnavailable, match="none is installed"):
        FailoverEngine([])
    with pytest.raises(ModelMismatch, match="no plane head"):
        FailoverEngine([failing("one", ModelMismatch("no plane head"))])
    for full in (OutOfDeviceMemory("the GPU is full"), RuntimeError("out of memory: the GPU is full")):
        with pytest.raises(DeviceBusy, match="the GPU is full; two: no GPU") as caught:
            FailoverEngine([failing("one", full), failing("two", EngineUnavailable("no GPU"))])
        assert not isinstance(caught.value, EngineUnavailable), "a service is started again"


@pytest.mark.parametrize("is_stuck", [False, True])
def test_an_engine_that_fails_is_replaced_and_the_same_images_are_answered(is_stuck: bool) -> None:
    first = Named("card", error=InferenceError("CUDA says cudaErrorUnknown"), fail_at=2, is_stuck=is_stuck)
    second = Named("second")
    engine = FailoverEngine([started(first), failing("third", EngineUnavailable("it is gone")), started(second)])
    images = [picture(60.0 + place)[None, None] for place in range(5)]
    answers = [engine.infer(image) for image in images]
    names = [answer.engine.description.backend for answer in answers if answer.engine]
    assert names == ["card", "card", "second", "second", "second"]
    for image, answer in zip(images, answers, strict=True):
        assert answer.images is image
        np.testing.assert_array_equal(answer.class_logits, GreyLevelEngine().infer(image).class_logits)
    assert answers[2].engine is not None
    assert answers[2].engine.replaced == "card fp32 CPU failed: CUDA says cudaErrorUnknown"
    assert engine.notices == ("card fp32 CPU failed: CUDA says cudaErrorUnknown", "third: it is gone")
    assert (first.closed, second.closed) == (True, False)
    engine.close()
    assert second.closed
    with pytest.raises(InferenceError, match="closed already"):
        engine.infer(images[0])


def test_the_last_failure_ends_the_run_and_names_what_failed() -> None:
    engine = FailoverEngine([started(Named("card", error=InferenceError("the card is gone")))])
    with pytest.raises(InferenceError, match="card fp32 CPU failed: the card is gone; no other back-end is left"):
        engine.infer(picture()[None, None])


def test_wrong_images_are_the_callers_fault_and_replace_nothing() -> None:
    engine = FailoverEngine([started(Named("one", error=ModelMismatch("got float64"))), started(Named("two"))])
    with pytest.raises(ModelMismatch, match="got float64"):
        engine.infer(picture()[None, None])
    assert engine.name == "one fp32 CPU"


def test_streams_that_share_an_engine_hear_who_answered() -> None:
    first = Named("card", error=InferenceError("the card is gone"), fail_at=1)
    with SharedEngine(FailoverEngine([started(first), started(Named("second"))])) as shared, shared.share() as share:
        names = []
        for place in range(3):
            answer = share.infer(picture(60.0 + place)[None, None])
            assert answer.engine is not None
            names.append(answer.engine.description.name)
        assert names == ["card fp32 CPU, shared", "second fp32 CPU, shared", "second fp32 CPU, shared"]
        assert share.name == names[-1]
        assert share.notices == ("card fp32 CPU failed: the card is gone",)


class FailingTogether(Named):
    """Holds calls until two of them are under way, then both fail."""

    def __init__(self) -> None:
        super().__init__("card")
        self.description = EngineDescription(backend="card", precision="fp32", device="GPU", parallel=2)
        self._both = threading.Barrier(2, timeout=20)

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        self._both.wait()
        raise InferenceError("the card is gone")


def test_calls_side_by_side_replace_an_engine_once() -> None:
    spares = [Named("second"), Named("third")]
    engine = FailoverEngine([started(FailingTogether()), *map(started, spares)])
    images = [picture(60.0 + place)[None, None] for place in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(engine.infer, images))
    assert [answer.engine.description.backend for answer in answers if answer.engine] == ["second", "second"]
    assert [answer.images is image for answer, image in zip(answers, images, strict=True)] == [True, True]
    assert engine.notices == ("card fp32 GPU failed: the card is gone",)
