"""Several streams on one engine: each gets its own answers, in order, and none waits for a batch to fill."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.errors import InferenceError, ModelMismatch
from engines.sharing import SharedEngine
from tests.fakes.doubles import GreyLevelEngine, PairedEngine, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import Prediction


class Slow(GreyLevelEngine):
    """Holds each batch until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        self.sizes.append(len(images))
        self.entered.set()
        assert self.go.wait(20)
        return super().infer(images)


def frame(place: float) -> NDArray[np.uint8]:
    return picture(place)[None, None]


def test_frames_that_wait_together_run_together() -> None:
    engine = Slow()
    with SharedEngine(engine, max_batch=4) as shared:
        first = shared.submit(frame(60))
        assert engine.entered.wait(20)  # the device is busy; now five more gather
        rest = [shared.submit(frame(61 + number)) for number in range(5)]
        engine.go.set()
        answers = [answer.result(timeout=20) for answer in (first, *rest)]
    assert engine.sizes == [1, 4, 1]
    assert (shared.batches, shared.frames) == (3, 6)
    for number, answer in enumerate(answers):
        expected = GreyLevelEngine().infer(frame(60 + number))
        np.testing.assert_array_equal(answer.class_logits, expected.class_logits)


def test_an_engine_that_takes_two_calls_gets_waiting_frames_one_by_one_and_side_by_side() -> None:
    with SharedEngine(PairedEngine()) as shared:
        answers = [shared.submit(frame(60 + number)) for number in range(8)]
        found = [answer.result(timeout=20) for answer in answers]
    assert (shared.batches, shared.frames) == (8, 8)
    for number, answer in enumerate(found):
        expected = GreyLevelEngine().infer(frame(60 + number))
        np.testing.assert_array_equal(answer.class_logits, expected.class_logits)


def test_each_stream_gets_its_own_answers_in_order() -> None:
    with SharedEngine(GreyLevelEngine(), max_batch=8) as shared:
        failures: list[BaseException] = []

        def stream(offset: int) -> None:
            try:
                with shared.share() as share:
                    for number in range(20):
                        image = frame(50 + offset + 0.3 * number)
                        expected = GreyLevelEngine().infer(image).class_logits
                        np.testing.assert_array_equal(share.infer(image).class_logits, expected)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

        threads = [threading.Thread(target=stream, args=(offset,)) for offset in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert shared.frames == 120


def test_an_error_reaches_every_stream_of_its_batch_and_the_next_batch_runs() -> None:
    engine = GreyLevelEngine(error=InferenceError("the card is gone"), fail_at=1)
    with SharedEngine(engine) as shared:
        assert shared.submit(frame(60)).result(timeout=20).plane_logit[0] > 0
        broken = shared.submit(frame(60))
        with pytest.raises(InferenceError, match="the card is gone"):
            broken.result(timeout=20)
        engine._error = None
        assert shared.submit(frame(60)).result(timeout=20).plane_logit[0] > 0


def test_a_share_ends_alone_and_the_engine_with_its_owner() -> None:
    engine = GreyLevelEngine()
    shared = SharedEngine(engine)
    one, other = shared.share(), shared.share()
    one.close()
    with pytest.raises(InferenceError, match="closed"):
        one.infer(frame(60))
    assert other.infer(frame(60)).plane_logit.shape == (1,)
    assert not engine.closed
    shared.close()
    shared.close()
    assert engine.closed
    with pytest.raises(InferenceError, match="closed"):
        other.infer(frame(60))


def test_wrong_input_is_refused_before_it_can_spoil_a_batch() -> None:
    with SharedEngine(GreyLevelEngine()) as shared, pytest.raises(ModelMismatch):
        shared.submit(np.zeros((1, 1, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="max_batch"):
        SharedEngine(GreyLevelEngine(), max_batch=0)
