"""Loss functions and task weighting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.learning.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    SegmentationLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

DICE_SMOOTH = 1e-5
FOCAL_GAMMA = 2.0
BATCH_DICE_SMOOTH = 1.0
"""Pixels added to both sides of a batch's Dice ratio: keeps it defined where a structure is absent."""
SHAPE_DELTA = 0.1
SHAPE_LEAST_CELLS = 4.0
"""A structure smaller than so many cells of the logits has no shape to speak of."""


def dice_focal(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """The paper's loss: soft Dice of all three classes, of each frame by itself, plus the focal loss.

    Args:
        logits: (B, 3, H, W).
        masks: (B, H, W) int64, 0, 1, 2.
        weights: (B,) at least 0; the mean over frames is weighted by them.

    Returns:
        A scalar; 0 where all weights are 0. Dice on the softmax with 1e-5 on both sides of the ratio; focal loss
        (Lin et al., 2017, eq. 4, gamma 2, no alpha) on the sigmoid of each channel: MONAI's DiceFocalLoss with
        `softmax=True`, which the paper used, takes softmax for the one and sigmoid for the other.
    """
    truth = functional.one_hot(masks, 3).permute(0, 3, 1, 2).to(logits.dtype)
    probability = logits.softmax(dim=1)
    overlap = (probability * truth).sum(dim=(2, 3))
    total = probability.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    dice = 1 - (2 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (1 - torch.exp(-cross_entropy)) ** FOCAL_GAMMA * cross_entropy
    return _weighted_mean(dice.mean(dim=1) + focal.mean(dim=(1, 2, 3)), weights)


def cross_entropy_dice(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of PS and FH taken over the whole batch; arguments and result as `dice_focal`'s.

    Over the batch, a small or an absent structure of one frame does not outweigh the others (Milletari et al.,
    2016, eq. 1, over all pixels of the batch).
    """
    per_frame = functional.cross_entropy(logits, masks, reduction="none").mean(dim=(1, 2))
    by_frame = weights[:, None, None, None]
    probability = logits.softmax(dim=1)[:, 1:] * by_frame
    truth = functional.one_hot(masks, 3).permute(0, 3, 1, 2)[:, 1:] * by_frame
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    dice = 1 - (2 * overlap + BATCH_DICE_SMOOTH) / (total + BATCH_DICE_SMOOTH)
    return _weighted_mean(per_frame, weights) + dice.mean() * (weights.sum() > 0)


SEGMENTATION_LOSSES: Mapping[str, SegmentationLoss] = {
    "dice_focal": dice_focal,
    "cross_entropy_dice": cross_entropy_dice,
}


def segmentation_loss(
    logits: Tensor, batch: Batch, loss: SegmentationLoss, *, synthetic_weight: float, segment_negatives: bool
) -> Tensor:
    """Loss on masks drawn by people + `synthetic_weight` times the loss on synthetic ones (the paper's 0.9).

    Args:
        logits: (B, 3, h, w); brought to the masks' size bilinearly, as the pipeline does.
        batch: masks, their weights, and which of them are synthetic.
        loss: of the two functions above.
        synthetic_weight: at least 0.
        segment_negatives: whether frames that are no standard planes count.
    """
    logits = functional.interpolate(logits.float(), batch.masks.shape[-2:], mode="bilinear", align_corners=False)
    weights = batch.mask_weights if segment_negatives else batch.mask_weights * batch.planes
    by_people = loss(logits, batch.masks, weights * ~batch.synthetic)
    if not batch.synthetic.any():
        return by_people
    return by_people + synthetic_weight * loss(logits, batch.masks, weights * batch.synthetic)


def plane_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy of the plane logits (B,) over frames whose label is certain; 0 where none is."""
    losses = functional.binary_cross_entropy_with_logits(logits.float(), batch.planes, reduction="none")
    return _weighted_mean(losses, batch.plane_weights)


def orientation_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy of the orientation logits (B,) over standard planes whose orientation is known."""
    losses = functional.binary_cross_entropy_with_logits(logits.float(), batch.normal, reduction="none")
    return _weighted_mean(losses, batch.planes * (batch.normal != 0.5))


def shape_loss(logits: Tensor, batch: Batch, *, synthetic_weight: float) -> Tensor:
    """Loss on centroid, orientation and spread of PS and FH: what an angle is read from, beyond overlap.

    Convention: of each structure of each standard plane with a mask, the soft centroid and second central moments
    (PCA of the probability map), their differences to the drawn ones in units of the drawn structure's own spread:
    centroid / sqrt(trace), moments / trace. Both go through Huber's loss (delta 0.1, divided by it), so that far
    errors count linearly. 0 without any such frame. Worked value: a PS moved sideways by one standard deviation of a
    round structure, trace 2 sd^2, is off by 0.71, which costs 0.66 before the mean over its five numbers.

    Args:
        logits: (B, 3, h, w).
        batch: masks of any multiple of (h, w).
        synthetic_weight: weight in the mean of a frame with a synthetic mask, beside 1 for a drawn one.
    """
    probability = logits.float().softmax(dim=1)[:, 1:]
    truth = functional.one_hot(batch.masks, 3).permute(0, 3, 1, 2)[:, 1:].float()
    truth = functional.interpolate(truth, logits.shape[-2:], mode="area")
    centre, moments = _soft_moments(probability)
    true_centre, true_moments = _soft_moments(truth)
    trace = (true_moments[..., 0] + true_moments[..., 1]).clamp(min=1e-6)[..., None]
    off = torch.cat(((centre - true_centre) / trace.sqrt(), (moments - true_moments) / trace), dim=-1)
    cost = functional.smooth_l1_loss(off, torch.zeros_like(off), reduction="none", beta=SHAPE_DELTA).mean(dim=-1)
    seen = truth.sum(dim=(2, 3)) >= SHAPE_LEAST_CELLS
    trust = batch.planes * batch.mask_weights * torch.where(batch.synthetic, synthetic_weight, 1.0)
    return _weighted_mean(cost, seen * trust[:, None])


def axis_loss(logits: Tensor, batch: Batch) -> Tensor:
    """How far the PS' axis is turned: 1 - cos 2d of the angle d between the soft and the drawn principal axis.

    Convention: axes from second central moments, without a sense; 0 where they agree, 2 where they stand square. A
    drawn PS that is nearly round has no axis to speak of: frames count by the drawn one's (l1 - l2) / (l1 + l2) of
    its moments. Worked value: an axis off by 30 degrees costs 0.5.

    Args:
        logits: (B, 3, h, w).
        batch: masks of any multiple of (h, w); standard planes with a mask drawn by a person count.
    """
    probability = logits.float().softmax(dim=1)[:, 1:2]
    truth = functional.interpolate((batch.masks == 1)[:, None].float(), logits.shape[-2:], mode="area")
    _, moments = _soft_moments(probability)
    _, true_moments = _soft_moments(truth)

    def doubled(of: Tensor) -> Tensor:
        return torch.stack((of[:, 0, 0] - of[:, 0, 1], 2 * of[:, 0, 2]), dim=1)

    ours, theirs = doubled(moments), doubled(true_moments)
    cosine = functional.cosine_similarity(ours, theirs, dim=1, eps=1e-6)
    slender = theirs.norm(dim=1) / (true_moments[:, 0, 0] + true_moments[:, 0, 1]).clamp(min=1e-6)
    seen = (truth.sum(dim=(1, 2, 3)) >= SHAPE_LEAST_CELLS) & ~batch.synthetic
    return _weighted_mean(1 - cosine, slender * seen * batch.planes * batch.mask_weights)


def _soft_moments(share: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids (B, C, 2) xy and central moments (B, C, 3) xx, yy, xy of maps (B, C, h, w), in sides of the map."""
    rows, columns = share.shape[-2:]
    y = (torch.arange(rows, device=share.device) + 0.5) / rows
    x = (torch.arange(columns, device=share.device) + 0.5) / columns
    mass = share.sum(dim=(2, 3)).clamp(min=1e-3)
    along_x, along_y = share.sum(dim=2), share.sum(dim=3)
    mean_x, mean_y = (along_x * x).sum(dim=2) / mass, (along_y * y).sum(dim=2) / mass
    xx = (along_x * x.square()).sum(dim=2) / mass - mean_x.square()
    yy = (along_y * y.square()).sum(dim=2) / mass - mean_y.square()
    xy = ((share * x).sum(dim=3) * y).sum(dim=2) / mass - mean_x * mean_y
    return torch.stack((mean_x, mean_y), dim=-1), torch.stack((xx, yy, xy), dim=-1)


class DynamicWeighting(nn.Module):
    """The paper's dynamic loss scaling: each loss is weighted by its own share of the sum.

    Convention: w_c = L_c / (L_c + L_s), w_s = L_s / (L_c + L_s), both detached; L = w_c L_c + w_s L_s, so that the
    larger loss gets the larger weight. Worked value: L_s 3, L_c 1 gives 0.75 * 3 + 0.25 * 1 = 2.5. Not free of scale.
    """

    def forward(self, segmentation: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        losses = torch.stack((segmentation, plane))
        weights = (losses / losses.sum().clamp(min=1e-12)).detach()
        return (weights * losses).sum(), weights


class FixedWeighting(nn.Module):
    """L = L_s + w L_c."""

    def __init__(self, plane_weight: float) -> None:
        super().__init__()
        self.plane_weight = plane_weight

    def forward(self, segmentation: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.tensor((1.0, self.plane_weight), device=segmentation.device)
        return segmentation + self.plane_weight * plane, weights


class UncertaintyWeighting(nn.Module):
    """Learned weights (Kendall et al., CVPR 2018, eq. 10, for two classification losses).

    Convention: L = sum of exp(-s_i) L_i + s_i / 2 with s_i = log of the task's variance, learned from 0 on; the
    weights are exp(-s_i).
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, segmentation: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.exp(-self.log_variance)
        loss = (weights * torch.stack((segmentation, plane)) + self.log_variance / 2).sum()
        return loss, weights.detach()


def make_weighting(name: str, plane_weight: float) -> nn.Module:
    """The weighting by its name in the configuration."""
    if name == "fixed":
        return FixedWeighting(plane_weight)
    return DynamicWeighting() if name == "dynamic" else UncertaintyWeighting()


def dice_scores(labels: Tensor, masks: Tensor) -> Tensor:
    """Dice of PS and FH for each frame, (B, 2), with one pixel on both sides of the ratio as the challenge has it."""
    scores = []
    for code in (1, 2):
        predicted, truth = labels == code, masks == code
        overlap = (predicted & truth).sum(dim=(1, 2)).float()
        scores.append((2 * overlap + 1) / (predicted.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1))
    return torch.stack(scores, dim=1)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
