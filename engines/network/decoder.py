"""Decoders: feature maps from coarse to fine into one map to segment by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU; size kept."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class LightDecoder(nn.Module):
    """Adds instead of concatenating: each level costs two 1x1 and one 3x3 convolution of its own width.

    At each level the coarser map is brought to the level's width by a 1x1 convolution and enlarged twice (nearest
    neighbour), the encoder's map likewise by a 1x1 convolution is added, and a 3x3 convolution follows.

    Args:
        channels: of the encoder's maps, from fine to coarse.
        widths: of the decoder's levels, from coarse to fine; the first is that of the coarsest map, and the last
            level is at the encoder's resolution of that rank.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        if not 2 <= len(widths) <= len(channels):
            raise ValueError(f"a decoder over {len(channels)} maps has 2 to {len(channels)} widths, got {len(widths)}")
        coarse_first = tuple(reversed(channels))
        self.enter = Conv(coarse_first[0], widths[0], 1)
        self.narrow = nn.ModuleList()
        self.lateral = nn.ModuleList()
        self.refine = nn.ModuleList()
        for skip, above, width in zip(coarse_first[1:], widths, widths[1:], strict=False):
            self.narrow.append(nn.Conv2d(above, width, 1, bias=False))
            self.lateral.append(nn.Sequential(nn.Conv2d(skip, width, 1, bias=False), nn.BatchNorm2d(width)))
            self.refine.append(Conv(width, width, 3))
        self.stride = 2 ** (len(channels) - len(widths) + 1)
        self.channels = widths[-1]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x: Tensor = self.enter(features[-1])
        for narrow, lateral, refine, skip in zip(
            self.narrow, self.lateral, self.refine, reversed(features[:-1]), strict=False
        ):
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = refine(functional.relu(x + lateral(skip)))
        return x


DECODERS = {"light": LightDecoder}
