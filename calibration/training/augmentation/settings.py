"""How often and how far each kind of change goes; every number of it stands in the training's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, slots=True)
class Effect:
    """A change that a frame undergoes with probability `p`, of a size drawn evenly from `low` to `high`."""

    p: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.p <= 1.0 and self.low <= self.high):
            raise ValueError(f"p must lie in [0, 1] and low must not exceed high, got {self}")

    def draw(self, count: int, generator: Generator, *, neutral: float) -> Tensor:
        """Sizes (count,) float32 on the generator's device, `neutral` where a frame is left alone."""
        device = generator.device
        size = self.low + (self.high - self.low) * torch.rand(count, generator=generator, device=device)
        return torch.where(torch.rand(count, generator=generator, device=device) < self.p, size, neutral)


NEVER = Effect()


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """Each field is one effect; what its size means stands beside it. What is not named never happens."""

    # Geometry: image and mask alike, one resampling for all of them together.
    mirror: Effect = NEVER  # left to right; no size
    rotate: Effect = NEVER  # degrees
    scale: Effect = NEVER  # factor of size
    stretch: Effect = NEVER  # factor of width over height: scanner frames are squeezed
    shear: Effect = NEVER  # horizontal shift per vertical pixel
    shift: Effect = NEVER  # share of the side, drawn for x and y apart
    elastic: Effect = NEVER  # px at 256: standard deviation of a smooth displacement
    grid_distortion: Effect = NEVER  # share of a cell by which the lines of a 5 x 5 grid move
    pose: Effect = NEVER  # 0 to 1: PS and FH move against each other, tissue between them follows smoothly
    crop: Effect = NEVER  # share of the width that a narrower sector leaves, the rest black
    # Appearance: the image only.
    attenuation: Effect = NEVER  # exponent over the depth; negative darkens downwards
    shadow: Effect = NEVER  # darkness of a beam from the probe, 0 to 1
    haze: Effect = NEVER  # light added in the near field, 0 to 1
    gain: Effect = NEVER  # factor
    brightness: Effect = NEVER  # factor (the paper's colour jitter on grey frames)
    contrast: Effect = NEVER  # factor about the mean grey
    gamma: Effect = NEVER  # exponent
    tone: Effect = NEVER  # 0 to 1: how far a random rising tone curve departs from a straight one
    speckle: Effect = NEVER  # standard deviation of multiplicative correlated noise
    resolution: Effect = NEVER  # factor of resolution kept, one for all frames of a batch that are hit
    blur: Effect = NEVER  # px at 256: standard deviation
    sharpen: Effect = NEVER  # weight of what a blur takes away
    noise: Effect = NEVER  # standard deviation of additive noise, of full scale
    marks: Effect = NEVER  # opacity of burnt-in letters, calipers and ticks
    compression: Effect = NEVER  # JPEG quality, 1 to 100
    # Negatives made of standard planes; the size has no meaning.
    cut_away: Effect = NEVER  # PS, FH or both are painted out; the plane label becomes 0
    decoy: Effect = NEVER  # a patch beside the structures is painted out; the labels stay
    upside_down: Effect = NEVER  # texture of a standard plane, but none that a probe could see
    no_signal: Effect = NEVER  # of a frame without structures: black, flat grey, noise, or bars

    tissue_fill: float = 0.0
    """Share of what is painted out, decoys too, that is filled with tissue of this or another frame instead."""
    lost_below: float = 0.05
    """A standard plane that keeps less than this share of PS or FH in the picture is none any more."""
    kept_ps: float = 0.7
    kept_fh: float = 0.45
    """Below these shares its plane label is withdrawn: neither answer would be right."""
