"""The letterbox in the network: whole frames in, fitted on the device to the very bits that the host would make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from engines.preprocess import Letterbox

_ONE = 256
"""OpenCV's exact linear interpolation counts in 256ths of a pixel."""


class LetterboxedNetwork(nn.Module):
    """A network that takes frames of one size.

    Convention: the same bits as `Letterbox.apply`. Means of 2 x 2 blocks are rounded half up; then each axis is
    interpolated with weights in 256ths, rounded half to even, and the sum of both axes is rounded once, half up.

    Args:
        network: takes (B, 1, height, width) of the letterbox.
        letterbox: of the frames.
    """

    def __init__(self, network: nn.Module, letterbox: Letterbox) -> None:
        super().__init__()
        self.network = network
        self._letterbox = letterbox
        _, _, width, height = letterbox.content
        kept_width, kept_height = (side >> letterbox.halvings for side in letterbox.kept)
        for axis, source, target in (("x", kept_width, width), ("y", kept_height, height)):
            for name, value in zip(("first", "second", "weight"), _taps(source, target), strict=True):
                self.register_buffer(f"{axis}_{name}", value, persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Maps frames (B, 1, H, W) uint8 to the network's answers."""
        answers: tuple[Tensor, ...] = self.network(self.fitted(frames))
        return answers

    def fitted(self, frames: Tensor) -> Tensor:
        """The network's input (B, 1, height, width) uint8."""
        box = self._letterbox
        left, top, width, height = box.content
        kept_width, kept_height = box.kept
        grey = frames[..., :kept_height, :kept_width].to(torch.int32)
        for _ in range(box.halvings):
            pairs = grey[..., 0::2, :] + grey[..., 1::2, :]
            grey = (pairs[..., 0::2] + pairs[..., 1::2] + 2) >> 2
        named = dict(self.named_buffers(recurse=False))
        x = named["x_weight"]
        across = grey[..., named["x_first"]] * (_ONE - x) + grey[..., named["x_second"]] * x
        y = named["y_weight"][:, None]
        both = across[..., named["y_first"], :] * (_ONE - y) + across[..., named["y_second"], :] * y
        levels = ((both + _ONE * _ONE // 2) // (_ONE * _ONE)).to(torch.uint8)
        edges = (left, box.width - width - left, top, box.height - height - top)
        return nn.functional.pad(levels, edges)


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each target pixel the two source pixels it lies between, and the second one's weight in 256ths."""
    at = (torch.arange(target, dtype=torch.float64) + 0.5) * (1.0 / (target / source)) - 0.5
    low = torch.floor(at)
    weight = torch.round((at - low) * _ONE).to(torch.int32)
    first, second = (place.clamp(0, source - 1).to(torch.int64) for place in (low, low + 1))
    return first, second, weight
