"""Early exit changes nothing about a frame that passes, and does not depend on the frame before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.early_exit import EarlyExitEngine
from engines.errors import InferenceError
from engines.registry import DEFAULT_MODEL, load_engine
from engines.runtime import heads_spec
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.base import Prediction

PLANE, OTHER = picture(), picture(standard=False)


class Heads(GreyLevelEngine):
    """The encoder alone, off by a rounding."""

    spec = heads_spec(GreyLevelEngine.spec)

    def infer(self, images: NDArray[np.uint8]) -> Prediction:
        whole = super().infer(images)
        return replace(
            whole,
            class_logits=np.empty((len(images), 3, 0, 0), np.float32),
            plane_logit=(whole.plane_logit + 0.01).astype(np.float32),
        )


@pytest.fixture
def parts() -> tuple[GreyLevelEngine, Heads]:
    return GreyLevelEngine(), Heads()


def batch(*images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack(images)[:, None]


def test_frames_that_pass_get_what_the_whole_network_says(parts: tuple[GreyLevelEngine, Heads]) -> None:
    engine, alone = EarlyExitEngine(*parts), GreyLevelEngine()
    for image in (PLANE, OTHER, PLANE, PLANE, OTHER, OTHER, PLANE):
        found, expected = engine.infer(batch(image)), alone.infer(batch(image))
        if image is PLANE:
            np.testing.assert_array_equal(found.class_logits, expected.class_logits)
            np.testing.assert_array_equal(found.plane_logit, expected.plane_logit)
        else:
            assert (found.class_logits[0].argmax(axis=0) == 0).all()
            np.testing.assert_allclose(found.plane_logit, expected.plane_logit, atol=0.02)


def test_a_stretch_off_plane_runs_the_encoder_alone(parts: tuple[GreyLevelEngine, Heads]) -> None:
    whole, heads = parts
    engine = EarlyExitEngine(whole, heads)
    for _ in range(10):
        engine.infer(batch(OTHER))
    assert (whole.calls, heads.calls) == (1, 9)
    for _ in range(10):
        engine.infer(batch(PLANE))
    assert (whole.calls, heads.calls) == (11, 10)  # the change of plane alone paid for both


def test_of_a_mixed_batch_the_frames_that_may_pass_are_decoded(parts: tuple[GreyLevelEngine, Heads]) -> None:
    engine = EarlyExitEngine(*parts)
    mixed = batch(OTHER, PLANE, OTHER)
    first = engine.infer(mixed)
    again = engine.infer(mixed)  # the frame before was none: heads first
    np.testing.assert_array_equal(first.class_logits, again.class_logits)
    assert [int(row.argmax(axis=0).max()) for row in again.class_logits] == [0, 2, 0]


def test_it_takes_a_whole_network_and_heads_in_that_order(parts: tuple[GreyLevelEngine, Heads]) -> None:
    whole, heads = parts
    for wrong in ((heads, whole), (whole, whole), (heads, heads)):
        with pytest.raises(ValueError, match="in that order"):
            EarlyExitEngine(*wrong)


def test_closing_closes_both(parts: tuple[GreyLevelEngine, Heads]) -> None:
    with EarlyExitEngine(*parts) as engine:
        pass
    assert all(part.closed for part in parts)
    with pytest.raises(InferenceError, match="closed"):
        engine.infer(batch(PLANE))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_the_model_that_ships_says_the_same_with_and_without(backend: str) -> None:
    from calibration.deployment.trial_frames import as_network_input, demonstration_frames

    with (
        load_engine(DEFAULT_MODEL, backend) as whole,
        load_engine(DEFAULT_MODEL, backend, early_exit=True) as engine,
    ):
        images = as_network_input(demonstration_frames()[:: 12 if backend == "torch" else 6], whole.spec)
        passed = 0
        for image in images:
            found, expected = engine.infer(image[None]), whole.infer(image[None])
            np.testing.assert_allclose(found.plane_logit, expected.plane_logit, atol=0.05)
            if expected.plane_logit[0] >= whole.spec.plane_logit_threshold:
                passed += 1
                np.testing.assert_array_equal(found.class_logits, expected.class_logits)
            else:
                assert (found.class_logits[0].argmax(axis=0) == 0).all()
    assert 0 < passed < len(images)
