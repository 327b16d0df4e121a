"""Makes PS and FH one convex piece each, as anatomy has them."""

from __future__ import annotations

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
    hulls, kept = {}, {}
    for code in (PS, FH):
        piece = largest_piece((labels == code).view(np.uint8), radius)
        if piece is not None:
            kept[code] = piece
            contours, _ = cv2.findContours(piece.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            hulls[code] = inside_hull(cv2.convexHull(contours[0])[:, 0, :].astype(np.int64), labels.shape)
    out = np.zeros_like(labels)
    for code in (FH, PS):  # the second one wins where both may
        if code in hulls:
            other = kept.get(PS + FH - code)
            out[hulls[code] if other is None else hulls[code] & ~other] = code
    return out


def largest_piece(region: NDArray[np.uint8], radius: int) -> NDArray[np.bool_] | None:
    """The piece of a region, 0 or 1, with the most pixels after its tails are cut off; None for an empty region."""
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    thick = cv2.morphologyEx(region, cv2.MORPH_OPEN, ball)
    trimmed = cv2.bitwise_and(region, cv2.dilate(thick, ball)) if thick.any() else region
    contours, hierarchy = cv2.findContours(trimmed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    if np.count_nonzero(np.asarray(hierarchy)[..., 3] == -1) == 1:  # one piece: five times as fast as to label it
        return trimmed.astype(bool)
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(trimmed, connectivity=8)
    return np.asarray(pieces == 1 + facts[1:, cv2.CC_STAT_AREA].argmax())


def inside_hull(hull: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre lies in a convex polygon or on its border: (H, W) bool.

    Convention: `hull` (N, 2) xy in whole pixels inside the picture, in order around the polygon. Row by row between
    the leftmost and the rightmost edge; OpenCV's own filling also takes pixels that an edge merely passes. Worked
    value: the triangle (0, 0), (4, 0), (0, 4) holds 15 pixels.
    """
    inside = np.zeros(shape, bool)
    top, bottom = int(hull[:, 1].min()), int(hull[:, 1].max())
    rows = np.arange(top, bottom + 1)[:, None]
    (x0, y0), (x1, y1) = hull.T, np.roll(hull, -1, axis=0).T
    rise = y1 - y0
    crosses = (rows >= np.minimum(y0, y1)) & (rows <= np.maximum(y0, y1)) & (rise != 0)
    at = np.where(crosses, x0 + (rows - y0) * (x1 - x0) / np.where(rise == 0, 1, rise), np.nan)
    # A level edge ends where its neighbours begin; a polygon of one row has level edges alone.
    level = np.where((rows == y0) & (rise == 0), x0, np.nan)
    ends = np.concatenate((at, level, np.where((rows == y1) & (rise == 0), x1, np.nan)), axis=1)
    low, high = np.ceil(np.nanmin(ends, axis=1) - 1e-9), np.floor(np.nanmax(ends, axis=1) + 1e-9)
    left, right = int(hull[:, 0].min()), int(hull[:, 0].max())
    columns = np.arange(left, right + 1)
    inside[top : bottom + 1, left : right + 1] = (columns >= low[:, None]) & (columns <= high[:, None])
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
