"""What the network is punished for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

DICE_SMOOTH = 1.0
"""Pixels added to both sides of the Dice ratio: keeps it defined where a structure is absent."""


def segmentation_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice of PS and FH, over frames that have a mask.

    Args:
        logits: (B, 3, h, w); brought to the masks' size bilinearly, as the pipeline does.
        masks: (B, H, W) int64, 0, 1, 2.
        weights: (B,) 0 or 1.

    Returns:
        A scalar; 0 where no frame has a mask. Dice is taken over the batch (Milletari et al., 2016, eq. 1).
    """
    logits = functional.interpolate(logits.float(), masks.shape[-2:], mode="bilinear", align_corners=False)
    per_frame = functional.cross_entropy(logits, masks, reduction="none").mean(dim=(1, 2))
    counted = weights.sum().clamp(min=1.0)
    probability = logits.softmax(dim=1)[:, 1:] * weights[:, None, None, None]
    truth = functional.one_hot(masks, 3).permute(0, 3, 1, 2)[:, 1:] * weights[:, None, None, None]
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    dice = (2 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)
    return (per_frame * weights).sum() / counted + (1 - dice).mean()


def plane_loss(logits: Tensor, planes: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of the plane logit over frames whose label is certain; all are (B,)."""
    losses = functional.binary_cross_entropy_with_logits(logits.float(), planes, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


def dice_scores(labels: Tensor, masks: Tensor) -> Sequence[Tensor]:
    """Dice of PS and FH for each frame: two (B,) tensors; labels and masks (B, H, W) int."""
    scores = []
    for code in (1, 2):
        predicted, truth = labels == code, masks == code
        overlap = (predicted & truth).sum(dim=(1, 2)).float()
        scores.append((2 * overlap + 1) / (predicted.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1))
    return scores
