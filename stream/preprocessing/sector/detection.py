"""Detects the ultrasound sector in a screen picture: a fan or rectangle of speckle.

    pictures --Gathered--> what is brighter than the ground, textured, and moves --> pieces --> panes --> outline

Everything is done on a small copy of the picture: a sector's border is wanted to a pixel of that, no finer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.preprocessing.sector.confidence import confidence
from stream.preprocessing.sector.fit import Fan, fit_fan

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL_SIDE_PX = 256
"""Longer side of the small copy."""
GROUND_LEVELS = 5
"""Grey levels above the screen's ground that a pixel of the sector has at its brightest."""
TEXTURE_LEVELS = 2
"""Range within 3 x 3 pixels of the small copy: less is a flat panel, or the ground."""
MOVES_LEVELS = 1.0
"""Range over the gathered pictures of a pixel that moves."""
LEAST_MOVING_SHARE = 0.02
"""Where less of the picture moves, movement tells nothing: a single picture, or a still probe."""
LEAST_SHARE = 0.03
"""Least share of the picture that a sector covers."""
WHOLE_SHARE = 0.9
"""A sector that covers so much has no screen around it."""
SECOND_PANE = 0.4
"""A second piece of at least this share of the first is another pane."""
MOST_PIECES, LEAST_PIECE = 12, 0.002
"""So many pieces are looked at, the largest first, and none smaller than this share of the picture."""
NOTCH = 0.88
"""Two pieces that fill less than this of their common hull are two panes; else one, parted by a shadow."""
NOTCH_DEPTH, NOTCH_WIDTH = 0.25, 0.25
"""Panes that touch leave a notch at least so deep and wide, as shares of their common height and width."""
OFF_CENTRE = 0.12
"""The probe's face is at most this share of a sector's width off its middle."""
SYMMETRIC = 1.08
"""A sector whose mirror image adds less area than this is symmetric but for noise."""
FACE = 0.06
"""The top share of a sector's height in which the probe's face lies."""
USUAL_FILLING = 0.5
"""Share of a sector that is speckle, not shadow; where there is less, so is the confidence."""
LEAST_EXPLAINED = 0.5
LEAST_CONFIDENCE = 0.5
"""Least probability that it is ultrasound; see `stream.preprocessing.sector.confidence`."""
SAME_SHAPE = 0.95
"""Intersection over union of two sectors, one of them brought to the other's size, that differ in size alone."""
ZOOMED = 1.12
"""Two sectors of one shape whose sides differ by this factor show different depths."""


