from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from engines.postprocess import class_labels, enlarge_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray


def some_logits(height: int = 32, width: int = 48) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(3, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 96), (100, 130)])
def test_logits_are_enlarged_as_torch_does_in_training(size: tuple[int, int]) -> None:
    logits = some_logits()
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )[0]
    # Both sample at float32 positions: some 1e-5 of a pixel, on slopes of up to 5 a pixel.
    np.testing.assert_allclose(enlarge_logits(logits, *size), expected.numpy(), atol=1e-4)


def test_logits_of_the_right_size_are_not_touched() -> None:
    logits = some_logits()
    assert enlarge_logits(logits, 32, 48) is logits


@settings(deadline=None, max_examples=100)
@given(
    hypothesis_numpy.arrays(np.float32, (3, 5, 7), elements=st.sampled_from([-1.5, 0.0, 0.25, 2.0]))
)  # few values, so that ties are common
def test_labels_are_the_argmax_and_the_lower_class_wins_a_tie(logits: NDArray[np.float32]) -> None:
    labels = class_labels(logits, 5, 7)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.argmax(logits, axis=0))


def test_labels_are_taken_after_enlarging() -> None:
    logits = some_logits()
    np.testing.assert_array_equal(class_labels(logits, 64, 96), np.argmax(enlarge_logits(logits, 64, 96), axis=0))
