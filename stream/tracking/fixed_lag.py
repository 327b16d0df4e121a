"""The fixed-lag smoother: the value of a moment by what was measured up to a little after it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stream.tracking.kalman import Belief, transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.tracking.kalman import FilterNoise
    from stream.tracking.tracker import Estimate


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrackState:
    """What a track believed at a frame, that frame taken in.

    Attributes:
        t_s: of the frame.
        belief: of the value then.
        noise: that the track assumed.
        begun_s: when what it followed then began; another time is another thing followed.
    """

    t_s: float
    belief: Belief
    noise: FilterNoise
    begun_s: float


def smooth_first(states: Sequence[TrackState | None]) -> Belief | None:
    """The belief of the first of these frames, by all of them; None where nothing was followed then.

    The states go as far as the same thing was followed. Rauch-Tung-Striebel recursion backwards:
    G = P F' (F P F' + Q)^-1, x += G (x_next - F x), P += G (P_next - F P F' - Q) G'.
    """
    chain: list[TrackState] = []
    for state in states:
        if state is None or (chain and state.begun_s != chain[0].begun_s):
            break
        chain.append(state)
    if not chain:
        return None
    found = chain[-1].belief
    for state, after in zip(chain[-2::-1], chain[:0:-1], strict=True):
        x, P = state.belief.x, state.belief.P
        F, Q = transition(after.noise, after.t_s - state.t_s)
        predicted = F @ P @ F.T + Q
        G = np.linalg.lstsq(predicted, F @ P, rcond=1e-12)[0].T
        found = Belief(x + G @ (found.x - F @ x), P + G @ (found.P - predicted) @ G.T)
    return found


def smoothed_estimate(estimate: Estimate | None, states: Sequence[TrackState | None]) -> Estimate | None:
    """The estimate of a frame with value, deviation and rate by its states, its own first; None stays None."""
    belief = smooth_first(states)
    if estimate is None or belief is None:
        return estimate
    std = min(math.sqrt(max(float(belief.P[0, 0]), 0.0)), estimate.std)
    return replace(estimate, value=float(belief.x[0]), std=std, rate_per_s=float(belief.x[1]))
