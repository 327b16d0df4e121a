"""Validates a network on held-out frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.learning.frames import as_float, downscale, select_rows
from calibration.learning.losses import dice_scores
from stream.measurement.protocols import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.learning.batch import Batch
    from calibration.learning.frames import FrameStore
    from engines.network.build import MaskNetwork

CHUNK = 16


@dataclass(frozen=True, slots=True, eq=False)
class FramePredictions:
    """Predictions of a network for some frames.

    Attributes:
        dice: (n, 2) of PS and FH, for labelled standard planes.
        aop_errors: (n,) absolute, degrees, by `fhps2023`, for those known to be normal pictures; NaN where the
            network's mask cannot be measured.
        plane_logits, planes: (m,) for frames with a plane label.
        orientation_right: (k,) bool, for standard planes of known orientation; empty without an orientation head.
    """

    dice: Tensor
    aop_errors: Tensor
    plane_logits: Tensor
    planes: Tensor
    orientation_right: Tensor


@torch.inference_mode()
def validate_network(
    network: MaskNetwork, held_out: FrameStore, device: torch.device, *, side: int | None = None
) -> dict[str, float | None]:
    """Dice of PS and FH on labelled standard planes; AUC and accuracy at 0.5 over all frames with a plane label.

    Args:
        network: on `device`.
        held_out: the frames to judge by.
        device: where to run.
        side: to which frames are shrunk first; None leaves them as they are.

    Returns:
        `dice_ps`, `dice_fh`, `aop_error_deg` (mean), `aop_error_p95_deg`, `aop_measured` (share), `plane_auc`,
        `plane_accuracy`, `orientation_accuracy`, and the same for each pool as `pool/...`; None where the frames do not
        say (one class only, no masks, no orientation head).
    """
    network.eval()
    by_pool = {pool.name: _run(network, pool.batch, device, side) for pool in held_out.pools}
    scores = _scores(_joined(list(by_pool.values())))
    for name, verdicts in by_pool.items():
        scores |= {f"{name}/{score}": value for score, value in _scores(verdicts).items()}
    return scores


def checkpoint_score(scores: Mapping[str, float | None]) -> float:
    """The one number a checkpoint is chosen by: 0.7 mean Dice of PS and FH + 0.3 AUC (the paper's)."""
    ps, fh, area = (scores.get(name) or 0.0 for name in ("dice_ps", "dice_fh", "plane_auc"))
    return 0.7 * (ps + fh) / 2 + 0.3 * area


def _run(network: MaskNetwork, frames: Batch, device: torch.device, side: int | None) -> FramePredictions:
    nothing = torch.empty(0)
    found = [FramePredictions(torch.empty(0, 2), nothing, nothing, nothing, torch.empty(0, dtype=torch.bool))]
    for start in range(0, len(frames), CHUNK):
        chunk = as_float(select_rows(frames, range(start, min(start + CHUNK, len(frames))))).to(device)
        chunk = chunk if side is None else downscale(chunk, side)
        class_logits, plane_logits, *normal_logits = network(chunk.images * 255)
        labels = functional.interpolate(class_logits, chunk.masks.shape[-2:], mode="bilinear").argmax(dim=1)
        drawn = (chunk.mask_weights > 0) & (chunk.masks == 1).any(dim=2).any(dim=1) & ~chunk.synthetic
        known = chunk.plane_weights > 0
        oriented = (chunk.normal != 0.5) & (chunk.planes > 0.5)
        right = [((logits > 0) == (chunk.normal > 0.5))[oriented].cpu() for logits in normal_logits]
        found.append(
            FramePredictions(
                dice_scores(labels, chunk.masks)[drawn].cpu(),
                aop_errors(labels, chunk.masks, drawn & (chunk.normal == 1)),
                plane_logits[known].float().cpu(),
                chunk.planes[known].cpu(),
                torch.cat([found[0].orientation_right, *right]),
            )
        )
    return _joined(found)


def aop_errors(labels: Tensor, masks: Tensor, chosen: Tensor) -> Tensor:
    """Absolute AoP errors of the chosen frames, degrees; NaN where `labels` cannot be measured.

    Frames whose drawn mask cannot be measured are passed over. `fhps2023` on the letterboxed square: the
    protocol's own value for square frames alone.
    """
    errors = []
    for found, drawn in zip(labels[chosen].cpu(), masks[chosen].cpu(), strict=True):
        ours, truth = (measure(each.numpy().astype(np.uint8), protocol="fhps2023").aop_deg for each in (found, drawn))
        if truth is not None:
            errors.append(math.nan if ours is None else abs(ours - truth))
    return torch.tensor(errors)


def _joined(parts: Sequence[FramePredictions]) -> FramePredictions:
    return FramePredictions(
        *(torch.cat([getattr(part, entry.name) for part in parts]) for entry in fields(FramePredictions))
    )


def _scores(verdicts: FramePredictions) -> dict[str, float | None]:
    dice, logits, planes = verdicts.dice, verdicts.plane_logits, verdicts.planes
    measured = verdicts.aop_errors[verdicts.aop_errors.isfinite()]
    ps, fh = dice.mean(dim=0).tolist() if len(dice) else (None, None)
    both = 0 < int(planes.sum()) < len(planes)
    right = verdicts.orientation_right
    return {
        "dice_ps": ps,
        "dice_fh": fh,
        "aop_error_deg": float(measured.mean()) if len(measured) else None,
        "aop_error_p95_deg": float(measured.quantile(0.95)) if len(measured) else None,
        "aop_measured": len(measured) / len(verdicts.aop_errors) if len(verdicts.aop_errors) else None,
        "plane_auc": area_under_roc(logits.double().numpy(), planes.numpy() > 0.5) if both else None,
        "plane_accuracy": float(((logits > 0) == (planes > 0.5)).float().mean()) if len(planes) else None,
        "orientation_accuracy": float(right.float().mean()) if len(right) else None,
    }
