"""Inpaints a region with tissue of the same frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from calibration.learning.augmentation.appearance import dilate, gaussian_blur

if TYPE_CHECKING:
    from torch import Generator, Tensor

COARSE = 64
CANDIDATES = 12
"""Places tried for each region; the best-fitting one is taken."""
_RING = 5
"""Width, in cells of the coarse picture, of the surroundings that tissue must fit."""
DARK = 0.04
"""Grey below which there is no tissue, but the black around the sector or a shadow."""
FITS = 0.3
"""Cost up to which a place is copied: the share of it that is no tissue, and the difference of greys around."""
SWEEPS = 24
"""Of Jacobi's method, at each size of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Source positions of inpainted tissue, for each of b frames.

    Attributes:
        frame: (b,) the frame of the batch it is taken from.
        mirrored: (b,) bool.
        shift: (b, 2) rows and columns by which it is moved, as shares of the side.
    """

    frame: Tensor
    mirrored: Tensor
    shift: Tensor

    def moved(self, pictures: Tensor) -> Tensor:
        """Pictures (b, C, H, W) taken from a batch (B, C, H, W); what leaves one edge comes in at the other."""
        side = pictures.shape[-1]
        taken = pictures[self.frame]
        taken = torch.where(self.mirrored[:, None, None, None], taken.flip(3), taken)
        steps = (self.shift * side).round().long().tolist()
        return torch.stack([each.roll(step, dims=(1, 2)) for each, step in zip(taken, steps, strict=True)])


def fill_with_tissue(images: Tensor, region: Tensor, structures: Tensor, generator: Generator) -> Tensor:
    """Fills regions with tissue of the same or another frame of the batch.

    A third each: a copy of other tissue, its brightness matched by mean and spread; a seamless copy, which meets the
    surroundings without a step anywhere along the edge; and, also wherever no place fits, the greys around the region
    spread over it, under a texture like that of a small piece of tissue. Of `CANDIDATES` random places (shifted, half
    of them mirrored, half of another frame) that one is copied that holds least of PS, FH and darkness and whose
    surroundings are most like the region's.

    Args:
        images: (B, 1, H, W) in [0, 1].
        region: (B, 1, H, W) 0 or 1.
        structures: (B, 1, H, W) 1 where the frame shows PS or FH.
        generator: of the places.
    """
    rows = (region > 0).flatten(1).any(dim=1).nonzero()[:, 0]
    count = len(rows)
    if not count:
        return images
    own, region = images[rows], region[rows]
    best, cost = _best_places(images, rows, region, structures, generator)
    tissue = best.moved(images)
    ring = dilate(region, 12) - region
    own_mean, own_spread = _level(own, ring)
    its_mean, its_spread = _level(tissue, ring)
    gain = (own_spread / its_spread.clamp(min=1e-3)).clamp(0.5, 2.0)
    copied = (tissue - its_mean) * gain + own_mean
    laid = _smooth(own, 1 - region) * _texture(own, structures[rows], generator)
    lot = torch.where(cost < FITS, torch.rand(count, generator=generator, device=images.device), 1.0)
    wide = torch.full((count,), 3.0, device=images.device)
    soft = gaussian_blur(dilate(region, 2), wide, wide)
    tissue_or_laid = torch.where(lot[:, None, None, None] < 1 / 3, copied, laid).clamp(0, 1)
    filled = own * (1 - soft) + tissue_or_laid * soft
    seamless = ((lot >= 1 / 3) & (lot < 2 / 3)).nonzero()[:, 0]
    if len(seamless):
        filled = filled.index_copy(0, seamless, join(own[seamless], tissue[seamless], region[seamless]))
    return images.index_copy(0, rows, filled)


def join(images: Tensor, tissue: Tensor, region: Tensor) -> Tensor:
    """Puts tissue into a region so that it meets the picture along the region's edge; the rest stays as it is.

    Seamless cloning (Perez, Gangnet and Blake, SIGGRAPH 2003): the tissue plus the difference along the edge, carried
    over the region by Laplace's equation, which is solved from coarse to fine, with `SWEEPS` of Jacobi's method at each
    size. All arguments are (B, 1, S, S), pictures in [0, 1], the region 0 or 1.
    """
    side = images.shape[-1]
    known = 1 - region
    difference = (images - tissue) * known
    carried = torch.zeros_like(images[:, :, :1, :1])
    for size in (*(size for size in (16, 32, 64, 128, 256, 512) if size < side), side):
        weight, edge = (functional.adaptive_avg_pool2d(each, size) for each in (known, difference))
        edge = edge / weight.clamp(min=1e-6)
        carried = functional.interpolate(carried, (size, size), mode="nearest")
        for _ in range(SWEEPS):
            carried = torch.where(weight > 0, edge, carried)
            padded = functional.pad(carried, (1, 1, 1, 1), mode="replicate")
            above, below = padded[:, :, :-2, 1:-1], padded[:, :, 2:, 1:-1]
            carried = (above + below + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]) / 4
    return torch.where(region > 0, (tissue + carried).clamp(0, 1), images)


def _texture(images: Tensor, structures: Tensor, generator: Generator) -> Tensor:
    """Speckle around 1 (B, 1, H, W) with the look of a square of tissue.

    Spot noise (Galerne, Gousseau and Morel, IEEE TIP 2011): white noise convolved with the square's own pattern, here
    of the logarithm of greys over smooth greys, has its spectrum and repeats nothing.
    """
    count, side = len(images), images.shape[-1]
    piece = int(side * (0.1 + 0.12 * float(torch.rand(1, generator=generator, device=images.device))))
    cells = side // piece
    dark = (functional.avg_pool2d(images, 5, stride=1, padding=2) < DARK).float()
    bad = functional.avg_pool2d(torch.maximum(dark, structures), piece).flatten(1)
    noise = 0.3 * torch.rand(bad.shape, generator=generator, device=images.device)
    place = (bad + noise).argmin(dim=1)
    smooth = functional.avg_pool2d(images, 15, stride=1, padding=7, count_include_pad=False)
    speckle = torch.log((images + 0.02) / (smooth + 0.02))
    tiles = []
    for frame, at in enumerate(place.tolist()):
        top, left = (at // cells) * piece, (at % cells) * piece
        tiles.append(speckle[frame, 0, top : top + piece, left : left + piece])
    spots = torch.stack(tiles)
    spots = spots - spots.mean(dim=(1, 2), keepdim=True)
    noise = torch.randn(count, side, side, generator=generator, device=images.device)
    laid = torch.fft.irfft2(torch.fft.rfft2(spots, s=(side, side)) * torch.fft.rfft2(noise), s=(side, side))
    laid = laid * (spots.std(dim=(1, 2), keepdim=True) / laid.std(dim=(1, 2), keepdim=True).clamp(min=1e-6))
    return torch.exp(laid)[:, None].clamp(max=3.0)


def _best_places(
    images: Tensor, targets: Tensor, region: Tensor, structures: Tensor, generator: Generator
) -> tuple[Places, Tensor]:
    """The places for the frames `targets` (b,) with their regions (b, 1, H, W), and what is wrong with each, (b,)."""
    picture, hole, body = (functional.adaptive_avg_pool2d(each, COARSE) for each in (images, region, structures))
    ring = dilate(hole, _RING) - hole
    own_mean, own_spread = _level(picture[targets], ring)
    mass = hole.sum(dim=(1, 2, 3)).clamp(min=1e-3)
    tried: list[Places] = []
    costs: list[Tensor] = []
    for _ in range(CANDIDATES):
        place = _random_places(targets, len(images), generator)
        tissue, its_body = place.moved(picture), place.moved(body)
        its_mean, its_spread = _level(tissue, ring)
        unfit = torch.maximum(its_body, (tissue < DARK).float())
        covered = (unfit * hole).sum(dim=(1, 2, 3)) / mass
        unlike = (own_mean - its_mean).abs() + (own_spread - its_spread).abs()
        tried.append(place)
        costs.append(covered + unlike.flatten())
    cost, chosen = torch.stack(costs).min(dim=0)
    rows = torch.arange(len(targets), device=images.device)
    names = ("frame", "mirrored", "shift")
    return Places(*(torch.stack([getattr(place, name) for place in tried])[chosen, rows] for name in names)), cost


def _random_places(targets: Tensor, count: int, generator: Generator) -> Places:
    device = generator.device
    drawn = torch.rand(4, len(targets), generator=generator, device=device)
    other = (drawn[0] * count).long().clamp(max=count - 1)
    frame = torch.where(drawn[1] < 0.5, targets, other)
    return Places(frame, drawn[1] % 0.5 < 0.25, (drawn[2:].T - 0.5) * torch.tensor((0.3, 0.8), device=device))


def _level(pictures: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, 1, 1, 1) of pictures over a region."""
    mass = where.sum(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    mean = (pictures * where).sum(dim=(2, 3), keepdim=True) / mass
    variance = ((pictures - mean).square() * where).sum(dim=(2, 3), keepdim=True) / mass
    return mean, variance.sqrt()


def _smooth(pictures: Tensor, known: Tensor) -> Tensor:
    """The greys of what is known, spread smoothly over all: normalised convolution on a coarse grid."""
    side = pictures.shape[-1]
    grey, weight = (functional.adaptive_avg_pool2d(each, COARSE // 2) for each in (pictures * known, known))
    wide = torch.full((len(pictures),), 2.5, device=pictures.device)
    for _ in range(2):
        grey, weight = gaussian_blur(grey, wide, wide), gaussian_blur(weight, wide, wide)
    return functional.interpolate(grey / weight.clamp(min=1e-3), (side, side), mode="bilinear", align_corners=False)
