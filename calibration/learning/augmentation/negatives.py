"""Makes negatives of standard planes by removing a structure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from calibration.learning.augmentation.appearance import dilate, gaussian_blur
from calibration.learning.augmentation.tissue import fill_with_tissue

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from calibration.learning.augmentation.settings import AugmentationSettings
    from calibration.learning.batch import Batch

COARSE = 32
PAINT_REACH = 8
"""So far, in px, does a painted region's soft edge reach beyond it; what lies farther away keeps every grey level."""


def make_negatives(batch: Batch, settings: AugmentationSettings, generator: Generator) -> Batch:
    """Cuts structures away, paints decoys, turns frames over, or takes the signal away. Each frame at most one."""
    count = len(batch)

    def chance() -> Tensor:
        return torch.rand(count, generator=generator, device=batch.images.device)

    drawn = torch.where((batch.masks > 0).flatten(1).any(dim=1), batch.planes, torch.zeros_like(batch.planes)) > 0.5
    lot = chance()
    bounds = torch.tensor([settings.cut_away.p, settings.decoy.p, settings.upside_down.p]).cumsum(0)
    cut = drawn & (lot < bounds[0])
    decoy = drawn & (lot >= bounds[0]) & (lot < bounds[1])
    over = drawn & (lot >= bounds[1]) & (lot < bounds[2])
    blank = (batch.planes < 0.5) & (batch.mask_weights > 0) & ~(batch.masks > 0).flatten(1).any(dim=1)
    blank &= chance() < settings.no_signal.p

    which = chance()
    away = torch.stack((which < 0.7, (which < 0.2) | (which >= 0.7)), dim=1) & cut[:, None]
    if (cut | decoy).any():
        batch = _paint(batch, away=away, decoy=decoy, tissue_fill=settings.tissue_fill, generator=generator)
    images = torch.where(over[:, None, None, None], batch.images.flip(2), batch.images)
    images = torch.where(blank[:, None, None, None], no_signal(batch.images, generator), images)
    return replace(
        batch,
        images=images,
        planes=torch.where(cut | over, torch.zeros_like(batch.planes), batch.planes),
        # The mask of a frame on its head is no truth to learn from: structures are there, but upside down.
        mask_weights=torch.where(over, torch.zeros_like(batch.planes), batch.mask_weights),
    )


def _paint(batch: Batch, *, away: Tensor, decoy: Tensor, tissue_fill: float, generator: Generator) -> Batch:
    structures = torch.stack([batch.masks == code for code in (1, 2)], dim=1)
    gone = (structures & away[:, :, None, None]).any(dim=1)
    near = dilate((batch.masks > 0).float()[:, None], PAINT_REACH)
    region = dilate(gone.float()[:, None], 4)
    patch = ellipse(len(batch), batch.images.shape[-1], generator) * (1 - near) * decoy[:, None, None, None]
    region = torch.maximum(region, patch)
    images = paint_out(batch.images, region, generator)
    if tissue_fill:
        takes = torch.rand(len(batch), 1, 1, 1, generator=generator, device=images.device) < tissue_fill
        filled = fill_with_tissue(batch.images, region * takes, (batch.masks > 0).float()[:, None], generator)
        images = torch.where(takes, filled, images)
    return replace(
        batch,
        images=images,
        masks=torch.where(gone, 0, batch.masks),
    )


def ellipse(count: int, side: int, generator: Generator) -> Tensor:
    """A filled ellipse anywhere in each frame: (B, 1, side, side), 0 or 1."""
    axis = torch.linspace(-0.5, 0.5, side, device=generator.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    drawn = torch.rand(5, count, 1, 1, generator=generator, device=generator.device)
    u, v = x - 0.8 * (drawn[0] - 0.5), y - 0.8 * (drawn[1] - 0.5)
    angle = drawn[2] * torch.pi
    along, across = u * angle.cos() + v * angle.sin(), v * angle.cos() - u * angle.sin()
    radii = 0.05 + 0.11 * drawn[3:]
    return ((along / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1).float()[:, None]


def paint_out(images: Tensor, region: Tensor, generator: Generator) -> Tensor:
    """Fills regions (B, 1, H, W), 0 or 1, with the grey of their surroundings under a speckle of its own."""
    outside = 1 - region
    # Mean of the surroundings by normalised convolution, on a coarse grid: the region is large.
    weight = functional.adaptive_avg_pool2d(outside, COARSE)
    grey = functional.adaptive_avg_pool2d(images * outside, COARSE)
    wide = torch.full((len(images),), 3.0, device=images.device)
    for _ in range(2):
        weight, grey = gaussian_blur(weight, wide, wide), gaussian_blur(grey, wide, wide)
    base = functional.interpolate(grey / weight.clamp(min=1e-3), images.shape[-2:], mode="bilinear")
    real, imaginary = torch.randn(2, *images.shape, generator=generator, device=images.device)
    grain = torch.rand(2, len(images), generator=generator, device=images.device)
    sigma_x, sigma_y = 0.8 + 1.4 * grain[0], 0.6 + 0.6 * grain[1]  # speckle is wider than it is deep
    envelope = torch.hypot(gaussian_blur(real, sigma_x, sigma_y), gaussian_blur(imaginary, sigma_x, sigma_y))
    texture = 0.35 + 0.65 * envelope / envelope.mean(dim=(2, 3), keepdim=True)
    soft = gaussian_blur(dilate(region, 2), wide, wide)
    return images * (1 - soft) + (base * texture).clamp(0, 1) * soft


def no_signal(images: Tensor, generator: Generator) -> Tensor:
    """What a source shows without a picture: black, a flat grey, noise, or a test picture of bars."""
    count, side = len(images), images.shape[-1]
    drawn = torch.rand(4, count, 1, 1, 1, generator=generator, device=images.device)
    flat = (drawn[0] * (drawn[1] < 0.7)).expand_as(images)
    noise = flat + 0.24 * drawn[2] * torch.randn(images.shape, generator=generator, device=images.device)
    levels = torch.rand(count, 1, 1, 8, generator=generator, device=images.device)
    bars = functional.interpolate(levels, (1, side), mode="nearest").expand_as(images)
    kind = (drawn[3] * 3).long()
    return torch.where(kind == 0, flat, torch.where(kind == 1, noise, bars)).clamp(0, 1)
