"""Where an expert would put AoP: the absolute interval of a frame, fitted to out-of-fold errors."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

MIDDLE_DEG, REACH_DEG = 110.0, 40.0
"""AoP at which the interval is `half_deg` wide to either side, and the difference over which it grows by `growth`."""
MOST_SCALE = 3.0
"""The interval is at most so many times wider, and so many times narrower, than at the usual expected error."""
MOST_HALF_DEG = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteInterval:
    """The interval that holds the value which experts draw in 95 % of frames of people no network learned from.

    Repeatability says what the same scan would give again; most of the error is one that all frames of a patient share,
    which no repetition shows. Only drawn values of other people do.

    Attributes:
        half_deg: half its width at `MIDDLE_DEG` of AoP and the usual expected error, degrees.
        usual_expected_deg: that expected error (`stream.measurement.expected_error.ErrorModel.expected_deg`).
        power: of the expected error over the usual one, by which the width scales; 0 to 1.
        growth: by how much more of `half_deg` it is at `MIDDLE_DEG + REACH_DEG` and beyond; 0 to 1.
    """

    half_deg: float
    usual_expected_deg: float
    power: float
    growth: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise ValueError("a number of the absolute interval is not finite")
        if not (0 < self.half_deg <= MOST_HALF_DEG and self.usual_expected_deg > 0):
            raise ValueError(f"half_deg and usual_expected_deg are positive, got {self}")
        if not (0 <= self.power <= 1 and 0 <= self.growth <= 1):
            raise ValueError(f"power and growth lie between 0 and 1, got {self}")

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """From a model's facts (`ModelSpec.absolute`, one for each protocol).

        Raises:
            TypeError, ValueError: a key is missing or unknown, or a number is none or out of its range.
        """
        return cls(**{name: float(value) for name, value in facts.items()})

    def half_width_deg(self, aop_deg: float, expected_deg: float) -> float:
        """Half the interval's width for a reading, degrees.

        Convention: half_deg (expected / usual)^power (1 + growth u), u = (AoP - 110) / 40 within -0.5 and 1. Worked
        value: half_deg 15, power 0.5, growth 0.2: 30 for an expected error of four times the usual at AoP 110 (36 at
        150) where `MOST_SCALE` allows it.

        Args:
            aop_deg: the reading, degrees.
            expected_deg: its expected error, degrees; positive.
        """
        scale: float = (expected_deg / self.usual_expected_deg) ** self.power
        scale = min(max(scale, 1.0 / MOST_SCALE), MOST_SCALE)
        return self.half_deg * scale * (1.0 + self.growth * position(aop_deg))


def position(aop_deg: float) -> float:
    """Where an AoP lies between early and late, -0.5 to 1: the distance from `MIDDLE_DEG` over `REACH_DEG`."""
    return min(max((aop_deg - MIDDLE_DEG) / REACH_DEG, -0.5), 1.0)
