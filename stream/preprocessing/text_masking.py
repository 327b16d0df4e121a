"""Finds and masks text burned into the sector: it stands still while tissue moves.

A line of text is a row of strokes of one height and one grey level. Whole lines are masked, not strokes: a stroke that
is smoothed away still shows its shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from stream.frames.regions import Box

STILL_LEVELS = 14
"""A stroke varies by at most this many grey levels from picture to picture; coding makes up to 10."""
STROKE_LEVELS = 40
"""A stroke is at least so much brighter than what is around it."""
SAME_LEVELS = 12.0
"""The strokes of one line differ by at most this in level (standard deviation)."""
STILLER = 0.4
"""Text varies at most this share of what its surroundings do: those move, or are black."""
BLACK_LEVELS = 12
PRINTED_LEVELS, PRINTED_SPREAD, PRINTED_GLYPHS = 70, 6.0, 5
"""Where nothing moves, a line of so many glyphs, so much brighter than its ground and of so nearly one level, is text
by its looks."""
LEAST_GLYPHS = 3
LEAST_HEIGHT_PX = 6
MOST_HEIGHT = 1 / 18
"""Of the picture's height."""
UNEVEN = 0.1
"""The feet of letters differ by at most this share of their height (median of absolute deviations)."""
MOST_FILLED = 0.75
"""Share of its box that a letter covers, but for slender ones; specks of tissue are rounder."""
LETTER_GAP = 1.6
MOST_GAP = 2 * LETTER_GAP
"""From letter to letter, of the taller one's height, which is at most twice the other's."""
MARGIN_PX = 3
WINDOW = 24
"""Pictures after which text is looked for anew."""


class TextMasker:
    """Finds and masks the text in one stream's pictures, all of one size.

    Text that appears later is masked after at most two windows, and the few pictures over which a search is spread;
    text that went is shown again after as many.
    """

    def __init__(self, darkest: NDArray[np.uint8], brightest: NDArray[np.uint8], count: int) -> None:
        """Looks for text in the pictures seen so far.

        Args:
            darkest: (H, W) uint8, the least that each pixel was.
            brightest: the greatest.
            count: in so many pictures.
        """
        self.boxes: Sequence[Box] = find_text(darkest, brightest)
        self._before: Sequence[Box] = ()
        self._search: Iterator[Sequence[Box] | None] | None = None
        self._darkest, self._brightest = darkest.copy(), brightest.copy()
        self._count = count

    def add(self, image: NDArray[np.uint8]) -> None:
        """Takes a new picture, and takes one step of a search that is under way."""
        if self._count >= WINDOW:
            self._search = search_text(self._darkest, self._brightest)
            self._darkest, self._brightest = image.copy(), image.copy()
            self._count = 1
        else:
            cv2.min(self._darkest, image, self._darkest)
            cv2.max(self._brightest, image, self._brightest)
            self._count += 1
        found = next(self._search) if self._search else None
        if found is not None:
            self.boxes, self._before, self._search = [*found, *self._before], found, None

    def mask(self, image: NDArray[np.uint8]) -> None:
        """Masks the text in a picture, in place (`mask_text`)."""
        mask_text(image, self.boxes)


