"""Crops around the symphysis with its axis and ends as targets, drawn, turned, shifted and scaled at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from calibration.learning.augmentation.appearance import dilate
from calibration.learning.augmentation.geometry import affine_maps
from calibration.learning.augmentation.tissue import fill_with_tissue
from engines.network.second_look import FIELD_SHARE
from stream.measurement.protocols.fhps2023 import ellipse_through, ellipse_vertices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from calibration.learning.augmentation import AugmentationSettings
    from stream.measurement.geometry import Ellipse

COVER_MARGIN_PX = 4
"""So far beyond the drawn PS is it covered."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnSymphysis:
    """The drawn PS of one frame, in pixels of the network's square.

    Attributes:
        vertices: (N, 2) of the outline through which its ellipse is fitted.
        centre, inferior: (2,) of that ellipse; the inferior end is the right one (the picture is a normal one).
    """

    vertices: NDArray[np.float32]
    centre: NDArray[np.float64]
    inferior: NDArray[np.float64]

    @classmethod
    def of(cls, mask: NDArray[np.uint8]) -> DrawnSymphysis | None:
        """Reads it from a mask; None where no ellipse can be fitted."""
        vertices = ellipse_vertices(mask == 1)
        ellipse = None if vertices is None else ellipse_through(vertices)
        if vertices is None or ellipse is None:
            return None
        first, second = ends_of(ellipse)
        return cls(vertices.astype(np.float32), np.array(ellipse.center), first if first[0] >= second[0] else second)


def ends_of(ellipse: Ellipse) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends (2,) of an ellipse's long axis."""
    reach = ellipse.semi_major * np.array([math.cos(ellipse.theta_rad), math.sin(ellipse.theta_rad)])
    centre = np.array(ellipse.center)
    return centre + reach, centre - reach


def crop_frames(images: Tensor, centres: Tensor, affine: Tensor, *, side: int) -> Tensor:
    """Crops around points: (B, 1, S, S) to (B, 1, side, side), bilinear, 0 outside the picture.

    Args:
        images: any numbers.
        centres: (B, 2) xy in pixels, pixel centres at integers.
        affine: (B, 2, 2) from the crop to the picture, both in shares of `FIELD_SHARE` * S; the identity neither
            turns nor scales.
        side: of the crop.
    """
    source = images.shape[-1]
    axis = (torch.arange(side, device=images.device, dtype=torch.float32) + 0.5) / side - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = torch.einsum("bij,jhw->bhwi", affine, torch.stack((x, y))) * (FIELD_SHARE * source)
    at = at + centres[:, None, None, :]
    grid = (at + 0.5) * (2 / source) - 1
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def targets_of(
    found: DrawnSymphysis, centre: NDArray[np.float64], affine: NDArray[np.float64], *, source: int
) -> list[float]:
    """Direction (cos, sin), inferior end and superior end (x, y), as `RefinementNetwork` answers, for one crop.

    The ellipse is fitted anew to the moved outline: stretched or sheared, its ends are other points.
    """
    to_crop = np.linalg.inv(affine) / (FIELD_SHARE * source / 2)
    moved = ((found.vertices - centre) @ to_crop.T).astype(np.float32)
    inferior = to_crop @ (found.inferior - centre)
    ellipse = ellipse_through(moved)
    if ellipse is None:
        return [math.nan] * 6
    near, far = sorted(ends_of(ellipse), key=lambda end: float(np.hypot(*(end - inferior))))
    direction = (near - far) / np.hypot(*(near - far))
    return [*direction, *near, *far]


@dataclass(frozen=True, slots=True, eq=False)
class CropStore:
    """Frames to draw crops from.

    Attributes:
        images: (n, 1, S, S) uint8.
        masks: (n, S, S) uint8, 1 = PS, 2 = FH.
        symphyses: of each frame.
        reach: (n,) the chances of the frames, added up.
    """

    images: Tensor
    masks: Tensor
    symphyses: Sequence[DrawnSymphysis]
    reach: Tensor

    def draw(
        self, count: int, settings: AugmentationSettings, generator: torch.Generator, *, side: int, covered: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draws crops (count, 1, side, side) in [0, 1], moved at random, and their targets (count, 6).

        The third result (count,) says in which of them the PS is covered by other tissue: a share `covered`.
        """
        rows = torch.searchsorted(self.reach, torch.rand(count, generator=generator, dtype=torch.float64), right=True)
        rows = rows.clamp(max=len(self.images) - 1)
        affine, shift = affine_maps(count, settings, generator)
        hidden = torch.zeros(count, dtype=torch.bool)
        if covered:  # draws nothing else: runs without it stay what they were
            hidden = torch.rand(count, generator=generator) < covered
            hidden[0] = False  # there is always something to learn the direction from
        images = self.cover(rows, hidden, generator)
        crops, targets = self.crops(rows.tolist(), affine, shift * images.shape[-1], side=side, images=images)
        return crops, targets, hidden

    def crops(
        self, rows: Sequence[int], affine: Tensor, shift: Tensor, *, side: int, images: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Crops of some frames around the drawn centre moved by `shift` (B, 2) px, and their targets (B, 6).

        `images` (B, 1, S, S) in [0, 1] go before the frames' own.
        """
        images = self.images[list(rows)].float() / 255 if images is None else images
        source = images.shape[-1]
        chosen = [self.symphyses[row] for row in rows]
        centres = torch.from_numpy(np.stack([found.centre for found in chosen])).float() + shift
        targets = [
            targets_of(found, centre, matrix, source=source)
            for found, centre, matrix in zip(chosen, centres.double().numpy(), affine.double().numpy(), strict=True)
        ]
        return crop_frames(images, centres, affine, side=side), torch.tensor(targets)

    def cover(self, rows: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Frames (B, 1, S, S) in [0, 1] by their rows (B,), the PS of those in `hidden` covered by other tissue."""
        images, masks = self.images[rows].float() / 255, self.masks[rows][:, None]
        region = dilate((masks == 1).float() * hidden[:, None, None, None], COVER_MARGIN_PX)
        return fill_with_tissue(images, region, (masks > 0).float(), generator)
