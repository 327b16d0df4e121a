"""Groups by content: frames that are alike belong together, whatever their names, folders and tables say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.datasets.listing import shortened
from calibration.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

THUMBNAIL_PX = 16
ALIKE = 0.9
"""Correlation of thumbnails from which two frames count as alike.

Held against the near-duplicate groups that accompany 979 PSFHS frames: three quarters of the pairs in one group are
alike, and of the pairs in two groups 2 in 1000. Frames of one video of JNU-IFM, seen side by side, go down to 0.86.
"""
_BLOCK = 2048


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture (H, W) averaged down to 16 x 16, freed of its mean and scale: (256,), length 1, or all 0 if flat."""
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > 0 else np.zeros_like(small)


def thumbnails(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The thumbnails of pictures of any sizes, (n, 256)."""
    rows = [thumbnail(image) for image in images]
    return np.stack(rows) if rows else np.zeros((0, THUMBNAIL_PX**2), np.float32)


def alike_pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which rows of two sets of thumbnails are alike: (k, 2) indices into the first and the second."""
    found = [
        np.argwhere(first[start : start + _BLOCK] @ second.T >= ALIKE) + np.array((start, 0))
        for start in range(0, len(first), _BLOCK)
    ]
    return np.concatenate(found) if found else np.zeros((0, 2), np.intp)


def content_groups(images: Iterable[NDArray[np.uint8]], known: Sequence[str]) -> list[str]:
    """Groups frames that are alike, directly or by way of others, on top of the groups that are known.

    Convention: two frames belong together where their thumbnails correlate by at least `ALIKE` or their known groups
    are the same; groups are what chains of such pairs hold together. A picture of one grey level is like no other.
    Worked value: a picture, the same at half gain, and its negative with known groups a, b, c are a, a, c.

    Args:
        images: (H, W) uint8 each, of any sizes.
        known: the group of each as far as its data set says; every frame its own name where nothing is known.

    Returns:
        For each frame the known group that comes first in its chain.
    """
    shown = thumbnails(images)
    if len(shown) != len(known):
        raise ValueError(f"{len(shown)} images, but {len(known)} known groups")
    names = list(dict.fromkeys(known))
    order = {group: number for number, group in enumerate(names)}
    numbers = np.array([order[group] for group in known], np.intp)
    links = np.unique(numbers[alike_pairs(shown, shown)], axis=0) if names else np.zeros((0, 2), np.intp)
    first = list(range(len(names)))  # of each group, an earlier one of its chain, or itself

    def root(group: int) -> int:
        while first[group] != group:
            first[group] = group = first[first[group]]
        return group

    for one, other in links[links[:, 0] < links[:, 1]].tolist():
        early, late = sorted((root(one), root(other)))
        first[late] = early
    return [names[root(number)] for number in numbers.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What frames look like, for a check that others do not look like them.

    Attributes:
        names: of the frames, with their data set.
        thumbnails: (n, 256) of them.
    """

    names: Sequence[str]
    thumbnails: NDArray[np.float32]


def check_unlike(train: Seen, validation: Seen) -> None:
    """Checks by content that no frame is judged by that was learned from, nor one that is nearly the same.

    Raises:
        DataSetError: some frames of the two are alike, whatever their names; names them.
    """
    pairs = alike_pairs(validation.thumbnails, train.thumbnails)
    if len(pairs):
        shown = [f"{validation.names[judged]} and {train.names[learned]}" for judged, learned in pairs]
        frames = len(set(pairs[:, 0].tolist()))
        raise DataSetError(
            f"{frames} frames of validation are copies or near-duplicates of training frames: {shortened(shown)};"
            " hold out by content (folds = 5), or leave them out (exclude)"
        )
