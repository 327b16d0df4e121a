"""Augmentation of image and mask together, batched on the device.

Every function is pure: it takes a batch and a generator and returns a new one. The same generator state gives the
same result on the same device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.learning.augmentation.appearance import compress, degrade
from calibration.learning.augmentation.geometry import move
from calibration.learning.augmentation.marks import burn_in
from calibration.learning.augmentation.negatives import make_negatives
from calibration.learning.augmentation.settings import AugmentationSettings, Effect

if TYPE_CHECKING:
    from torch import Generator

    from calibration.learning.batch import Batch

__all__ = ["AugmentationSettings", "Effect", "augment"]


def augment(batch: Batch, settings: AugmentationSettings, generator: Generator) -> Batch:
    """Negatives first, then geometry, then appearance, burnt-in marks, and the loss of compression last."""
    batch = move(make_negatives(batch, settings, generator), settings, generator)
    images = burn_in(degrade(batch.images, settings, generator), settings.marks, generator)
    return replace(batch, images=compress(images, settings.compression, generator).clamp(0, 1))