def mask_text(image: NDArray[np.uint8], boxes: Sequence[Box]) -> None:
    """Replaces what lies in the boxes, in place, by what is left of it at one value a box height."""
    for left, top, width, height in boxes:
        part = image[top : top + height, left : left + width]
        cells = max(1, round(width / height)), 1
        coarse = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        part[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def find_text(darkest: NDArray[np.uint8], brightest: NDArray[np.uint8]) -> Sequence[Box]:
    """The boxes of lines of text, with a margin. Bright on dark only; one or two letters are no line.

    Convention: a line is a row of three glyphs or more, of like height and level, that stand still where their
    surroundings move or are black; or of five, bright and of one level, wherever they are. Tissue under a still probe
    is neither.

    Args:
        darkest: (H, W) uint8, the least each pixel was in the pictures looked at.
        brightest: the greatest.
    """
    return next(found for found in search_text(darkest, brightest) if found is not None)


def search_text(darkest: NDArray[np.uint8], brightest: NDArray[np.uint8]) -> Iterator[Sequence[Box] | None]:
    """`find_text` in steps of like length, one for each value: None, and at last what was found."""
    height, width = darkest.shape
    side = max(9, height // 24) | 1
    ground = np.asarray(cv2.morphologyEx(darkest, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)), np.uint8)
    varies = np.asarray(cv2.subtract(brightest, darkest), np.uint8)
    stands_out = cv2.subtract(darkest, ground) > STROKE_LEVELS
    strokes = np.asarray((stands_out & (varies <= STILL_LEVELS)).astype(np.uint8))
    yield None
    glyphs = _glyphs(strokes, darkest, most_px=max(LEAST_HEIGHT_PX, round(MOST_HEIGHT * height)))
    yield None
    grown = [(line, _grown(_box(line), width=width, height=height)) for line in _lines(glyphs)]
    yield None
    yield [box for line, box in grown if _is_text(line, box, strokes, ground, varies, brightest)]


def _is_text(
    line: Sequence[Glyph],
    box: Box,
    strokes: NDArray[np.uint8],
    ground: NDArray[np.uint8],
    varies: NDArray[np.uint8],
    brightest: NDArray[np.uint8],
) -> bool:
    left, top, width, height = box
    part = np.s_[top : top + height, left : left + width]
    is_stroke = strokes[part] > 0
    is_around = cv2.dilate(strokes[part], np.ones((5, 5), np.uint8)) == 0  # the halo of coding stands still too
    levels = np.array([glyph[4] for glyph in line])
    if levels.std() > SAME_LEVELS or not is_around.any() or not _stands_on_a_line(line):
        return False
    around = varies[part][is_around]
    is_short = len(line) < PRINTED_GLYPHS  # three specks of tissue in a row are not so rare
    if is_short and (levels.std() > PRINTED_SPREAD or float(np.median(varies[part][is_stroke])) > STILL_LEVELS / 2):
        return False
    if float(np.median(varies[part][is_stroke])) <= STILLER * float(np.median(around)) - 1.0:
        return True
    if float(np.quantile(brightest[part][is_around], 0.9)) <= BLACK_LEVELS:
        return True
    is_bright = float(levels.mean()) - float(np.median(ground[part])) >= PRINTED_LEVELS
    return is_bright and len(line) >= PRINTED_GLYPHS and float(levels.std()) <= PRINTED_SPREAD


Glyph = tuple[int, int, int, int, float]
"""A box and the grey level of its strokes at their brightest."""


def _glyphs(strokes: NDArray[np.uint8], darkest: NDArray[np.uint8], *, most_px: int) -> list[Glyph]:
    """Connected strokes of a letter's size and shape, from left to right."""
    at = np.flatnonzero(strokes.view(np.bool_))
    if not at.size:
        return []
    # OpenCV labels in a seventh of the time that it takes to count as well.
    _, labels = cv2.connectedComponents(strokes, connectivity=8)
    of = np.asarray(labels).ravel()[at]
    order = np.argsort(of, kind="stable")
    at, of = at[order], of[order]
    first = np.flatnonzero(np.diff(of, prepend=0))
    rows, columns = np.divmod(at, strokes.shape[1])
    lefts, tops = np.minimum.reduceat(columns, first), rows[first]  # labels run from the top down
    widths = np.maximum.reduceat(columns, first) - lefts + 1
    heights = np.maximum.reduceat(rows, first) - tops + 1
    areas = np.diff(first, append=len(of))
    levels = np.maximum.reduceat(darkest.ravel()[at], first)
    may_be = (heights >= LEAST_HEIGHT_PX) & (heights <= most_px) & (widths <= 4 * heights) & (areas >= heights)
    may_be &= (areas <= MOST_FILLED * widths * heights) | (widths <= heights / 2)
    chosen = (fact[may_be].tolist() for fact in (lefts, tops, widths, heights, levels.astype(np.float64)))
    return sorted(zip(*chosen, strict=True))


def _lines(glyphs: Sequence[Glyph]) -> list[list[Glyph]]:
    """Rows of at least three glyphs of like height and level, each close to the one before."""
    lines: list[list[Glyph]] = []
    growing: list[list[Glyph]] = []
    for glyph in glyphs:  # from left to right
        growing = [line for line in growing if glyph[0] - (line[-1][0] + line[-1][2]) <= MOST_GAP * line[-1][3]]
        line = next((line for line in growing if _follows(line[-1], glyph)), None)
        if line is None:
            line = []
            lines.append(line)
            growing.append(line)
        line.append(glyph)
    return [line for line in lines if len(line) >= LEAST_GLYPHS]


def _follows(last: Glyph, glyph: Glyph) -> bool:
    last_left, last_top, last_width, last_height, _ = last
    left, top, _, height, _ = glyph
    tall, small = (last_height, height) if last_height > height else (height, last_height)
    reach = 0.4 * tall
    if small < 0.5 * tall or (abs(top - last_top) > reach and abs(top + height - last_top - last_height) > reach):
        return False
    return -0.5 * tall <= left - last_left - last_width <= LETTER_GAP * tall


def _stands_on_a_line(line: Sequence[Glyph]) -> bool:
    """Whether most letters end at one height: on the line they are written on."""
    bottoms = np.array([glyph[1] + glyph[3] for glyph in line])
    height = float(np.median([glyph[3] for glyph in line]))
    return float(np.median(np.abs(bottoms - np.median(bottoms)))) <= max(1.0, UNEVEN * height)


def _box(line: Sequence[Glyph]) -> Box:
    left, top = min(glyph[0] for glyph in line), min(glyph[1] for glyph in line)
    right, bottom = max(glyph[0] + glyph[2] for glyph in line), max(glyph[1] + glyph[3] for glyph in line)
    return left, top, right - left, bottom - top


def _grown(box: Box, *, width: int, height: int) -> Box:
    """With a margin for descenders, dots and the halo of coding, and for a letter that was missed at either end."""
    left, top, box_width, box_height = box
    above, beside = MARGIN_PX + box_height // 3, MARGIN_PX + box_height
    x0, y0 = max(0, left - beside), max(0, top - above)
    x1, y1 = min(width, left + box_width + beside), min(height, top + box_height + above)
    return x0, y0, x1 - x0, y1 - y0
