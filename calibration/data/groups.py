"""Groups frames by content: near duplicates belong together whatever their names say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.data.listing import shorten_names
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
COPY = 0.98
"""The same where one frame is first mirrored, freed of black borders, or cut at its edges: a copy, made anew so."""
TRIMS = (0.05, 0.1)
"""Shares of the side that are cut off at every edge."""
MOST_FOR_COPIES = 8000
"""Frames up to which mirrored, padded and cut copies are looked for within one set: the pairs grow with the square."""
_BLACK = 12
_BLOCK = 512


def frame_signatures(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (4, 256) of a picture (H, W): whole, without black borders, and without each of `TRIMS` around it."""
    height, width = image.shape
    parts = [image, _without_borders(image)]
    for share in TRIMS:
        top, left = int(height * share), int(width * share)
        parts.append(image[top : height - top, left : width - left])
    return np.stack([thumbnail(part) for part in parts])


def all_signatures(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Signatures of pictures of any sizes, (n, 4, 256)."""
    rows = [frame_signatures(image) for image in images]
    return np.stack(rows) if rows else np.zeros((0, 2 + len(TRIMS), THUMBNAIL_PX**2), np.float32)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture (H, W) averaged down to 16 x 16, freed of its mean and scale: (256,), length 1, or all 0 if flat."""
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = cv2.resize(np.ascontiguousarray(image), side, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > 0 else np.zeros_like(small)


def thumbnails(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The thumbnails of whole pictures of any sizes, (n, 256)."""
    rows = [thumbnail(image) for image in images]
    return np.stack(rows) if rows else np.zeros((0, THUMBNAIL_PX**2), np.float32)


def _without_borders(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture without rows and columns at its edges that are black but for a few pixels; itself if all are."""
    lit = image > _BLACK
    rows, columns = (np.flatnonzero(lit.mean(axis=axis) > 0.02) for axis in (1, 0))
    if min(len(rows), len(columns)) < THUMBNAIL_PX // 2:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def alike_pairs(first: NDArray[np.float32], second: NDArray[np.float32], *, copies: bool = True) -> NDArray[np.intp]:
    """Pairs of frames of two sets of signatures that are alike: (k, 2) indices into the first and the second.

    Convention: alike are frames whose whole thumbnails correlate by at least `ALIKE`, or any of whose signatures do by
    at least `COPY`, the second's mirrored or not; without `copies` the whole thumbnails alone count. Worked value: a
    frame and the same with black bars beside it are alike.
    """
    mirrored = second.reshape(*second.shape[:2], THUMBNAIL_PX, THUMBNAIL_PX)[..., ::-1].reshape(second.shape)
    found = [np.zeros((0, 2), np.intp)]
    for start in range(0, len(first), _BLOCK):
        block = first[start : start + _BLOCK]
        alike = block[:, 0] @ second[:, 0].T >= ALIKE
        for signatures in (second, mirrored) if copies else ():
            for own in range(signatures.shape[1]):
                for other in range(signatures.shape[1]):
                    alike |= block[:, own] @ signatures[:, other].T >= COPY
        found.append(np.argwhere(alike) + np.array((start, 0)))
    return np.concatenate(found)


def content_groups(images: Iterable[NDArray[np.uint8]], known: Sequence[str]) -> list[str]:
    """Groups frames that are alike, directly or by way of others, on top of the groups that are known.

    Convention: two frames belong together where they are alike (`alike_pairs`) or their known groups are the same;
    groups are what chains of such pairs hold together. A picture of one grey level is like no other.
    Worked value: a picture, the same at half gain, and its negative with known groups a, b, c are a, a, c.

    Args:
        images: (H, W) uint8 each, of any sizes.
        known: the group of each as far as its data set says; every frame its own name where nothing is known.

    Returns:
        For each frame the known group that comes first in its chain.
    """
    shown = all_signatures(images)
    if len(shown) != len(known):
        raise ValueError(f"{len(shown)} images, but {len(known)} known groups")
    names = list(dict.fromkeys(known))
    order = {group: number for number, group in enumerate(names)}
    numbers = np.array([order[group] for group in known], np.intp)
    links = (
        np.unique(numbers[alike_pairs(shown, shown, copies=len(shown) <= MOST_FOR_COPIES)], axis=0)
        if names
        else np.zeros((0, 2), np.intp)
    )
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
class KnownFrames:
    """Signatures of frames, for a check that no others are nearly the same.

    Attributes:
        names: of the frames, with their data set.
        signatures: (n, 4, 256) of them.
    """

    names: Sequence[str]
    signatures: NDArray[np.float32]

    @property
    def thumbnails(self) -> NDArray[np.float32]:
        """Of the whole frames, (n, 256)."""
        return self.signatures[:, 0]


def check_no_near_copies(train: KnownFrames, validation: KnownFrames) -> None:
    """Checks by content that no frame is judged by that was learned from, nor one that is nearly the same.

    Raises:
        DataSetError: some frames of the two are alike, whatever their names; names them.
    """
    pairs = alike_pairs(validation.signatures, train.signatures)
    if len(pairs):
        shown = [f"{validation.names[judged]} and {train.names[learned]}" for judged, learned in pairs]
        frames = len(set(pairs[:, 0].tolist()))
        raise DataSetError(
            f"{frames} frames of validation are copies or near-duplicates of training frames: {shorten_names(shown)};"
            " hold out by content (folds = 5), or leave them out (exclude)"
        )
