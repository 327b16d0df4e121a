"""Grouped splits: folds and hold-outs that never tear a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.data.listing import shorten_names
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def grouped_folds(
    groups: Sequence[str], folds: int, *, seed: int, strata: Sequence[str] | None = None
) -> tuple[frozenset[int], ...]:
    """Shares frames out over folds, each group into one fold, each fold with its share of every stratum.

    Convention: groups go from the largest to the smallest, those of one size in an order drawn by `seed`, each
    into the fold where it makes the sum over strata of (frames / frames of the stratum)^2 least. Without strata that
    is the fold that is smallest so far; then no fold is empty, and the sizes of two folds differ by no more than
    the largest group. Worked value: groups a a a b b c in 2 folds are {0, 1, 2}, {3, 4, 5}.

    Args:
        groups: of each frame.
        folds: how many, at least 2.
        seed: of the order among groups of one size.
        strata: of each frame, what is to be spread evenly, such as a band of AoP; None spreads frames alone.

    Returns:
        For each fold the indices into `groups`.

    Raises:
        DataSetError: there are fewer groups than folds, or fewer than two folds.
    """
    members = _members(groups, seed)
    if not 2 <= folds <= len(members):
        raise DataSetError(f"{folds} folds of {len(members)} groups: give 2 to as many folds as there are groups")
    kinds, stratum = np.unique(["" for _ in groups] if strata is None else list(strata), return_inverse=True)
    total = np.bincount(stratum, minlength=len(kinds))
    filled = np.zeros((folds, len(kinds)))
    shares: list[list[int]] = [[] for _ in range(folds)]
    for group in sorted(members, key=len, reverse=True):
        share = np.bincount(stratum[group], minlength=len(kinds)) / total
        fold = int(((filled + share) ** 2 - filled**2).sum(axis=1).argmin())
        filled[fold] += share
        shares[fold].extend(group)
    return tuple(frozenset(share) for share in shares)


def grouped_holdout(groups: Sequence[str], share: float, *, seed: int) -> frozenset[int]:
    """Draws whole groups until as near as may be to a share of the frames is held out.

    Convention: groups are gone through in an order drawn by `seed`, and each is taken that brings the number
    held out nearer to `share` of all. At least one group is held out, and one is left. Worked value: half
    of a a b b is one of {0, 1} and {2, 3}.

    Args:
        groups: of each frame.
        share: of the frames, between 0 and 1.
        seed: of the order.

    Returns:
        The indices into `groups` that are held out.

    Raises:
        DataSetError: there are fewer than two groups, or the share is not between 0 and 1.
    """
    members = _members(groups, seed)
    if len(members) < 2:
        raise DataSetError(f"{len(members)} group of frames: nothing can be held out without tearing it; add groups")
    if not 0 < share < 1:
        raise DataSetError(f"a share of {share} cannot be held out; give one between 0 and 1")
    target = share * len(groups)
    held: list[int] = []
    taken = 0
    for group in members:
        if abs(len(held) + len(group) - target) < abs(len(held) - target) and taken < len(members) - 1:
            held += group
            taken += 1
    if not held:  # every group is more than twice the share
        held = min(members, key=len)
    return frozenset(held)


def check_disjoint(train_groups: Iterable[str], val_groups: Iterable[str]) -> None:
    """Checks that no group is both learned from and judged by.

    Raises:
        DataSetError: some are, and which.
    """
    both = sorted(set(train_groups) & set(val_groups))
    if both:
        raise DataSetError(
            f"groups in training and validation alike: {shorten_names(both)}; split by group, not by frame"
        )


def _members(groups: Sequence[str], seed: int) -> list[list[int]]:
    """The indices of each group, the groups in an order drawn by the seed, whatever order they came in."""
    indices: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        indices.setdefault(group, []).append(index)
    names = sorted(indices)
    return [indices[names[place]] for place in np.random.default_rng(seed).permutation(len(names))]
