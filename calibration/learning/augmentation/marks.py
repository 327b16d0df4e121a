"""Burned-in marks as augmentation: letters, calipers, ticks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from calibration.learning.augmentation.settings import Effect

LAYERS = 96


@lru_cache(maxsize=4)
def layers(side: int, device: torch.device) -> Tensor:
    """Returns LAYERS transparent pictures with one to three marks each: (LAYERS, 1, side, side), grey in [0, 1]."""
    rng = np.random.default_rng(0)
    drawn = np.zeros((LAYERS, 1, side, side), np.uint8)
    for layer in drawn[:, 0]:
        for _ in range(int(rng.integers(1, 4))):
            at = tuple(int(value) for value in rng.integers(5, side - 5, 2))
            grey = int(rng.integers(120, 256))
            kind = rng.integers(3)
            if kind == 0:
                cv2.drawMarker(layer, at, grey, int(rng.choice([cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS])), 7)
            elif kind == 1:
                text = "".join(rng.choice(list("0123456789.cmAPSFHx+"), int(rng.integers(1, 8))))
                cv2.putText(layer, text, at, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.25, 0.6)), grey, 1)
            else:  # a depth ruler along one side
                x = int(rng.choice([2, side - 6]))
                for y in range(int(rng.integers(0, 16)), side, int(rng.integers(8, 32))):
                    cv2.line(layer, (x, y), (x + 3, y), grey, 1)
    return torch.from_numpy(drawn).to(device).float() / 255


def burn_in(images: Tensor, effect: Effect, generator: Generator) -> Tensor:
    """Pastes a random layer over each frame that is hit."""
    if not effect.p:
        return images
    opacity = effect.draw(len(images), generator, neutral=0.0)[:, None, None, None]
    pool = layers(images.shape[-1], images.device)
    chosen = pool[torch.randint(len(pool), (len(images),), generator=generator, device=images.device)]
    alpha = opacity * (chosen > 0)
    return images * (1 - alpha) + chosen * alpha
