"""Transfers a decision threshold from one model to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def matched_threshold(
    reference: NDArray[np.float64], candidate: NDArray[np.float64], threshold: float
) -> tuple[float, int]:
    """The threshold at which a candidate's verdicts are most nearly the reference's.

    Convention: verdicts are `probability >= threshold`. Of all thresholds with the fewest changed verdicts, `threshold`
    itself where it is one, else the one nearest to it that lies midway between two candidates' values. Worked value:
    reference .2 .6 .9 at .5, candidate .1 .4 .8: at .25 no verdict changes, at .5 one does.

    Args:
        reference: (N,) probabilities of the model the threshold was made for.
        candidate: (N,) of the other model, on the same frames.
        threshold: in [0, 1].

    Returns:
        The threshold, in [0, 1], and how many verdicts change under it.
    """
    wanted = reference >= threshold
    values = np.unique(candidate)
    middles = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]]) if len(values) else np.array([])
    choices = np.concatenate([[threshold], middles])
    changed = ((candidate[None, :] >= choices[:, None]) != wanted[None, :]).sum(axis=1)
    best = np.flatnonzero(changed == changed.min())
    chosen = best[np.abs(choices[best] - threshold).argmin()]
    return float(choices[chosen]), int(changed[chosen])
