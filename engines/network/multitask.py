"""A network of named parts: encoder, decoder, and heads for segmentation, plane and orientation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from engines.network.decoder import DECODERS
from engines.network.encoders import ENCODERS
from engines.network.heads import BottleneckHead

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultiTaskNetwork(nn.Module):
    """Grey frames in, class logits and plane logit out, as `MultiTaskUNet` does, from parts named by keys.

    Args:
        encoder: a name in `engines.network.encoders.ENCODERS`.
        decoder: a name in `engines.network.decoder.DECODERS`.
        decoder_widths: channels of the decoder's levels, from coarse to fine. Five end at half resolution, four at a
            quarter.
        plane_hidden: widths of the hidden layers of the heads on the bottleneck.
        grey_mean, grey_std: subtracted from grey levels 0 to 255, and what the rest is divided by; in the graph.
        orientation_head: whether a second head on the bottleneck tells normal pictures from mirrored ones.

    The sides of the input must be multiples of 32.
    """

    def __init__(
        self,
        *,
        encoder: Literal["efficientnet_lite0"],
        decoder: Literal["light"] = "light",
        decoder_widths: Sequence[int] = (128, 96, 64, 48, 24),
        plane_hidden: Sequence[int] = (96, 32),
        grey_mean: float = 127.0,
        grey_std: float = 128.0,
        orientation_head: bool = False,
    ) -> None:
        super().__init__()
        self.grey_mean, self.grey_std = grey_mean, grey_std
        self.encoder = ENCODERS[encoder]()
        self.decoder = DECODERS[decoder](self.encoder.channels, decoder_widths)
        self.segmentation_head = nn.Conv2d(self.decoder.channels, 3, 1)
        self.plane_head = BottleneckHead(self.encoder.channels[-1], plane_hidden)
        self.orientation_head = BottleneckHead(self.encoder.channels[-1], plane_hidden) if orientation_head else None
        self.decodes = True
        """False leaves the decoder out of `forward`: the heads' logits alone."""

    @property
    def output_stride(self) -> int:
        """Pixels of the input that one of the class logits covers, along each axis."""
        stride: int = self.decoder.stride
        return stride

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, 1, H, W) grey levels 0 to 255 to logits.

        Returns:
            class_logits (B, 3, h, w) for background, PS, FH, with h = H / `output_stride`; plane_logit (B,); and, with
            an orientation head, normal_logit (B,).
        """
        features = self.encoder((image.float() - self.grey_mean) / self.grey_std)
        verdicts = [head(features[-1]) for head in (self.plane_head, self.orientation_head) if head]
        if not self.decodes:
            return tuple(verdicts)
        return self.segmentation_head(self.decoder(features)), *verdicts
