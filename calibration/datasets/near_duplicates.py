"""Pictures that are nearly the same, such as the frames of one video whose number nobody wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

THUMBNAIL_PX = 16
ALIKE = 0.95
"""Correlation of thumbnails from which two pictures count as alike.

Held against the near-duplicate groups that accompany 658 PSFHS frames: 3 % of the pairs in one group are torn
apart, and 151 groups are found where there are 162. Comparing each frame only with the one before it tears
half of these pairs (52 % at 0.9), for frames of one video do not lie together in the numbering.
"""


def near_duplicate_groups(images: Iterable[NDArray[np.uint8]]) -> list[int]:
    """Groups pictures that are alike, directly or by way of others.

    Convention: a picture is averaged down to 16x16 and freed of its mean and scale; two are alike where these
    correlate by at least `ALIKE`, and groups are what chains of alike pictures hold together. A picture of one
    grey level is like no other. Worked value: a picture, the same at half gain, and its negative are in the
    groups 0, 0, 2.

    Args:
        images: (H, W) uint8 each, of any sizes.

    Returns:
        For each picture the index of the first one of its group.
    """
    thumbnails = [_thumbnail(image) for image in images]
    stacked = np.stack(thumbnails) if thumbnails else np.zeros((0, THUMBNAIL_PX**2), np.float32)
    first = np.arange(len(thumbnails))
    for index in range(1, len(thumbnails)):
        alike = np.unique(first[:index][stacked[:index] @ stacked[index] >= ALIKE])
        if alike.size:
            first[index] = alike[0]
            first[np.isin(first, alike[1:])] = alike[0]
    return [int(index) for index in first]


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(THUMBNAIL_PX squared,) with mean 0 and length 1, or all 0 where the picture has one grey level."""
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > 0 else np.zeros_like(small)
