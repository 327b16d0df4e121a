"""Text on images: glyphs of real typefaces, rendered once per string and cached."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255: OpenCV's order."""


@lru_cache(maxsize=16)
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: the same glyphs on every machine."""
    import matplotlib as mpl  # which takes its time, and not every run draws

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size_px)


@lru_cache(maxsize=2048)
def _stamp(text: str, size_px: int, bold: bool) -> NDArray[np.float32]:
    """Coverage of a line of text, (h, w) in [0, 1], with the font's own ascent and descent around it."""
    font = _font(size_px, bold)
    ascent, descent = font.getmetrics()
    picture = Image.new("L", (max(1, round(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, dtype=np.float32) / 255.0


@lru_cache(maxsize=2048)
def _print(text: str, size_px: int, bold: bool, colour: Colour, ground: Colour) -> NDArray[np.uint8]:
    """The same in its colour on one ground, (h, w, 3) BGR."""
    coverage = _stamp(text, size_px, bold)[..., None]
    below = np.broadcast_to(np.asarray(ground, dtype=np.uint8), (*coverage.shape[:2], 3))
    return _blend(below, coverage, colour)


def _blend(below: NDArray[np.uint8], coverage: NDArray[np.float32], colour: Colour) -> NDArray[np.uint8]:
    return (below + coverage * (np.asarray(colour, dtype=np.float32) - below)).astype(np.uint8)


def text_width_px(text: str, size_px: int, *, bold: bool = False) -> int:
    """Width that `write` will take."""
    return int(_stamp(text, size_px, bold).shape[1])


def draw_text(
    canvas: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size_px: int,
    colour: Colour,
    *,
    bold: bool = False,
    ground: Colour | None = None,
) -> None:
    """Writes a line of text into a (H, W, 3) BGR canvas, its upper left corner at `at` (x, y); clipped there.

    Where all that is below it is of one colour, `ground` says which: then it is laid there as it is, which is quicker.
    """
    x, y = at
    height, width = _stamp(text, size_px, bold).shape
    window = canvas[max(y, 0) : y + height, max(x, 0) : x + width]
    part = slice(max(-y, 0), max(-y, 0) + window.shape[0]), slice(max(-x, 0), max(-x, 0) + window.shape[1])
    if ground is None:
        window[:] = _blend(window, _stamp(text, size_px, bold)[part][..., None], colour)
    else:
        window[:] = _print(text, size_px, bold, colour, ground)[part]
