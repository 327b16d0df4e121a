"""The weights that tell a normal picture from a mirrored one can be fitted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.handedness import PHANTOMS, RIDGE, cues_of, fit_weights, phantom_masks
from stream.handedness import OFFSET_WEIGHT, SKEWNESS_WEIGHT, TILT_WEIGHT
from stream.masks import mask_paths, read_mask

if TYPE_CHECKING:
    from pathlib import Path


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    cues = rng.normal([0.1, 0.02], [0.08, 0.05], (300, 2))
    spread = np.sqrt(np.mean(cues**2, axis=0))

    def loss(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float(np.logaddexp(0, -(cues @ weights)).mean() + RIDGE * ((weights * spread) ** 2).sum())

    best = fit_weights(cues)
    for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]):
        assert loss(best + np.array(step)) > loss(best)


def test_the_shipped_weights_are_those_of_the_fit(shared_data: Path) -> None:
    masks = [read_mask(path) for path in mask_paths(shared_data / "psfhs" / "train" / "masks")]
    real, phantoms = (cues_of(found) for found in (masks, phantom_masks(PHANTOMS)))
    weights = fit_weights(np.concatenate([real, phantoms]))
    assert weights == pytest.approx([SKEWNESS_WEIGHT, OFFSET_WEIGHT, TILT_WEIGHT], abs=0.06)
