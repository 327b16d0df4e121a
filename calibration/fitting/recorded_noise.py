"""Fits the filter's constants to readings of recordings at rest, by the likelihood of each given those before it.

While the head moves, an error that lasts cannot be told from motion. Between pushes it hardly moves: what changes there
is error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from calibration.errors import DataSetError
from stream.tracking.hypothesis import LEAST_WEIGHT
from stream.tracking.kalman import FilterNoise, initial_belief, innovation, predict, update
from stream.tracking.tracker import AOP_NOISE_DEG, FORGET_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Series = NDArray[np.float64]

LEAST_READINGS = 300
"""Fewer say too little: 10 seconds at 30 Hz."""
PIECE, MOST_PIECES = 400, 10
"""Readings are taken in pieces of so many that follow each other, and so many pieces at most, evenly over all."""
STEPS = (2.0, 1.41, 1.19)
"""Factors by which constants are tried up and down, one round after another."""
MOVES: tuple[Mapping[str, float], ...] = (
    {"white_sd": 1.0},
    {"correlated_sd": 1.0},
    {"correlation_s": 1.0},
    {"correlated_sd": 1.0, "correlation_s": 2.0},
)
"""What is changed together, by which power of the factor; the last leaves the error's change in a moment as it is."""
LEAST_GAIN = 1e-4
"""Of log likelihood for each reading: a move that brings less is none."""
FARTHEST = 8.0
"""A constant moves by this factor at most from the default."""
REST_VELOCITY_SD = 0.5
"""Velocity of AoP at rest, degrees per second: breathing of 0.4 degrees at 0.3 Hz. More would take slow error in."""
OUTLIER_SHARE, OUTLIER_SD_DEG = 0.03, 25.0
"""Readings that are off altogether, so that they are not taken for noise."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReadingPiece:
    """Readings that follow each other within a segment: times s, AoP degrees, qualities 0 to 1; (n,) each."""

    t_s: Series
    value: Series
    quality: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFit:
    """What was found.

    Attributes:
        noise: the constants.
        readings: that they are fitted to.
        gain: of the mean log likelihood of a reading over that by the defaults.
    """

    noise: FilterNoise
    readings: int
    gain: float


def pieces_of(t_s: Series, value: Series, quality: Series, segment: NDArray[np.int64]) -> list[ReadingPiece]:
    """Cuts the frames of a recording (n,) into pieces without a gap longer than `FORGET_S`; NaN is no reading."""
    read = np.flatnonzero(np.isfinite(value) & (np.nan_to_num(quality) >= LEAST_WEIGHT))
    breaks = np.flatnonzero((np.diff(t_s[read]) > FORGET_S) | (np.diff(segment[read]) != 0)) + 1
    found = []
    for run in np.split(read, breaks):
        for start in range(0, len(run), PIECE):
            rows = run[start : start + PIECE]
            if len(rows) > 1:
                found.append(ReadingPiece(t_s=t_s[rows], value=value[rows], quality=quality[rows]))
    return found


def fit_noise(pieces: Sequence[ReadingPiece], *, start: FilterNoise = AOP_NOISE_DEG) -> NoiseFit:
    """Finds the constants under which the readings are likeliest, one after the other, in ever smaller steps.

    Args:
        pieces: of recordings at rest.
        start: the constants to begin with; its velocity stays, for a recording at rest says nothing of pushes.

    Raises:
        DataSetError: there are too few readings.
    """
    readings = sum(len(piece.t_s) for piece in pieces)
    if readings < LEAST_READINGS:
        raise DataSetError(
            f"{readings} readings at rest are too few to fit the filter's constants to; give recordings with at least"
            f" {LEAST_READINGS} measured frames outside of pushes"
        )
    chosen = [pieces[k] for k in np.unique(np.linspace(0, len(pieces) - 1, MOST_PIECES).astype(int))]
    count = sum(len(piece.t_s) for piece in chosen)
    resting = replace(start, velocity_sd=REST_VELOCITY_SD)
    best, before = resting, log_likelihood(chosen, resting)
    highest = before
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for move, factor in product(MOVES, (step, 1 / step)):
                tried = _moved(best, move, factor, start)
                likelihood = log_likelihood(chosen, tried) if tried != best else -math.inf
                if likelihood > highest + LEAST_GAIN * count:
                    best, highest, moved = tried, likelihood, True
    best = replace(best, velocity_sd=start.velocity_sd)
    return NoiseFit(noise=best, readings=count, gain=(highest - before) / count)


def log_likelihood(pieces: Sequence[ReadingPiece], noise: FilterNoise) -> float:
    """Sum of the log densities of all readings but the first of each piece, by the filter's own prediction.

    Convention: a normal density around the prediction, with `OUTLIER_SHARE` of a wide one.
    """
    total = 0.0
    for piece in pieces:
        rows = zip(piece.t_s.tolist(), piece.value.tolist(), piece.quality.tolist(), strict=True)
        t_before, value, quality = next(rows)
        belief = initial_belief(value, noise=noise, quality=quality)
        for t_s, value, quality in rows:
            belief = predict(belief, t_s - t_before, noise=noise)
            y, HPH = innovation(belief, value)
            S = HPH + noise.white_sd**2 / quality
            total += math.log((1 - OUTLIER_SHARE) * _density(y, S) + OUTLIER_SHARE * _density(y, S + OUTLIER_SD_DEG**2))
            belief, t_before = update(belief, value, noise=noise, quality=quality).belief, t_s
    return total


def _density(y: float, variance: float) -> float:
    return math.exp(-0.5 * y * y / variance) / math.sqrt(2 * math.pi * variance)


def _moved(noise: FilterNoise, move: Mapping[str, float], factor: float, start: FilterNoise) -> FilterNoise:
    """The noise with some constants changed, each within `FARTHEST` of the start's."""
    changed = {}
    for name, power in move.items():
        usual = getattr(start, name)
        value = getattr(noise, name) * factor**power
        changed[name] = float(min(max(value, usual / FARTHEST), usual * FARTHEST))
    return replace(noise, **changed)
