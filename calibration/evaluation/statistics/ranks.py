"""Rank statistics: Spearman correlation, area under the ROC curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of (N,) values.

    Convention: 1 for the smallest; equal values share the mean of the ranks they take up. Worked value:
    [5, 2, 5] gives [2.5, 1, 2.5].
    """
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray[np.float64] = (last - (count - 1) / 2.0)[group]
    return ranks


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Rank correlation of two (N,) series.

    Convention: [-1, 1], Pearson's correlation of the average ranks; None for fewer than three pairs or where one
    series is constant. Worked value: [1, 2, 3, 4] and [1, 3, 2, 4] give 0.8.
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(average_ranks(first), average_ranks(second))[0, 1])


def area_under_roc(score: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """How often a positive scores higher than a negative.

    Convention: [0, 1], a tie counts half; 0.5 is chance. None where one class is missing. Worked value: positives
    [3, 1] against negatives [2, 1] give (1 + 1 + 0 + 0.5) / 4 = 0.625. Source: Mann and Whitney's U over the
    number of pairs.
    """
    positives = int(np.count_nonzero(is_positive))
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return None
    rank_sum = float(average_ranks(score)[is_positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
