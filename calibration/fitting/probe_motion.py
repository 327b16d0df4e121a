"""Animates a still frame as a hand-held probe would: drift, rotation, breathing, speckle change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRIFT, TURN_DEG, BREATH = 0.02, 3.0, 0.006
"""Shares of the width that the view drifts and tissue breathes; degrees that the view turns."""
SPECKLE, NOISE_LEVELS = 0.08, 3.0
"""Share of the grey level that changing speckle adds, and noise of the receiver."""
SPECKLE_LASTS_S = 0.14


def animate_still(still: NDArray[np.uint8], count: int, *, rate_hz: float, seed: int) -> list[NDArray[np.uint8]]:
    """So many pictures of a frame that moves.

    Args:
        still: (H, W) uint8.
        count: of pictures.
        rate_hz: of pictures.
        seed: of the course and the noise.
    """
    rng = np.random.default_rng(seed)
    height, width = still.shape
    rows, columns = (each.astype(np.float32) for each in np.indices(still.shape))
    phases = rng.uniform(0, 2 * np.pi, 5)
    lasting = float(np.exp(-1 / (SPECKLE_LASTS_S * rate_hz)))
    speckle = _speckle(rng, still.shape)
    pictures = []
    for number in range(count):
        t = number / rate_hz
        across, down = (
            width * DRIFT * np.sin(2 * np.pi * t / period + phase)
            for period, phase in ((4.0, phases[0]), (5.7, phases[1]))
        )
        turn = np.radians(TURN_DEG) * np.sin(2 * np.pi * t / 8 + phases[2])
        x, y = columns - width / 2, rows - height / 2
        map_x = width / 2 + np.cos(turn) * x - np.sin(turn) * y + across
        map_y = height / 2 + np.sin(turn) * x + np.cos(turn) * y + down
        map_x += width * BREATH * np.sin(6 * rows / height + 3 * t + phases[3])
        map_y += height * BREATH * np.sin(5 * columns / width + 2 * t + phases[4])
        warped = cv2.remap(still, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
        speckle = lasting * speckle + np.sqrt(1 - lasting**2) * _speckle(rng, still.shape)
        lit = warped * (1 + SPECKLE * speckle) + rng.normal(0, NOISE_LEVELS, still.shape) * (warped > 4)
        pictures.append(np.clip(lit, 0, 255).astype(np.uint8))
    return pictures


def _speckle(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    field = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 1.2)
    return np.asarray(field / field.std(), np.float32)
