"""The second look inside the network: where the PS is, the crop around it, and the answers in pixels of the picture.

Plain operators alone, so that every runtime runs it. A crop is made by matrix products: a window of whole pixels
around the centre is picked by matrices of zeros and ones, then enlarged by matrices of bilinear weights, in which the
rest of the centre is counted. No number that places a pixel is large and fractional at once, so a runtime of half
precision takes the same crop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.network.refinement import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.network.refinement import RefinementNetwork

FIELD_SHARE = 112 / 256
"""Side of a crop as a share of the picture's."""
VIEWS = ((1.0, 0.0, 0.0), (1.15, 0.0, 0.0))
"""Magnification, and shift to the right and down as shares of the crop's side, of each view."""
LEAST_PS = 0.5
"""Without a cell of so great a probability there is no PS to look at."""
_PATCH_SHARE = 0.1
"""Side of the patch that the PS fills most, as a share of the picture's: PSFHS' symphyses are 0.06 to 0.1 wide."""
_SHARPNESS = 8
_WINDOW_SHARE = 0.125
"""Standard deviation of the window around that place, as a share of the picture's side: half a PS is 0.06 to 0.15."""


class SecondLook(nn.Module):
    """Looks at the PS again, enlarged, in several views.

    Convention: a crop is centred on the centroid of the PS' probability near the place that PS fills most, so that a
    false blob elsewhere does not move it. Pixel centres are at integers, x right, y down, and
    what lies outside the picture is 0. Of a picture that is called mirrored (`normal_logit` below 0) the crop is
    mirrored, because the network presumes normal ones, and the answers are mirrored back.

    Args:
        network: reads the crops.
        size: side of the square picture, px.
        views: see `VIEWS`.
        field_share: see `FIELD_SHARE`; what the network was trained with.
    """

    columns: Tensor
    reach: Tensor
    off_x: Tensor
    off_y: Tensor
    unit: Tensor
    shift: Tensor
    flags: Tensor

    def __init__(
        self,
        network: RefinementNetwork,
        *,
        size: int,
        views: Sequence[Sequence[float]] = VIEWS,
        field_share: float = FIELD_SHARE,
    ) -> None:
        super().__init__()
        if not views or any(len(view) != 3 or view[0] <= 0 for view in views):
            raise ValueError(f"a view is a magnification above 0 and two shifts, got {views}")
        self.network = network
        self.size, self.views = size, len(views)
        field = field_share * size
        along = (torch.arange(network.side) + 0.5) / network.side - 0.5
        at = {
            axis: torch.stack([field * (along / view[0] + view[place]) for view in views])
            for place, axis in ((1, "x"), (2, "y"))
        }
        margin = math.ceil(max(float(each.abs().max()) for each in at.values())) + 1
        constants = {
            "columns": torch.arange(size).float(),
            "reach": torch.arange(-margin, margin + 1).float(),
            "unit": torch.tensor([[1, 1, *[field / 2 / view[0]] * 4, 1] for view in views]),
            # Which of the seven lie along x, along y, and are of an end:
            "flags": torch.tensor([[1.0, 0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 1, 1, 0]]),
            "shift": torch.tensor([[0, 0, *(field * view[1], field * view[2]) * 2, 0] for view in views]),
        }
        for axis, places in at.items():  # from each pixel of the window to each of the crop, as far as it matters
            constants[f"off_{axis}"] = (constants["reach"] - places[:, :, None]).clamp(-3, 3)
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, image: Tensor, class_logits: Tensor, normal_logit: Tensor | None) -> Tensor:
        """The answers of all views, (B, V, 7), in the order of `RefinementNetwork`'s `OUTPUTS`, ends in pixels.

        All 0 where there is no PS. A direction need not have length 1.

        Args:
            image: (B, 1, size, size) grey levels 0 to 255.
            class_logits: (B, 3, h, w) for background, PS, FH.
            normal_logit: (B,); None presumes normal pictures.
        """
        ps = class_logits.float().softmax(dim=1).select(1, 1)
        x, y = self.centre(ps)
        side = torch.ones_like(x) if normal_logit is None else 1 - 2 * (normal_logit.reshape(-1, 1, 1) < 0).float()
        crops = self.crops(image, x, y, side)
        answers = self.network(crops.reshape(-1, 1, *crops.shape[2:])).float().reshape(-1, self.views, len(OUTPUTS))
        is_there = (ps.amax(dim=(1, 2), keepdim=True) >= LEAST_PS).float()
        return self._in_picture(answers, x, y, side) * is_there

    def centre(self, ps: Tensor) -> tuple[Tensor, Tensor]:
        """The PS' centroid, x and y (B, 1, 1) each in pixels of the picture, of its probabilities (B, h, w)."""
        height, width = ps.shape[1:]
        columns = ((torch.arange(width, device=ps.device) + 0.5) * (self.size / width) - 0.5).reshape(1, 1, -1)
        rows = ((torch.arange(height, device=ps.device) + 0.5) * (self.size / height) - 0.5).reshape(1, -1, 1)
        reach = round(_PATCH_SHARE * width / 2)
        patch = (2 * reach + 1, 2 * reach + 1)
        filled = functional.avg_pool2d(ps.unsqueeze(1), patch, stride=(1, 1), padding=(reach, reach)).squeeze(1)
        near = (filled / filled.amax(dim=(1, 2), keepdim=True)) ** _SHARPNESS
        off = (columns - _mean(columns, near)) ** 2 + (rows - _mean(rows, near)) ** 2
        window = torch.exp(off * (-0.5 / (_WINDOW_SHARE * self.size) ** 2))
        near = ps * window + 1e-6 * window  # the second term keeps the place where there is no PS at all
        return _mean(columns, near), _mean(rows, near)

    def crops(self, image: Tensor, x: Tensor, y: Tensor, side: Tensor) -> Tensor:
        """The views (B, V, s, s) around points (B, 1, 1); of pictures whose `side` is -1 they are mirrored."""
        columns, reach = self.columns.reshape(1, 1, -1), self.reach.reshape(1, -1, 1)
        whole_x, whole_y = torch.round(x), torch.round(y)
        across = (columns - whole_x == side * reach).float()
        down = (columns - whole_y == reach).float()
        window = down @ image.float().squeeze(1) @ across.transpose(1, 2)
        zoom_x = _bilinear(self.off_x - ((x - whole_x) * side).unsqueeze(1))
        zoom_y = _bilinear(self.off_y - (y - whole_y).unsqueeze(1))
        return zoom_y @ window.unsqueeze(1) @ zoom_x.transpose(2, 3)

    def _in_picture(self, answers: Tensor, x: Tensor, y: Tensor, side: Tensor) -> Tensor:
        """Answers (B, V, 7) relative to the crops as pixels of the picture."""
        is_x, is_y, of_end = self.flags.unbind(0)
        turned = 1 + (side - 1) * is_x
        return (answers * self.unit + self.shift) * turned + (x * is_x + y * is_y) * of_end


def _bilinear(off: Tensor) -> Tensor:
    """Weights of pixels by how far off they are, along one axis, in pixels."""
    return (1 - off.abs()).clamp(min=0)


def _mean(places: Tensor, weights: Tensor) -> Tensor:
    return (places * weights).sum(dim=(1, 2), keepdim=True) / weights.sum(dim=(1, 2), keepdim=True)