class Panes(StrEnum):
    """How many pictures the screen shows, and which one was taken."""

    ONE = "one"
    LEFT = "left"
    RIGHT = "right"
    TWO = "two"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outline:
    """A sector on the small copy; the fields are those of `Sector`."""

    mask: NDArray[np.uint8]
    confidence: float
    shape: str
    panes: Panes

    def enlarged(self, shape: tuple[int, int]) -> Sector:
        """The sector in a picture of (H, W)."""
        height, width = shape
        large = cv2.resize(self.mask, (width, height), interpolation=cv2.INTER_LINEAR)
        _, mask = cv2.threshold(large, 127, 255, cv2.THRESH_BINARY)
        left, top, box_width, box_height = cv2.boundingRect(mask)
        return Sector(
            mask=np.asarray(mask, np.uint8),
            box=(left, top, box_width, box_height),
            confidence=self.confidence,
            shape=self.shape,
            panes=self.panes,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sector:
    """Where the ultrasound is.

    Attributes:
        mask: (H, W) uint8 of the picture it was found in, 255 inside.
        box: left, top, width, height of its pixels.
        confidence: 0 to 1: the probability that it is ultrasound.
        shape: `fan`, `outline` (any other convex shape), or `whole` (no screen around it).
        panes: `TWO` where two stand side by side and none was chosen.
    """

    mask: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    confidence: float
    shape: str
    panes: Panes = Panes.ONE


def small_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the small copy of pictures of (H, W)."""
    height, width = shape
    factor = _factor(shape)
    return max(1, width // factor), max(1, height // factor)


def small_copy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The small copy of a picture. Of large ones every other row or so is left out: averaging the rest will do."""
    shape = image.shape[0], image.shape[1]
    rows = image[:: max(1, _factor(shape) // 2)]
    return np.asarray(cv2.resize(rows, small_size(shape), interpolation=cv2.INTER_AREA), np.uint8)


def _factor(shape: tuple[int, int]) -> int:
    return -(-max(shape) // SMALL_SIDE_PX)  # whole pixels are averaged: many times as fast


class PixelExtrema:
    """The darkest and brightest that each pixel of the small copy was, over the pictures added."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.size = small_size(shape)
        self.darkest = np.full(self.size[::-1], 255, np.uint8)
        self.brightest = np.zeros(self.size[::-1], np.uint8)
        self.count = 0

    def add(self, small: NDArray[np.uint8]) -> None:
        """Takes a small copy."""
        cv2.min(self.darkest, small, self.darkest)
        cv2.max(self.brightest, small, self.brightest)
        self.count += 1


def find_sector(gathered: PixelExtrema, *, pane: Panes | None = None) -> Sector | None:
    """The sector in the pictures gathered, in their own size; see `find_outline`."""
    found = find_outline(gathered, pane=pane)
    return found.enlarged(gathered.shape) if found else None


def find_outline(
    gathered: PixelExtrema, *, pane: Panes | None = None, within: NDArray[np.uint8] | None = None
) -> Outline | None:
    """The sector on the small copy of the pictures gathered; None where nothing looks like one.

    Args:
        gathered: one picture or more; movement tells a sector from a screen's other parts, and fills dark places.
        pane: which of two panes is wanted; None wants the only one.
        within: (H, W) uint8, 255 where it may lie; None for anywhere.
    """
    found = propose_outline(gathered, pane=pane, within=within)
    if found is None:
        return None
    sure = confidence(gathered.brightest, found.mask, ground=background_level(gathered.brightest))
    return replace(found, confidence=round(sure, 3)) if sure >= LEAST_CONFIDENCE else None


def propose_outline(
    gathered: PixelExtrema, *, pane: Panes | None = None, within: NDArray[np.uint8] | None = None
) -> Outline | None:
    """What would be the sector if this is ultrasound, which `confidence` then tells; arguments as of `find_outline`.

    Its `confidence` is the share of what looks like ultrasound that the outline explains and fills.
    """
    speckle = _speckle(gathered)
    if within is not None:
        speckle = np.asarray(cv2.bitwise_and(speckle, within), np.uint8)
    pieces = _pieces(speckle)
    if not pieces:
        return None
    pieces = [*_halves(pieces[0]), *pieces[1:]]
    first, second = pieces[0], pieces[1] if len(pieces) > 1 else None
    panes = Panes.ONE
    if second is not None and _are_two_panes(first, second):
        left, right = sorted((first, second), key=lambda piece: float(_hull(piece)[:, 0, 0].mean()))
        panes = pane if pane in (Panes.LEFT, Panes.RIGHT) else Panes.TWO
        first = right if panes is Panes.RIGHT else left
        pieces = [first]
    return _outlined(speckle, _whole_hull(first, pieces), panes)


def _speckle(gathered: PixelExtrema) -> NDArray[np.uint8]:
    """Pixels that may be ultrasound, 255: brighter than the ground, textured, and moving where anything moves."""
    brightest = gathered.brightest
    ground = background_level(brightest)
    kernel = np.ones((3, 3), np.uint8)
    spread = cv2.subtract(cv2.dilate(brightest, kernel), cv2.erode(brightest, kernel))
    found = (brightest > ground + GROUND_LEVELS) & (spread >= TEXTURE_LEVELS)
    moves = cv2.subtract(brightest, gathered.darkest) > MOVES_LEVELS
    if moves.mean() > LEAST_MOVING_SHARE:
        found &= moves
    filled = cv2.morphologyEx(found.astype(np.uint8) * 255, cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return np.asarray(opened, np.uint8)


def background_level(image: NDArray[np.uint8]) -> int:
    """The grey level of the screen behind everything: the commonest of the dark ones, flat as it is."""
    counts = np.bincount(image.ravel(), minlength=256)[:64]
    return int(counts.argmax()) if counts.max() > 0.02 * image.size else 0


def _pieces(speckle: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The larger connected pieces, the largest first."""
    closed = cv2.morphologyEx(speckle, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    by_area = sorted(range(1, count), key=lambda label: -int(facts[label, cv2.CC_STAT_AREA]))
    return [
        np.asarray((labels == label).astype(np.uint8) * 255)
        for label in by_area[:MOST_PIECES]
        if facts[label, cv2.CC_STAT_AREA] >= LEAST_PIECE * speckle.size
    ]


def _hull(piece: NDArray[np.uint8]) -> NDArray[np.int32]:
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.convexHull(np.vstack(contours)), np.int32)


def _filled(hull: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.asarray(cv2.fillConvexPoly(np.zeros(shape, np.uint8), hull, 255), np.uint8)


def _halves(piece: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The piece, or the two panes it consists of where they touch: two fans side by side leave a notch between."""
    outline = max(cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    left, top, width, height = cv2.boundingRect(outline)
    found = cv2.convexityDefects(outline, cv2.convexHull(outline, returnPoints=False))
    defects = np.empty((0, 4), np.int32) if found is None else np.asarray(found, np.int32).reshape(-1, 4)
    deepest, at = NOTCH_DEPTH * height, None
    for start, end, far, _ in defects:
        x, y = (int(value) for value in outline[far, 0])
        is_between = abs(x - left - width / 2) < 0.2 * width
        opens_upwards = max(int(outline[start, 0, 1]), int(outline[end, 0, 1])) < top + 0.5 * height
        opening = abs(int(outline[start, 0, 0]) - int(outline[end, 0, 0]))
        if is_between and opens_upwards and y - top > deepest and opening > NOTCH_WIDTH * width:
            deepest, at = y - top, x
    if at is None or not _narrows(piece, at, top, top + deepest):
        return [piece]
    one, other = piece.copy(), piece.copy()
    one[:, at:], other[:, :at] = 0, 0
    return [one, other] if _are_two_panes(one, other) else [piece]


def _narrows(piece: NDArray[np.uint8], x: int, top: float, bottom: float) -> bool:
    """Whether a notch gets narrower downwards, as between two fans; a cyst that opens to the top is wider below."""
    gaps = []
    for depth in (0.1, 0.5, 0.9):
        row = piece[round(top + depth * (bottom - top))]
        left, right = np.flatnonzero(row[:x]), np.flatnonzero(row[x:])
        gaps.append((x + int(right[0]) if right.size else row.size) - (int(left[-1]) if left.size else 0))
    return gaps[0] > gaps[1] > gaps[2]


def _are_two_panes(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Whether two pieces stand side by side as pictures of their own, each with its own face in its middle."""
    one, other = _hull(first), _hull(second)
    area_one, area_other = cv2.contourArea(one), cv2.contourArea(other)
    if min(area_one, area_other) < max(SECOND_PANE * max(area_one, area_other), LEAST_SHARE * first.size):
        return False
    (x1, y1, w1, h1), (x2, y2, w2, h2) = cv2.boundingRect(one), cv2.boundingRect(other)
    are_level = min(y1 + h1, y2 + h2) - max(y1, y2) > 0.6 * min(h1, h2)
    are_apart = min(x1 + w1, x2 + w2) - max(x1, x2) < 0.15 * min(w1, w2)
    common = cv2.contourArea(cv2.convexHull(np.vstack([one, other])))
    have_gap = area_one + area_other < NOTCH * common or min(w1, w2) > max(h1, h2) * 0.4
    are_whole = all(abs(_face_x(hull) - x - w / 2) < OFF_CENTRE * w for hull, x, w in ((one, x1, w1), (other, x2, w2)))
    return are_level and are_apart and have_gap and are_whole


def _face_x(hull: NDArray[np.int32]) -> float:
    """Where the middle of the probe's face is: of what is highest."""
    _, top, _, height = cv2.boundingRect(hull)
    face = hull[hull[:, 0, 1] <= top + FACE * height, 0, 0]
    return (int(face.min()) + int(face.max())) / 2


def _whole_hull(first: NDArray[np.uint8], pieces: list[NDArray[np.uint8]]) -> NDArray[np.int32]:
    """The hull of the sector that a piece of it belongs to.

    A shadow hides a side of the sector, or parts a piece from the rest. A probe's picture is symmetric about the line
    down from the middle of the probe's face, and that face is never in a shadow: so the hull is mirrored about it, and
    pieces that lie in the mirrored hull, or fit onto it, are taken in.
    """
    hull = _mirrored_too(_hull(first), first.shape)
    for piece in pieces:
        added = _hull(piece)
        common = cv2.convexHull(np.vstack([hull, added]))
        lies_on = cv2.contourArea(hull) + cv2.contourArea(added) > NOTCH * cv2.contourArea(common)
        if lies_on and cv2.contourArea(common) < 1.5 * cv2.contourArea(hull):
            hull = np.asarray(common, np.int32)
    return hull


def _mirrored_too(hull: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The hull of a piece and its mirror image; the piece's own where it is symmetric already."""
    points = hull[:, 0, :]
    mirrored = points.copy()
    mirrored[:, 0] = np.clip(np.rint(2 * _face_x(hull) - points[:, 0]), 0, shape[1] - 1)
    both = np.asarray(cv2.convexHull(np.vstack([points, mirrored])), np.int32)
    return both if cv2.contourArea(both) > SYMMETRIC * cv2.contourArea(hull) else hull


def _outlined(speckle: NDArray[np.uint8], hull: NDArray[np.int32], panes: Panes) -> Outline | None:
    # The test for texture reaches one pixel beyond what has it.
    region = np.asarray(cv2.erode(_filled(hull, speckle.shape), np.ones((3, 3), np.uint8)), np.uint8)
    share = float((region > 0).mean())
    if share < LEAST_SHARE:
        return None
    filling = float((speckle[region > 0] > 0).mean())
    if share >= WHOLE_SHARE:
        whole = np.full_like(speckle, 255)
        return Outline(mask=whole, confidence=round(filling, 3), shape="whole", panes=panes)
    fan = fit_fan(hull, region, speckle)
    inside = fan_region(fan, region) if fan is not None else region
    explained = float((speckle[inside > 0] > 0).sum() / max(1, (speckle[region > 0] > 0).sum()))
    explains = min(1.0, explained) * min(1.0, filling / USUAL_FILLING)
    if explains < LEAST_EXPLAINED:
        return None
    shape = "fan" if fan else "outline"
    return Outline(mask=inside, confidence=round(explains, 3), shape=shape, panes=panes)


def fan_region(fan: Fan, region: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The fan's pixels, cut by the box of the region it was fitted to, as a screen's window cuts it."""
    left, top, width, height = cv2.boundingRect(region)
    window = np.zeros_like(region)
    window[top : top + height, left : left + width] = 255
    return np.asarray(cv2.bitwise_and(fan.mask(region.shape), window), np.uint8)


def overlap(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Intersection over union of two masks of one size; 0 where both are empty."""
    union = cv2.countNonZero(cv2.bitwise_or(one, other))
    return cv2.countNonZero(cv2.bitwise_and(one, other)) / union if union else 0.0


def is_zoomed(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two sectors have one shape and different sizes: the depth was changed.

    One that is dark at its far end, or off the skin at a side, has another shape.

    Args:
        one: (H, W) uint8, 255 inside.
        other: likewise, of the same size.
    """
    areas = cv2.countNonZero(one), cv2.countNonZero(other)
    if not all(areas) or 1 / ZOOMED < math.sqrt(areas[0] / areas[1]) < ZOOMED:
        return False
    first, second = _cut_out(one), _cut_out(other)
    (height, width), (other_height, other_width) = first.shape, second.shape
    if not SAME_SHAPE < (width / other_width) / (height / other_height) < 1 / SAME_SHAPE:
        return False
    resized = cv2.resize(first, (other_width, other_height), interpolation=cv2.INTER_LINEAR)
    return overlap(np.asarray((resized > 127).astype(np.uint8) * 255), second) >= SAME_SHAPE


def _cut_out(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    left, top, width, height = cv2.boundingRect(mask)
    return mask[top : top + height, left : left + width]
