"""Heads: what is read from a feature map."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class BottleneckHead(nn.Sequential):
    """Bottleneck (B, C, h, w) -> one logit (B,): global mean, LayerNorm, MLP with ReLU between its layers."""

    def __init__(self, channels: int, hidden: Sequence[int]) -> None:
        sizes = (channels, *hidden, 1)
        layers: list[nn.Module] = [nn.LayerNorm(channels, eps=1e-6)]
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU(inplace=True)]
        super().__init__(*layers[:-1])

    def forward(self, bottleneck: Tensor) -> Tensor:
        logit: Tensor = super().forward(bottleneck.mean(dim=(2, 3)))  # type: ignore[no-untyped-call]
        return logit.squeeze(1)
