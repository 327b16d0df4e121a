"""Clustered bootstrap: confidence intervals over groups, not frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REPLICATES = 2000
SEED = 20240905
_MOST_DRAWN = 1_000_000


def mean_interval(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float] | None:
    """The 95 % interval of a mean over frames, by the clustered bootstrap.

    Convention: the unit of the values; as many groups are drawn as there are, with replacement, each with all its
    frames, and the 2.5th and 97.5th percentiles of the means are taken. The same values give the same interval.
    None for fewer than two groups. It is too narrow for fewer than about 20 of them. Degenerate: groups with equal
    means give an interval of no width.

    Args:
        values: (N,), one per frame.
        groups: the N frames' videos or patients.
    """
    names, group = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    if len(names) < 2:
        return None
    total = np.bincount(group, weights=values)
    count = np.bincount(group)
    rng = np.random.default_rng(SEED)
    # A few replicates at a time: all of them at once would not fit in memory for thousands of groups.
    at_once = max(1, _MOST_DRAWN // len(names))
    means = []
    for first in range(0, REPLICATES, at_once):
        drawn = rng.integers(0, len(names), (min(at_once, REPLICATES - first), len(names)))
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
