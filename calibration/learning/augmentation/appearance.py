"""Appearance augmentation: scanner settings, tissue, compression. All (B, 1, H, W) in [0, 1]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from calibration.learning.augmentation.settings import AugmentationSettings, Effect

JPEG_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation table of ITU-T T.81, Annex K.1."""


def degrade(images: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Applies every effect in the order in which a signal meets them: tissue, receiver, display, export."""
    x = attenuate(images, settings, generator)
    x = speckle(x, settings.speckle, generator)
    x = set_levels(x, settings, generator)
    x = blur_and_sharpen(x, settings, generator)
    if settings.noise.p:
        sigma = settings.noise.draw(len(x), generator, neutral=0.0)[:, None, None, None]
        x = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    return coarsen(x.clamp(0, 1), settings.resolution, generator)


def attenuate(x: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Depth attenuation or over-corrected time gain, an acoustic shadow, haze in the near field."""
    count, side = len(x), x.shape[-1]
    depth = torch.linspace(0, 1, side, device=x.device)[:, None]
    across = torch.linspace(-1, 1, side, device=x.device)[None, :]

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(count, generator=generator, device=x.device)
        return (low + (high - low) * drawn)[:, None, None]

    exponent = settings.attenuation.draw(count, generator, neutral=0.0)[:, None, None]
    factor = torch.exp(exponent * depth)
    darkness = settings.shadow.draw(count, generator, neutral=0.0)[:, None, None]
    angle = torch.atan2(across, depth + 0.15) - uniform(-0.7, 0.7)
    begins = torch.sigmoid((depth - uniform(0.0, 0.6)) * 25)
    factor = factor * (1 - darkness * begins * torch.exp(-0.5 * (angle / uniform(0.03, 0.15)) ** 2))
    light = settings.haze.draw(count, generator, neutral=0.0)[:, None, None]
    haze = light * torch.exp(-depth * uniform(2.0, 6.0))
    return x * factor[:, None] + haze[:, None] * (x > 0.01)


def set_levels(x: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Gain, contrast, gamma, and a random rising tone curve."""

    def draw(effect: Effect) -> Tensor:
        return effect.draw(len(x), generator, neutral=1.0)[:, None, None, None]

    x = x * draw(settings.gain) * draw(settings.brightness)
    contrast = draw(settings.contrast)
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = ((x - mean) * contrast + mean).clamp(0, 1) ** draw(settings.gamma)
    if settings.tone.p:
        x = tone_curve(x, settings.tone, generator)
    return x


def tone_curve(x: Tensor, effect: Effect, generator: Generator) -> Tensor:
    """Maps grey through a rising curve with 8 random steps, 0 to 0 and 1 to 1; size 0 is a straight line."""
    strength = effect.draw(len(x), generator, neutral=0.0)[:, None]
    rises = -torch.log(torch.rand(len(x), 8, generator=generator, device=x.device).clamp(min=1e-6))
    rises = (1 - strength) / 8 + strength * rises / rises.sum(dim=1, keepdim=True)
    knots = functional.pad(rises.cumsum(dim=1), (1, 0))
    at = (x.flatten(1) * 8).clamp(0, 7.9999)
    below = at.long()
    low, high = knots.gather(1, below), knots.gather(1, below + 1)
    return (low + (high - low) * (at - below)).view_as(x)


def speckle(x: Tensor, effect: Effect, generator: Generator) -> Tensor:
    """Multiplicative noise with the grain of a scan: wider than it is deep."""
    if not effect.p:
        return x
    strength = effect.draw(len(x), generator, neutral=0.0)[:, None, None, None]
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    grain = 0.6 + torch.rand(len(x), generator=generator, device=x.device)
    noise = gaussian_blur(noise, 1.4 * grain, 0.8 * grain)
    return x * (1 + strength * noise / noise.std(dim=(2, 3), keepdim=True).clamp(min=1e-6)).clamp(min=0)


def blur_and_sharpen(x: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """Gaussian blur, or the unsharp mask of some scanners."""
    unit = x.shape[-1] / 256.0
    if settings.blur.p:
        sigma = settings.blur.draw(len(x), generator, neutral=0.0) * unit
        x = gaussian_blur(x, sigma, sigma)
    if settings.sharpen.p:
        weight = settings.sharpen.draw(len(x), generator, neutral=0.0)
        soft = gaussian_blur(x, torch.full_like(weight, unit), torch.full_like(weight, unit))
        x = x + weight[:, None, None, None] * (x - soft)
    return x


def gaussian_blur(x: Tensor, sigma_x: Tensor, sigma_y: Tensor) -> Tensor:
    """Blurs each frame by its own standard deviations (B,), px, at most 3; 0 leaves a frame as it is."""
    radius = 6
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    count = len(x)

    def kernel(sigma: Tensor) -> Tensor:
        weight = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3, max=3.0)[:, None]) ** 2)
        return weight / weight.sum(dim=1, keepdim=True)

    rows = functional.pad(x.transpose(0, 1), (radius,) * 4, mode="replicate")
    rows = functional.conv2d(rows, kernel(sigma_x)[:, None, None, :], groups=count)
    return functional.conv2d(rows, kernel(sigma_y)[:, None, :, None], groups=count).transpose(0, 1)


def dilate(region: Tensor, radius: int) -> Tensor:
    """Widens regions (B, 1, H, W), 0 or 1, by a square; rows, then columns, which costs far less than both at once."""
    rows = functional.max_pool2d(region, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return functional.max_pool2d(rows, (2 * radius + 1, 1), stride=1, padding=(radius, 0))


def coarsen(x: Tensor, effect: Effect, generator: Generator) -> Tensor:
    """The resolution of another scanner or a small export: down by area, up again bilinearly."""
    if not effect.p:
        return x
    hit = torch.rand(len(x), generator=generator, device=x.device) < effect.p
    factor = effect.low + (effect.high - effect.low) * float(
        torch.rand(1, generator=generator, device=x.device)
    )  # one for the batch: the small picture's size must be one number
    small = max(8, int(x.shape[-1] * factor))
    coarse = functional.interpolate(x, (small, small), mode="area")
    restored = functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(hit[:, None, None, None], restored, x)


def compress(x: Tensor, effect: Effect, generator: Generator) -> Tensor:
    """JPEG's loss, without its file: 8 x 8 cosine transform, quantised as libjpeg scales the standard's table.

    Sides that are not multiples of 8 are left uncompressed at the far edges.
    """
    if not effect.p:
        return x
    quality = effect.draw(len(x), generator, neutral=101.0)
    hit = quality <= 100
    if not hit.any():
        return x
    chosen = x[hit]
    rows, columns = chosen.shape[-2] // 8 * 8, chosen.shape[-1] // 8 * 8
    table = torch.tensor(JPEG_LUMINANCE, device=x.device, dtype=x.dtype)
    q = quality[hit].clamp(1, 100)
    scaling = torch.where(q < 50, 50.0 / q, 2.0 - q / 50.0)[:, None, None, None, None]
    steps = (table * scaling).clamp(1, 255)
    k = torch.arange(8, device=x.device, dtype=x.dtype)
    cosine = torch.cos(math.pi / 8 * (k + 0.5)[None, :] * k[:, None]) * math.sqrt(2 / 8)
    cosine[0] /= math.sqrt(2)
    blocks = chosen[:, 0, :rows, :columns].reshape(-1, rows // 8, 8, columns // 8, 8).transpose(2, 3) * 255 - 128
    spectrum = (cosine @ blocks @ cosine.T / steps).round() * steps
    restored = (cosine.T @ spectrum @ cosine + 128) / 255
    out = chosen.clone()
    out[:, 0, :rows, :columns] = restored.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    x = x.clone()
    x[hit] = out.clamp(0, 1)
    return x
