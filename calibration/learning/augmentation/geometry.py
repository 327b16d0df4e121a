"""Geometric augmentation of image and mask by one map and one resampling.

The image is sampled bilinearly, the mask by nearest neighbour: interpolated class codes would draw a false ring of
PS (1) around every head (2). Positions are in pixels from the picture's centre; x right, y down.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from calibration.learning.augmentation.settings import AugmentationSettings
    from calibration.learning.batch import Batch

POSE_CELLS = 32
"""Side of the coarse grid on which PS and FH move against each other."""
POSE_STILL = 0.1
"""Weight of rest against the blurred masks: chosen so that the tissue between and around them folds least."""


def move(batch: Batch, settings: AugmentationSettings, generator: Generator) -> Batch:
    """Applies every geometric effect, and withdraws the plane label where a structure left the picture."""
    affine, shift = affine_maps(len(batch), settings, generator)
    side = batch.images.shape[-1]
    y, x = torch.meshgrid(*(_axis(batch.images.device, side),) * 2, indexing="ij")
    at = torch.einsum("bij,jhw->bihw", affine, torch.stack((x, y))) + (shift * side)[:, :, None, None]
    at = at + elastic_field(len(batch), side, settings, generator)
    at = at + sample(pose_field(batch.masks, settings, generator), at)
    images = sample(batch.images, at)
    masks = sample(batch.masks[:, None].float(), at, mode="nearest")[:, 0].long()
    keep = narrowed_sector(len(batch), side, settings, generator)
    determinant = torch.linalg.det(affine)
    normal = torch.where(determinant < 0, 1 - batch.normal, batch.normal)
    moved = replace(batch, images=images * keep, masks=masks * (keep[:, 0] > 0), normal=normal)
    area_factor = 1.0 / determinant.abs()
    return with_certain_planes(moved, before=batch.masks, area_factor=area_factor, settings=settings)


def affine_maps(count: int, settings: AugmentationSettings, generator: Generator) -> tuple[Tensor, Tensor]:
    """Maps from the new picture to the old: matrices (B, 2, 2), and shifts (B, 2) in shares of the side.

    Convention: position in the old picture = matrix @ position in the new + shift * side; a `scale` above 1 enlarges.
    """
    angle = settings.rotate.draw(count, generator, neutral=0.0).deg2rad()
    scale = settings.scale.draw(count, generator, neutral=1.0)
    stretch = settings.stretch.draw(count, generator, neutral=1.0).sqrt()
    shear = settings.shear.draw(count, generator, neutral=0.0)
    ones = torch.ones_like(angle)
    mirror = torch.where(torch.rand(count, generator=generator, device=angle.device) < settings.mirror.p, -ones, ones)
    rotation = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).view(-1, 2, 2)
    sheared = torch.stack((ones, shear, 0 * ones, ones), dim=1).view(-1, 2, 2)
    zoom = torch.diag_embed(torch.stack((mirror / (scale * stretch), stretch / scale), dim=1))
    shift = torch.stack([settings.shift.draw(count, generator, neutral=0.0) for _ in "xy"], dim=1)
    return rotation @ sheared @ zoom, shift


def elastic_field(count: int, side: int, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """A smooth displacement (B, 2, side, side), px: bicubic through 5 x 5 knots; and the paper's grid distortion."""
    unit = side / 256.0
    knots = torch.randn(count, 2, 5, 5, generator=generator, device=generator.device)
    knots = knots * settings.elastic.draw(count, generator, neutral=0.0)[:, None, None, None] * unit
    field = functional.interpolate(knots, (side, side), mode="bicubic", align_corners=True)
    if settings.grid_distortion.p:
        lines = torch.rand(count, 2, 6, generator=generator, device=generator.device) * 2 - 1
        lines = lines * settings.grid_distortion.draw(count, generator, neutral=0.0).abs()[:, None, None] * side / 5
        moved = functional.interpolate(lines, side, mode="linear", align_corners=True)
        field = field + torch.stack(
            (moved[:, 0, None, :].expand(-1, side, -1), moved[:, 1, :, None].expand(-1, -1, side)), dim=1
        )
    return field


