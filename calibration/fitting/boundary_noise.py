"""Moves mask outlines by smooth noise, as another annotator would draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def add_boundary_noise(
    labels: NDArray[np.uint8], rng: np.random.Generator, *, sd_px: float = 2.0, reach_px: float = 3.5
) -> NDArray[np.uint8]:
    """Moves both outlines by smooth noise: Gaussian, `sd_px` along the normal, correlated over about `reach_px`."""
    noisy = np.zeros_like(labels)
    for code in (2, 1):
        region = (labels == code).astype(np.uint8)
        inwards = cv2.distanceTransform(region, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - region, cv2.DIST_L2, 5)
        field = cv2.GaussianBlur(rng.standard_normal(labels.shape).astype(np.float32), (0, 0), reach_px)
        noisy[inwards + sd_px * field / field.std() > 0] = code
    return noisy
