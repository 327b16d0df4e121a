"""What a trained network is made into before it serves on a GPU: batch norm folded, half precision, labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.network.gate import mask_evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.base import ModelSpec


class LabelledNetwork(nn.Module):
    """A network that answers labels in the place of class logits, as `engines.onnx.labelled` makes a graph do.

    Args:
        network: whose first answer is the class logits.
        spec: of the network.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self._size = spec.height, spec.width

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, 1, H, W) grey levels 0 to 255 to labels (B, H, W) uint8, the rest, ps_peak and mean_logit (B,)."""
        answers: Sequence[Tensor] = self.network(image)
        class_logits = answers[0].float()
        peak = mask_evidence(class_logits)[:, 0]
        return labels_of(class_logits, self._size), *answers[1:], peak, class_logits.mean(dim=(1, 2, 3))


def labels_of(class_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (B, H, W) uint8 of logits (B, 3, h, w) enlarged to `size`: those of `engines.postprocess.class_labels`."""
    background, ps, fh = functional.interpolate(class_logits, size, mode="bilinear", align_corners=False).unbind(dim=1)
    codes: Any = torch.where(fh > torch.maximum(background, ps), 2, torch.where(ps > background, 1, 0))
    labels: Tensor = codes.to(torch.uint8)
    return labels


def fold_batch_norms(network: nn.Module) -> None:
    """Merges each batch norm into the convolution before it, where both are neighbours in an `nn.Sequential`."""
    for chain in network.modules():
        if not isinstance(chain, nn.Sequential):
            continue
        for place, (layer, following) in enumerate(zip(chain, list(chain)[1:], strict=False)):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                chain[place] = fuse_conv_bn_eval(layer, following)
                chain[place + 1] = nn.Identity()


def halve_convolutions(network: nn.Module) -> None:
    """Keeps the weights of convolutions in float16: under autocast they would be cast anew for every batch."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.half()
