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
) -> None:
    """Writes a line of text into a (H, W, 3) BGR canvas, its upper left corner at `at` (x, y); clipped there."""
    x, y = at
    coverage = _stamp(text, size_px, bold)
    window = canvas[max(y, 0) : y + coverage.shape[0], max(x, 0) : x + coverage.shape[1]]
    alpha = coverage[max(-y, 0) :, max(-x, 0) :][: window.shape[0], : window.shape[1], None]
    window[:] = (window + alpha * (np.asarray(colour, dtype=np.float32) - window)).astype(np.uint8)
