"""Allowed ranges of settings, annotated on their types: `Annotated[float, Range(0, 1)]`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`, both allowed unless said otherwise.

    Attributes:
        least, most: infinite where there is no end.
        above: `least` itself is not allowed.
        below: `most` itself is not allowed.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies in it; NaN lies nowhere."""
        is_over = value > self.least if self.above else value >= self.least
        is_under = value < self.most if self.below else value <= self.most
        return is_over and is_under

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:g}"
        if self.most == math.inf:
            return f"above {self.least:g}" if self.above else f"{self.least:g} or more"
        start, end = "above " if self.above else "", "below " if self.below else ""
        return f"{start}{self.least:g} to {end}{self.most:,g}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes that an effect may have (`Effect.low`, `Effect.high`) where it happens at all."""

    range: Range


Share = Annotated[float, Range(0, 1)]
Amount = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Count = Annotated[int, Range(0, 10**9)]
PositiveCount = Annotated[int, Range(0, 10**9, above=True)]
Text = Annotated[str, Range(1)]
"""With at least one letter."""
