"""From coarse to fine in one graph: masks, then a second look at the symphysis, and a gate that joins the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engines.network.gate import EVIDENCE, mask_evidence, second_look_log_spread
from engines.network.refinement import RefinementNetwork
from engines.network.second_look import FIELD_SHARE, VIEWS, SecondLook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CascadeNetwork(nn.Module):
    """A mask network with a calibrated plane gate and, where there is a refinement, a second look at the symphysis.

    Args:
        masks: the network that runs first.
        refinement: keyword arguments of `RefinementNetwork`; None leaves the second look out.
        size: side of the square picture, px.
        views: of the second look, see `engines.network.second_look.VIEWS`.
        field_share: likewise.

    Attributes:
        gate_weights: buffer. The plane logit is a logistic regression: the weights of `engines.network.gate.EVIDENCE`
            (without a second look of the first five), then the constant. At first the plane head alone counts.
    """

    gate_weights: Tensor

    def __init__(
        self,
        masks: Any,
        *,
        size: int,
        refinement: Mapping[str, Any] | None = None,
        views: Sequence[Sequence[float]] = VIEWS,
        field_share: float = FIELD_SHARE,
    ) -> None:
        super().__init__()
        self.masks = masks
        self.second_look = None
        if refinement is not None:
            network = RefinementNetwork(**refinement)
            self.second_look = SecondLook(network, size=size, views=views, field_share=field_share)
        weighed = len(EVIDENCE) if refinement is not None else len(EVIDENCE) - 1
        self.register_buffer("gate_weights", torch.tensor([1.0] + [0.0] * weighed))

    @property
    def output_stride(self) -> int:
        """Pixels of the input that one of the class logits covers, along each axis."""
        stride: int = self.masks.output_stride
        return stride

    @property
    def decodes(self) -> bool:
        """False leaves all but the heads of the mask network out of `forward`."""
        decodes: bool = self.masks.decodes
        return decodes

    @decodes.setter
    def decodes(self, decodes: bool) -> None:
        self.masks.decodes = decodes

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, 1, H, W) grey levels 0 to 255 to the outputs, named by `ModelSpec.output_names`.

        Returns:
            class_logits (B, 3, h, w); plane_logit (B,) of the gate; with an orientation head normal_logit (B,);
            plane_head (B,), the plane head's own logit; with a second look ps_axis (B, V, 7), see `SecondLook`.
            Without a decoder: plane_head, and normal_logit.
        """
        if not self.decodes:
            heads: tuple[Tensor, ...] = self.masks(image)
            return heads
        class_logits, plane_head, *normal = self.masks(image)
        evidence, looks = [plane_head[:, None], mask_evidence(class_logits)], []
        if self.second_look is not None:
            looks.append(self.second_look(image, class_logits, normal[0] if normal else None))
            evidence.append(second_look_log_spread(looks[0]))
        plane_logit = (torch.cat(evidence, dim=1) * self.gate_weights[:-1]).sum(dim=1) + self.gate_weights[-1]
        return class_logits, plane_logit, *normal, plane_head, *looks
