"""Settings of augmentation: probability and range of each effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch

from calibration.learning.settings.ranges import Range, Share, Sizes

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, slots=True)
class Effect:
    """A change that a frame undergoes with probability `p`, of a size drawn evenly from `low` to `high`."""

    p: Share = 0.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"p is {self.p}, and must be 0 to 1")
        if not self.low <= self.high:
            raise ValueError(f"low is {self.low}, and must not exceed high, {self.high}")

    def draw(self, count: int, generator: Generator, *, neutral: float) -> Tensor:
        """Sizes (count,) float32 on the generator's device, `neutral` where a frame is left alone."""
        device = generator.device
        size = self.low + (self.high - self.low) * torch.rand(count, generator=generator, device=device)
        return torch.where(torch.rand(count, generator=generator, device=device) < self.p, size, neutral)


NEVER = Effect()

Factor = Annotated[Effect, Sizes(Range(0, 20, above=True))]
Part = Annotated[Effect, Sizes(Range(0, 1))]
Chance = Annotated[Effect, Sizes(Range(0, 0))]
Rest = Annotated[Effect, Sizes(Range(0, 1, above=True))]
Signed = Annotated[Effect, Sizes(Range(-1, 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """Each field is one effect; what its size means stands beside it. What is not named never happens."""

    # Geometry: image and mask alike, one resampling for all of them together.
    mirror: Chance = NEVER  # left to right; no size
    rotate: Annotated[Effect, Sizes(Range(-360, 360))] = NEVER  # degrees
    scale: Factor = NEVER  # factor of size
    stretch: Factor = NEVER  # factor of width over height: scanner frames are squeezed
    shear: Annotated[Effect, Sizes(Range(-5, 5))] = NEVER  # horizontal shift per vertical pixel
    shift: Signed = NEVER  # share of the side, drawn for x and y apart
    elastic: Annotated[Effect, Sizes(Range(0, 100))] = NEVER  # px at 256: standard deviation of a smooth displacement
    grid_distortion: Signed = NEVER  # share of a cell by which the lines of a 5 x 5 grid move
    pose: Part = NEVER  # 0 to 1: PS and FH move against each other, tissue between them follows smoothly
    crop: Rest = NEVER  # share of the width that a narrower sector leaves, the rest black
    # Appearance: the image only.
    attenuation: Annotated[Effect, Sizes(Range(-10, 10))] = NEVER  # exponent over the depth; negative darkens downwards
    shadow: Part = NEVER  # darkness of a beam from the probe, 0 to 1
    haze: Part = NEVER  # light added in the near field, 0 to 1
    gain: Factor = NEVER  # factor
    brightness: Factor = NEVER  # factor (the paper's colour jitter on grey frames)
    contrast: Annotated[Effect, Sizes(Range(0, 20))] = NEVER  # factor about the mean grey
    gamma: Factor = NEVER  # exponent
    tone: Part = NEVER  # 0 to 1: how far a random rising tone curve departs from a straight one
    speckle: Annotated[Effect, Sizes(Range(0, 10))] = NEVER  # standard deviation of multiplicative correlated noise
    resolution: Rest = NEVER  # factor of resolution kept, one for all frames of a batch that are hit
    blur: Annotated[Effect, Sizes(Range(0, 100))] = NEVER  # px at 256: standard deviation
    sharpen: Annotated[Effect, Sizes(Range(0, 100))] = NEVER  # weight of what a blur takes away
    noise: Part = NEVER  # standard deviation of additive noise, of full scale
    marks: Part = NEVER  # opacity of burnt-in letters, calipers and ticks
    compression: Annotated[Effect, Sizes(Range(1, 100))] = NEVER  # JPEG quality, 1 to 100
    # Negatives made of standard planes; the size has no meaning.
    cut_away: Chance = NEVER  # PS, FH or both are painted out; the plane label becomes 0
    decoy: Chance = NEVER  # a patch beside the structures is painted out; the labels stay
    upside_down: Chance = NEVER  # texture of a standard plane, but none that a probe could see
    no_signal: Chance = NEVER  # of a frame without structures: black, flat grey, noise, or bars

    tissue_fill: Share = 0.0
    """Share of what is painted out, decoys too, that is filled with tissue of this or another frame instead."""
    lost_below: Share = 0.05
    """A standard plane that keeps less than this share of PS or FH in the picture is none any more."""
    kept_ps: Share = 0.7
    kept_fh: Share = 0.45
    """Below these shares its plane label is withdrawn: neither answer would be right."""
