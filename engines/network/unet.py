"""The multi-task U-Net of the paper, with its widths and blocks as parameters.

AlNasi et al., "Multi-task Weakly Supervised Intrapartum Ultrasound Measurements", LNCS 15689 (2025): one encoder;
a decoder that segments background, PS and FH; and a standard-plane head on the bottleneck. The paper's network is
`MultiTaskUNet(**PAPER)`; a small one for two CPU cores halves the resolution in its stem and uses residual blocks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.network.heads import BottleneckHead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BlockName = Literal["plain", "residual"]
Normalise = Literal["fixed", "per_frame"]
Initialise = Literal["default", "xavier"]

PAPER: Mapping[str, object] = {
    "widths": (64, 128, 256, 512, 1024),
    "block": "plain",
    "stem_stride": 1,
    "up_kernel": 3,
    "plane_hidden": (512, 128),
    "normalise": "per_frame",
    "initialise": "xavier",
}
"""The paper's network at 512x512: 35 M parameters, 261 GMAC."""


class ConvBnRelu(nn.Sequential):
    """3x3 (or `kernel`) convolution, batch norm, ReLU; size kept but for the stride."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class PlainBlock(nn.Sequential):
    """Two 3x3 convolutions, as in the paper: (B, Cin, H, W) -> (B, Cout, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(ConvBnRelu(channels_in, channels_out), ConvBnRelu(channels_out, channels_out))


class ResidualBlock(nn.Module):
    """A 3x3 convolution, then a second one added to what it was given: (B, Cin, H, W) -> (B, Cout, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.enter = ConvBnRelu(channels_in, channels_out)
        self.conv = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return functional.relu(x + self.norm(self.conv(x)))


BLOCKS: Mapping[BlockName, type[PlainBlock | ResidualBlock]] = {
    "plain": PlainBlock,
    "residual": ResidualBlock,
}


class MultiTaskUNet(nn.Module):
    """Grey frames in, class logits and plane logit out.

    Args:
        widths: channels of each encoder level, from full resolution to the bottleneck.
        block: `plain` (the paper's) or `residual`.
        stem_stride: 1 keeps the input's resolution; 2 works, and answers, at half of it.
        up_kernel: size of the convolution after each nearest-neighbour upsampling (the paper's is 3).
        plane_hidden: widths of the plane head's hidden layers.
        normalise: `fixed` subtracts `grey_mean` and divides by `grey_std`, of the training frames in grey levels 0 to
            255; `per_frame` takes each frame's own (the paper's). Either is part of the graph.
        orientation_head: whether a second head on the bottleneck tells normal pictures from mirrored ones.
        initialise: how weights start: torch's own way, or `xavier` (the paper's; Glorot and Bengio, 2010, uniform).

    The sides of the input must be multiples of `stem_stride * 2 ** (len(widths) - 1)`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        block: BlockName = "plain",
        stem_stride: int = 1,
        up_kernel: int = 3,
        plane_hidden: Sequence[int] = (512, 128),
        normalise: Normalise = "fixed",
        grey_mean: float = 45.0,
        grey_std: float = 45.0,
        initialise: Initialise = "default",
        orientation_head: bool = False,
    ) -> None:
        super().__init__()
        make_block = BLOCKS[block]
        self.normalise, self.grey_mean, self.grey_std = normalise, grey_mean, grey_std
        stem = ConvBnRelu(1, widths[0], stride=2) if stem_stride == 2 else None
        first = make_block(widths[0] if stem else 1, widths[0])
        self.encoder = nn.ModuleList([nn.Sequential(stem, first) if stem else first])
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for shallow, deep in pairwise(widths):
            self.encoder.append(make_block(shallow, deep))
            self.ups.append(ConvBnRelu(deep, shallow, up_kernel))
            self.decoder.append(make_block(2 * shallow, shallow))
        self.segmentation_head = nn.Conv2d(widths[0], 3, 1)
        self.plane_head = BottleneckHead(widths[-1], plane_hidden)
        self.orientation_head = BottleneckHead(widths[-1], plane_hidden) if orientation_head else None
        self.output_stride = stem_stride
        """Pixels of the input that one of the class logits covers, along each axis."""
        self.decodes = True
        """False leaves the decoder out of `forward`: the heads' logits alone."""
        if initialise == "xavier":
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, 1, H, W) grey levels 0 to 255 to logits.

        Returns:
            class_logits (B, 3, h, w) for background, PS, FH, with h = H / stem_stride; plane_logit (B,); and, with an
            orientation head, normal_logit (B,).
        """
        x = self._normalised(image.float())
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        bottleneck = skips.pop()
        verdicts = [head(bottleneck) for head in (self.plane_head, self.orientation_head) if head]
        if not self.decodes:
            return tuple(verdicts)
        for up, block in zip(reversed(self.ups), reversed(self.decoder), strict=True):
            x = up(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = block(torch.cat([skips.pop(), x], dim=1))
        return self.segmentation_head(x), *verdicts

    def _normalised(self, grey: Tensor) -> Tensor:
        if self.normalise == "fixed":
            return (grey - self.grey_mean) / self.grey_std
        centred = grey - grey.mean(dim=(2, 3), keepdim=True)
        spread = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
        return centred / (spread + 1e-3)  # a frame of one grey has no spread
