"""Animates a still frame as a hand-held probe would: drift, rotation, breathing, speckle change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DRIFT, TURN_DEG, BREATH = 0.02, 3.0, 0.006
"""Shares of the width that the view drifts and tissue breathes; degrees that the view turns."""
SPECKLE, NOISE_LEVELS = 0.08, 3.0
"""Share of the grey level that changing speckle adds, and noise of the receiver."""
SPECKLE_LASTS_S = 0.14
TISSUE_SHARE, BONE_SHARE = 0.16, 0.06
"""Shares of the width over which tissue beside the head is drawn along less, and beside the symphysis not at all."""


def animate_still(
    still: NDArray[np.uint8],
    count: int,
    *,
    rate_hz: float,
    seed: int,
    at: Callable[[int], NDArray[np.uint8]] | None = None,
) -> list[NDArray[np.uint8]]:
    """So many pictures of a frame that moves.

    Args:
        still: (H, W) uint8.
        count: of pictures.
        rate_hz: of pictures.
        seed: of the course and the noise.
        at: what the frame shows in each picture, (H, W) like `still`, where that is not always the same.
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
        shown = still if at is None else at(number)
        warped = cv2.remap(shown, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
        speckle = lasting * speckle + np.sqrt(1 - lasting**2) * _speckle(rng, still.shape)
        lit = warped * (1 + SPECKLE * speckle) + rng.normal(0, NOISE_LEVELS, still.shape) * (warped > 4)
        pictures.append(np.clip(lit, 0, 255).astype(np.uint8))
    return pictures


def _speckle(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    field = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 1.2)
    return np.asarray(field / field.std(), np.float32)


class HeadTurn:
    """Turns the head of a drawn frame about the inferior end of its symphysis, which changes AoP by as much.

    The head turns as a whole, the symphysis stays, and tissue between them is drawn along, the less the farther it is
    from the head.

    Args:
        mask: (H, W) uint8 of a normal picture, 1 = PS, 2 = FH.
        inferior: end of the PS, px.
    """

    def __init__(self, mask: NDArray[np.uint8], inferior: tuple[float, float]) -> None:
        from_head = cv2.distanceTransform((mask != 2).astype(np.uint8), cv2.DIST_L2, 5)
        from_ps = cv2.distanceTransform((mask != 1).astype(np.uint8), cv2.DIST_L2, 5)
        share = np.clip(1 - from_head / (TISSUE_SHARE * mask.shape[1]), 0, 1)
        self._share = np.asarray(share * np.clip(from_ps / (BONE_SHARE * mask.shape[1]), 0, 1), np.float32)
        rows, columns = (each.astype(np.float32) for each in np.indices(mask.shape))
        self._centre = inferior
        self._x, self._y = columns - inferior[0], rows - inferior[1]

    def turned(self, picture: NDArray[np.uint8], aop_deg: float, *, labels: bool = False) -> NDArray[np.uint8]:
        """The picture (H, W) with an AoP larger by `aop_deg`; `labels` keeps whole numbers."""
        (x0, y0), x, y = self._centre, self._x, self._y
        from_x, from_y = np.asarray(x + x0, np.float32), np.asarray(y + y0, np.float32)
        for _ in range(4):  # where each pixel comes from, and so how far it turns
            angle = np.radians(aop_deg) * cv2.remap(self._share, from_x, from_y, cv2.INTER_LINEAR)
            cos, sin = np.cos(angle), np.sin(angle)
            from_x = np.asarray(cos * x - sin * y + x0, np.float32)
            from_y = np.asarray(sin * x + cos * y + y0, np.float32)
        method = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
        return np.asarray(cv2.remap(picture, from_x, from_y, method), np.uint8)