def pose_field(masks: Tensor, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """A displacement (B, 2, 32, 32) in px that moves PS and FH as two rigid bodies, smooth between them.

    Frames of one patient share a pose; this makes others of them. PS turns by up to 25 degrees and moves by up to 6 %
    of the side, FH moves by up to 10 % and grows or shrinks by up to 15 %, times the effect's size. The field is the
    mean of both motions and of rest, weighted by a blurred mask of each structure where it comes to lie: each is
    moved by its own motion alone, and what is far from both stays.
    """
    count, side = len(masks), masks.shape[-1]
    strength = settings.pose.draw(count, generator, neutral=0.0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=generator.device) * 2 - 1

    near = torch.stack([(masks == code).float() for code in (1, 2)], dim=1)
    coarse = functional.adaptive_avg_pool2d(near, POSE_CELLS)
    cell = side / POSE_CELLS
    y, x = torch.meshgrid(*(_axis(masks.device, POSE_CELLS) * cell,) * 2, indexing="ij")
    mass = coarse.sum(dim=(2, 3)).clamp(min=1e-6)
    centre = torch.stack([(coarse * axis).sum(dim=(2, 3)) / mass for axis in (x, y)], dim=2)

    angle = uniform() * 0.44 * strength
    growth = uniform() * 0.15 * strength
    moves = [uniform(2) * (reach_of * side) * strength[:, None] for reach_of in (0.06, 0.10)]
    ps_x, ps_y = (x - centre[:, 0, 0, None, None]), (y - centre[:, 0, 1, None, None])
    fh_x, fh_y = (x - centre[:, 1, 0, None, None]), (y - centre[:, 1, 1, None, None])
    turn_cos, turn_sin = (angle.cos() - 1)[:, None, None], angle.sin()[:, None, None]
    ps = torch.stack((turn_cos * ps_x - turn_sin * ps_y, turn_sin * ps_x + turn_cos * ps_y), dim=1)
    fh = growth[:, None, None, None] * torch.stack((fh_x, fh_y), dim=1)
    motions = [motion + move_by[:, :, None, None] for motion, move_by in zip((ps, fh), moves, strict=True)]

    # A motion counts where its structure comes to lie: counted where it lay, its leading edge would be squeezed.
    lies = torch.cat(
        [
            sample(coarse[:, index : index + 1], (torch.stack((x, y)) + motion) / cell)
            for index, motion in enumerate(motions)
        ],
        dim=1,
    )
    reach = functional.pad(lies, (9,) * 4)
    for _ in range(3):
        reach = functional.avg_pool2d(reach, 7, stride=1)
    reach = reach + 20.0 * lies
    share = reach / (reach.sum(dim=1, keepdim=True) + POSE_STILL)
    return share[:, :1] * motions[0] + share[:, 1:] * motions[1]


def narrowed_sector(count: int, side: int, settings: AugmentationSettings, generator: Generator) -> Tensor:
    """What a narrower fan would still show: (B, 1, side, side), 1 inside, 0 outside."""
    width = settings.crop.draw(count, generator, neutral=math.inf)[:, None, None]
    y, x = torch.meshgrid(*(_axis(width.device, side) / side,) * 2, indexing="ij")
    apex_y = -0.5 - 0.3
    inside = (x / (y - apex_y)).abs() <= width * 0.5 / 0.9
    return inside[:, None].float()


def with_certain_planes(moved: Batch, *, before: Tensor, area_factor: Tensor, settings: AugmentationSettings) -> Batch:
    """Makes standard planes that lost a structure over the edge negatives, and withdraws the label of doubtful ones."""
    shares = [
        (moved.masks == code).sum(dim=(1, 2)) / (area_factor * (before == code).sum(dim=(1, 2))).clamp(min=1.0)
        for code in (1, 2)
    ]
    standard = (moved.planes > 0.5) & (before > 0).any(dim=2).any(dim=1)
    lost = standard & (torch.stack(shares).amin(dim=0) < settings.lost_below)
    doubtful = standard & ~lost & ((shares[0] < settings.kept_ps) | (shares[1] < settings.kept_fh))
    return replace(
        moved,
        planes=torch.where(lost, torch.zeros_like(moved.planes), moved.planes),
        plane_weights=torch.where(doubtful, torch.zeros_like(moved.planes), moved.plane_weights),
    )


def sample(values: Tensor, at: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Values (B, C, h, w) of a picture at positions (B, 2, H, W) in px of a square of side W; 0 outside."""
    grid = (at / (at.shape[-1] / 2)).permute(0, 2, 3, 1)
    return functional.grid_sample(values, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _axis(device: torch.device, side: int) -> Tensor:
    return torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
