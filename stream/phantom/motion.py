"""Motion components of the phantom: drift, pushes, lost planes; pure functions of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Wander:
    """A smooth random function of time: a sum of sines with frequencies in a band; mean 0, deviation 1."""

    frequency_hz: tuple[float, ...]
    phase_rad: tuple[float, ...]

    def __call__(self, t_s: float) -> float:
        waves = (
            math.sin(2 * math.pi * f * t_s + phase) for f, phase in zip(self.frequency_hz, self.phase_rad, strict=True)
        )
        return math.sqrt(2 / len(self.frequency_hz)) * sum(waves)


def draw_wander(rng: np.random.Generator, low_hz: float, high_hz: float, *, waves: int = 5) -> Wander:
    """A random function whose frequencies lie between `low_hz` and `high_hz`."""
    return Wander(
        tuple(float(f) for f in rng.uniform(low_hz, high_hz, waves)),
        tuple(float(p) for p in rng.uniform(0, 2 * math.pi, waves)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPush:
    """One push: a logistic rise, a plateau, a recoil; the part `kept` at first goes back in 8 s more."""

    start_s: float
    rise_s: float
    plateau_s: float
    fall_s: float
    height_deg: float
    kept: float

    def __call__(self, t_s: float) -> float:
        rise = logistic((t_s - self.start_s) / self.rise_s)
        since_s = t_s - self.start_s - self.rise_s - self.plateau_s
        fall = (1 - self.kept) * logistic(since_s / self.fall_s) + self.kept * logistic(since_s / 8)
        return self.height_deg * (rise - fall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion:
    """A period in which the plane is lost: beside the symphysis, or with the probe lifted off."""

    start_s: float
    end_s: float
    lifts_off: bool

    def depth(self, t_s: float) -> float:
        """0 in the standard plane, 1 fully away, with fades of 0.4 s."""
        return ramp((t_s - self.start_s) / 0.4) * ramp((self.end_s - t_s) / 0.4)


def ramp(x: float) -> float:
    """Rises smoothly from 0 at x = 0 to 1 at x = 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def logistic(x: float) -> float:
    """Rises from about 0 at x = 0 to about 1 at x = 1."""
    return 1 / (1 + math.exp(min(max(-9 * (x - 0.5), -50.0), 50.0)))
