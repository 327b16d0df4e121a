"""What the challenge protocols share: a mask squeezed to a square, and points of it taken back.

They presume a normal picture (PS left, head right); a mirrored one gives them a number that means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stream.frames.regions import Point
    from stream.measurement.biometry import MoveEnds


def resize_labels(labels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A label mask (H, W) enlarged or squeezed to (side, side) by its nearest pixels."""
    if labels.shape == (side, side):
        return labels
    return cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def scale_back(labels: NDArray[np.uint8], side: int) -> Callable[[Point], Point]:
    """From pixels of the square to pixels of the mask; pixel centres at integers in both."""
    height, width = labels.shape
    scale_x, scale_y = width / side, height / side
    return lambda point: ((point[0] + 0.5) * scale_x - 0.5, (point[1] + 0.5) * scale_y - 0.5)


def move_in_square(
    superior: Point, inferior: Point, move_ends: MoveEnds, labels: NDArray[np.uint8], side: int
) -> tuple[Point, Point]:
    """The corrected ends of an axis, in pixels of the square like those given."""
    height, width = labels.shape
    to_mask = scale_back(labels, side)
    ends = move_ends(to_mask(superior), to_mask(inferior))
    first, second = (((x + 0.5) * side / width - 0.5, (y + 0.5) * side / height - 0.5) for x, y in ends)
    return first, second


def float_point(point: NDArray[np.int32] | NDArray[np.float64]) -> Point:
    """A contour's point (2,) as a pair of floats."""
    return float(point[0]), float(point[1])
