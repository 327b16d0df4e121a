"""Makes PS and FH one convex piece each, as anatomy has them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PS, FH = 1, 2
TAIL_SHARE = 3 / 256
"""A radius by the picture's longer side: bits and tails thinner than twice that are no bone."""


def convex_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Makes PS and FH one convex piece each: thin tails cut off, the largest piece kept, filled to its convex hull.

    Convention: (H, W) uint8 in and out, 0 background, 1 PS, 2 FH. A hull takes all but what is kept of the other
    structure, so where the two touch the result may be dented; background that both hulls claim goes to PS. A tail is
    what lies farther than the radius from all that is thicker than twice the radius; a structure that is nowhere so
    thick is kept whole, one without pixels stays absent. A piece that is the set of pixel centres in some convex
    outline is not changed, but that a slender one, eight times as long as wide, may lose a pixel of its tip. Worked
    value: an L of two strips of 60 x 20 pixels at 256 x 256 becomes the L's hull.

    Annotators draw both structures convex (`tests/stream/measurement/test_convexity.py`).
    """
    radius = max(1, round(TAIL_SHARE * max(labels.shape)))
    kept, hulls = {}, {}
    for code in (PS, FH):
        region = (labels == code).view(np.uint8)
        left, top, width, height = cv2.boundingRect(region)
        if not width:
            continue
        # With so much around it, its part of the picture gives the same as the whole.
        part = np.s_[max(0, top - radius) : top + height + radius, max(0, left - radius) : left + width + radius]
        piece, contour = largest_piece(region[part], radius)
        kept[code] = np.zeros(labels.shape, bool)
        kept[code][part] = piece
        hulls[code] = part, inside_hull(cv2.convexHull(contour)[:, 0, :].astype(np.int64), piece.shape)
    out = np.zeros_like(labels)
    for code in (FH, PS):  # the second one wins where both may
        if code in hulls:
            part, hull = hulls[code]
            other = kept.get(PS + FH - code)
            out[part][hull if other is None else hull & ~other[part]] = code
    return out


def largest_piece(region: NDArray[np.uint8], radius: int) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """The piece of a region with the most pixels after its tails are cut off, and its outer contour (N, 1, 2) xy.

    Args:
        region: (H, W) uint8, 1 in it and 0 elsewhere; not empty.
        radius: of the ball that opens it, px.
    """
    ball = _ball(radius)
    thick = cv2.morphologyEx(region, cv2.MORPH_OPEN, ball)
    trimmed = cv2.bitwise_and(region, cv2.dilate(thick, ball)) if cv2.countNonZero(thick) else region
    contours, hierarchy = cv2.findContours(trimmed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = np.flatnonzero(np.asarray(hierarchy)[0, :, 3] == -1)
    if len(outer) == 1:  # one piece: five times as fast as to label it
        return trimmed.astype(bool), np.asarray(contours[outer[0]], np.int32)
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(trimmed, connectivity=8)
    piece = np.asarray(pieces == 1 + facts[1:, cv2.CC_STAT_AREA].argmax())
    contours, _ = cv2.findContours(piece.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return piece, np.asarray(contours[0], np.int32)


@lru_cache(maxsize=8)
def _ball(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def inside_hull(hull: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre lies in a convex polygon or on its border: (H, W) bool.

    Convention: `hull` (N, 2) xy in whole pixels inside the picture, in order around the polygon. Row by row between
    the leftmost and the rightmost edge; OpenCV's own filling also takes pixels that an edge merely passes. Worked
    value: the triangle (0, 0), (4, 0), (0, 4) holds 15 pixels.
    """
    inside = np.zeros(shape, bool)
    highest = int(hull[:, 1].argmin())
    around = np.concatenate((hull[highest:], hull[: highest + 1]))
    lowest = int(around[:, 1].argmax())
    top, bottom = int(around[0, 1]), int(around[lowest, 1])
    rows = np.arange(top, bottom + 1)
    # Either way from the highest corner to the lowest is one side of the polygon.
    sides = around[: lowest + 1], around[lowest:][::-1]
    one, other = (np.interp(rows, side[:, 1], side[:, 0]) for side in sides)
    low, high = np.minimum(one, other), np.maximum(one, other)
    for row, level in ((0, top), (-1, bottom)):  # a level edge belongs to both sides
        ends = hull[hull[:, 1] == level, 0]
        low[row], high[row] = ends.min(), ends.max()
    left, right = int(hull[:, 0].min()), int(hull[:, 0].max())
    columns = np.arange(left, right + 1)
    first_column, last_column = np.ceil(low - 1e-9)[:, None], np.floor(high + 1e-9)[:, None]
    inside[top : bottom + 1, left : right + 1] = (columns >= first_column) & (columns <= last_column)
    return inside


def unchanged_share(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """How little `convex_labels` had to change: the lower Dice of PS and FH before and after, [0, 1].

    Convention: 1 where a structure is absent in both. Worked value: a PS of 100 pixels of which 90 are kept and none
    added gives 180 / 190 = 0.947.
    """
    shares = []
    for code in (PS, FH):
        one, other = before == code, after == code
        total = np.count_nonzero(one) + np.count_nonzero(other)
        shares.append(2 * np.count_nonzero(one & other) / total if total else 1.0)
    return min(shares)
