"""A training batch: images, masks, labels and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """B frames on one device.

    Attributes:
        images: (B, 1, H, W) float32 in [0, 1] (grey level / 255).
        masks: (B, H, W) int64, 0 background, 1 PS, 2 FH.
        planes: (B,) float32, 1 standard plane, 0 not.
        mask_weights: (B,) float32; 1 drawn by a person or certainly empty, less for a synthetic mask, 0 unknown.
        plane_weights: (B,) float32; 0 where neither answer would be right.
        synthetic: (B,) bool; the mask was written by a teacher.
        normal: (B,) float32; 1 a normal picture, 0 a mirrored one, 0.5 unknown.
    """

    images: Tensor
    masks: Tensor
    planes: Tensor
    mask_weights: Tensor
    plane_weights: Tensor
    synthetic: Tensor
    normal: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; pinned memory is copied while the device goes on working."""
        names = ("images", "masks", "planes", "mask_weights", "plane_weights", "synthetic", "normal")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})
