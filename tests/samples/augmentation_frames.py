"""A frame of two ellipses whose structures show by their grey, and effects of every kind in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from calibration.learning.augmentation import AugmentationSettings, Effect
from calibration.learning.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 128


CENTRE = (SIDE - 1) / 2


PS = ((44.0, 34.0), (26.0, 13.0), -15.0)


FH = ((62.0, 78.0), (50.0, 64.0), 10.0)


SOME_OF_EACH = {
    "mirror": Effect(1.0),
    "rotate": Effect(1.0, 10.0, 25.0),
    "scale": Effect(1.0, 0.7, 0.9),
    "stretch": Effect(1.0, 0.7, 0.9),
    "shear": Effect(1.0, 0.1, 0.2),
    "shift": Effect(1.0, 0.05, 0.1),
    "elastic": Effect(1.0, 3.0, 5.0),
    "grid_distortion": Effect(1.0, 0.2, 0.3),
    "pose": Effect(1.0, 0.5, 1.0),
    "crop": Effect(1.0, 0.5, 0.7),
    "attenuation": Effect(1.0, -1.2, -0.5),
    "shadow": Effect(1.0, 0.5, 0.9),
    "haze": Effect(1.0, 0.1, 0.2),
    "gain": Effect(1.0, 0.5, 0.8),
    "brightness": Effect(1.0, 0.5, 0.8),
    "contrast": Effect(1.0, 1.2, 1.5),
    "gamma": Effect(1.0, 1.5, 2.0),
    "tone": Effect(1.0, 0.5, 0.8),
    "speckle": Effect(1.0, 0.2, 0.4),
    "resolution": Effect(1.0, 0.3, 0.6),
    "blur": Effect(1.0, 1.0, 2.0),
    "sharpen": Effect(1.0, 0.5, 1.0),
    "noise": Effect(1.0, 0.02, 0.06),
    "marks": Effect(1.0, 0.6, 1.0),
    "compression": Effect(1.0, 25.0, 60.0),
    "cut_away": Effect(1.0),
    "decoy": Effect(1.0),
    "upside_down": Effect(1.0),
    "no_signal": Effect(1.0),
}
"""Every effect at full probability and in sight."""


MOTIONS = ("mirror", "rotate", "scale", "stretch", "shear", "shift", "elastic", "grid_distortion", "pose", "crop")


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(*, ps: bool = True, fh: bool = True) -> Tensor:
    """A mask (SIDE, SIDE) of two ellipses."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if fh:
        cv2.ellipse(mask, FH, 2, -1)
    if ps:
        cv2.ellipse(mask, PS, 1, -1)
    return torch.from_numpy(mask).long()


def textured(mask: Tensor, seed: int = 0) -> Tensor:
    """A picture (1, SIDE, SIDE) whose structures are above 0.5, and the rest below and above black."""
    grain = np.random.default_rng(seed).uniform(-0.1, 0.1, mask.shape).astype(np.float32)
    return (torch.where(mask > 0, 0.75, 0.25) + torch.from_numpy(grain))[None]


def frames(count: int, mask: Tensor | None = None, *, plane: float = 1.0) -> Batch:
    """The same frame `count` times."""
    mask = scene() if mask is None else mask
    ones = torch.ones(count)
    return Batch(
        images=textured(mask).repeat(count, 1, 1, 1),
        masks=mask.repeat(count, 1, 1),
        planes=plane * ones,
        mask_weights=ones.clone(),
        plane_weights=ones.clone(),
        normal=ones.clone(),
        synthetic=torch.zeros(count, dtype=torch.bool),
    )


def only(**effects: Effect) -> AugmentationSettings:
    return AugmentationSettings(**effects)  # type: ignore[arg-type]  # no effect is named as one of the shares


def always(size: float) -> Effect:
    return Effect(1.0, size, size)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in Batch.__dataclass_fields__)


def area(masks: Tensor, code: int) -> Tensor:
    return (masks == code).sum(dim=(1, 2)).float()


def codes(masks: Tensor) -> set[int]:
    return set(np.unique(masks.numpy()).tolist())
