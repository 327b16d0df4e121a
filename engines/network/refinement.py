"""A second look at the symphysis: a crop around the coarse PS in, its axis and both its ends out."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from engines.network.encoders import ENCODERS

OUTPUTS = ("cos", "sin", "inferior_x", "inferior_y", "superior_x", "superior_y", "log_spread")


class RefinementNetwork(nn.Module):
    """Crops (B, 1, side, side) of grey levels 0 to 255 to seven numbers each, (B, 7), in the order of `OUTPUTS`.

    Convention: `cos` and `sin` point from the superior to the inferior end of the PS (x right, y down) and need not
    have length 1; the ends are in units of half the crop's side from its centre; `log_spread` is the logarithm of the
    expected absolute error of the direction in radians. The picture is a normal one (PS left of the head).

    Args:
        encoder: a name in `engines.network.encoders.ENCODERS`.
        levels: of the encoder that are used, 1 to 5: with 4 the network has a quarter of the weights.
        side: of the crop, in pixels, a multiple of 2 ** levels.
        channels: to which the encoder's coarsest map is reduced.
        hidden: width of the layer before the last.
    """

    def __init__(
        self,
        *,
        encoder: Literal["efficientnet_lite0"] = "efficientnet_lite0",
        levels: int = 5,
        side: int = 128,
        channels: int = 64,
        hidden: int = 128,
        dropout: float = 0.2,
        grey_mean: float = 127.0,
        grey_std: float = 128.0,
    ) -> None:
        super().__init__()
        step = 2**levels
        if side <= 0 or side % step:
            raise ValueError(f"side is {side}, and must be a multiple of {step}")
        self.side = side
        self.grey_mean, self.grey_std = grey_mean, grey_std
        self.encoder = ENCODERS[encoder](levels)
        self.reduce = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.read = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * (side // step) ** 2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, len(OUTPUTS)),
        )

    def forward(self, crop: Tensor) -> Tensor:
        features = self.encoder((crop.float() - self.grey_mean) / self.grey_std)
        answer: Tensor = self.read(self.reduce(features[-1]))
        return answer
