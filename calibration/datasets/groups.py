"""Groups by content: frames that are alike belong together, whatever their names, folders and tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
        np.argwhere(first[start : start + _BLOCK] @ second.T >= ALIKE) + (start, 0)
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
        For each frame the known group of the first frame of its group.
    """
    shown = thumbnails(images)
    if len(shown) != len(known):
        raise ValueError(f"{len(shown)} images, but {len(known)} known groups")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(known))}
    frame_group = np.array([numbers[group] for group in known], np.intp)
    pairs = frame_group[alike_pairs(shown, shown)] if len(shown) else np.zeros((0, 2), np.intp)
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(numbers),) * 2)
    _, component = connected_components(links, directed=False)
    first: dict[int, str] = {}
    for group, number in numbers.items():
        first.setdefault(int(component[number]), group)
    return [first[int(component[number])] for number in frame_group]
