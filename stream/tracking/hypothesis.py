"""A track hypothesis: readings that agree with each other, and their weight.

A track holds two at most: the one it shows, and one that contradicts it and may take its place. Both are fed the same
way, so that evidence is weighed alike at a start, in a vote, and in what is held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.tracking.kalman import initial_belief, innovation, predict, student_weight, update

if TYPE_CHECKING:
    from stream.tracking.kalman import Belief, FilterNoise

EDGE_S = 0.2
"""Readings so near to a refusal are doubted: the view is sliding off the plane, or not yet back on it."""
EDGE_WEIGHT = 0.05
"""What the reading next to a refusal is worth. It rises in a straight line to 1 at `EDGE_S` from that reading."""
MEMORY_S = 1.0
"""So long it is remembered what each reading was worth."""
LEAST_WEIGHT = 0.02
"""A reading worth less is not taken in."""
OUTLIER_WEIGHT = 0.25
"""A measurement that counts for less than this share of a clean one, by its distance alone, is an outlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One frame's value.

    Attributes:
        t_s: when its frame was taken.
        value: in the unit of the track.
        quality: 0 to 1.
        edge: what its nearness to a refusal leaves of its worth, see `edge_weight`.
    """

    t_s: float
    value: float
    quality: float
    edge: float = 1.0

    @property
    def weight(self) -> float:
        """What it is worth against a clean reading far from any refusal, 0 to 1."""
        return self.quality * self.edge


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Hypothesis:
    """Belief after readings that agree with each other. Immutable: each reading makes a new one.

    Attributes:
        belief: after the last of them.
        first_s: time of the first of them.
        last_s: time of the last of them.
        evidence: sum of their weights.
        voters: times and weights of those of the last `MEMORY_S` seconds.
        recent: those within `EDGE_S` of the last one, each with the hypothesis before it: what a refusal casts
            doubt on.
    """

    belief: Belief
    first_s: float
    last_s: float
    evidence: float
    voters: tuple[tuple[float, float], ...]
    recent: tuple[tuple[Reading, Hypothesis | None], ...] = ()

    @classmethod
    def begin(cls, reading: Reading, *, noise: FilterNoise) -> Hypothesis:
        """The hypothesis of one reading beside which nothing is known."""
        weight = max(reading.weight, LEAST_WEIGHT)
        return cls(
            belief=initial_belief(reading.value, noise=noise, quality=weight),
            first_s=reading.t_s,
            last_s=reading.t_s,
            evidence=reading.weight,
            voters=((reading.t_s, reading.weight),),
            recent=((reading, None),),
        )

    def age_s(self, t_s: float) -> float:
        """Time since the last reading that agreed."""
        return t_s - self.last_s

    def with_reading(self, reading: Reading, *, noise: FilterNoise) -> Hypothesis | None:
        """The hypothesis after one more reading; None where the reading contradicts it.

        Whether it does is judged as if the reading were clean: a bad one far off is no better for being bad.
        """
        prior = predict(self.belief, self.age_s(reading.t_s), noise=noise)
        y, HPH = innovation(prior, reading.value)
        as_clean = student_weight(y, predicted_variance=HPH, white_variance=noise.white_sd**2, dof=noise.dof)
        if as_clean < OUTLIER_WEIGHT:
            return None
        if reading.weight < LEAST_WEIGHT:
            return self
        t_s = reading.t_s
        return Hypothesis(
            belief=update(prior, reading.value, noise=noise, quality=reading.weight).belief,
            first_s=self.first_s,
            last_s=t_s,
            evidence=self.evidence + reading.weight,
            voters=(*(vote for vote in self.voters if t_s - vote[0] <= MEMORY_S), (t_s, reading.weight)),
            recent=(
                *(one for one in self.recent if t_s - one[0].t_s <= EDGE_S),
                (reading, replace(self, recent=())),
            ),
        )

    def normalised_innovation_squared(self, reading: Reading, *, noise: FilterNoise) -> float:
        """The normalised innovation squared of a reading: 1 on average where the noise is as assumed."""
        prior = predict(self.belief, self.age_s(reading.t_s), noise=noise)
        y, HPH = innovation(prior, reading.value)
        return y * y / (HPH + noise.white_sd**2 / max(reading.weight, LEAST_WEIGHT))

    def total_weight(self, t_s: float, *, within_s: float) -> float:
        """What the readings of the `within_s` seconds (up to `MEMORY_S`) before `t_s` are worth together."""
        return math.fsum(weight for at_s, weight in self.voters if 0.0 <= t_s - at_s <= within_s)

    def after_refusal(self, *, noise: FilterNoise) -> Hypothesis | None:
        """The hypothesis once a refusal has followed its last reading: those just before it weigh less.

        None where nothing is left of it.
        """
        if not self.recent:
            return self
        last_s = self.recent[-1][0].t_s
        found = self.recent[0][1]
        for reading, _ in self.recent:
            doubted = replace(reading, edge=max(EDGE_WEIGHT, reading.edge * edge_weight(last_s - reading.t_s)))
            if found is None:
                found = Hypothesis.begin(doubted, noise=noise)
            else:
                found = found.with_reading(doubted, noise=noise) or found
        return replace(found, recent=()) if found else None


def edge_weight(from_edge_s: float) -> float:
    """What a reading is worth by its time from the one next to a refusal.

    Convention: seconds, 0 or more; `EDGE_WEIGHT` at 0, 1 from `EDGE_S` on, a straight line between. Worked value:
    0.1 s: 0.525.
    """
    return EDGE_WEIGHT + (1.0 - EDGE_WEIGHT) * min(from_edge_s / EDGE_S, 1.0)
