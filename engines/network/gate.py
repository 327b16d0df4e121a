"""The plane gate's evidence from masks and second look, in plain operators of the graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EVIDENCE = ("plane_head", "ps_peak", "fh_peak", "ps_area", "fh_area", "second_look_log_spread")
"""What the plane gate weighs, in this order; the last one where there is a second look."""
POOL = 5
"""Side, in cells of the logits, of the patch over which a structure must be seen."""
LEAST_LOG_SPREAD, MOST_LOG_SPREAD = -6.0, 2.0


def mask_evidence(class_logits: Tensor) -> Tensor:
    """How strongly PS and FH are seen, (B, 4): peak of PS, peak of FH, area of PS, area of FH.

    Convention: a peak is the largest mean over `POOL` x `POOL` cells of a structure's logit over the larger of the
    other two, in logits; an area is the logarithm of 1 + the sum of its probability over all cells.

    Args:
        class_logits: (B, 3, h, w) for background, PS, FH.
    """
    background, ps, fh = class_logits.unbind(dim=1)
    margins = torch.stack((ps - torch.maximum(background, fh), fh - torch.maximum(background, ps)), dim=1)
    peaks = functional.avg_pool2d(margins, (POOL, POOL), stride=(1, 1)).amax(dim=(2, 3))
    areas = torch.log(1 + class_logits.softmax(dim=1)[:, 1:].sum(dim=(2, 3)))
    return torch.cat((peaks, areas), dim=1)


def second_look_log_spread(ps_axis: Tensor) -> Tensor:
    """Expected direction error of the second look, (B, 1): logarithm of radians, mean over its views.

    It learns to be unsure where a symphysis is covered. 0, unsure, where there is no PS to look at.

    Args:
        ps_axis: (B, V, 7) as `engines.network.second_look.SecondLook` answers.
    """
    return ps_axis[:, :, 6].clamp(LEAST_LOG_SPREAD, MOST_LOG_SPREAD).mean(dim=1, keepdim=True)
