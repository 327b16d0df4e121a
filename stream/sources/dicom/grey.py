"""From stored pixel values to grey levels: one table for each recording, looked up pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stream.sources.dicom.facts import PictureFacts
    from stream.sources.dicom.header import Header

_BT601 = (0.299, 0.587, 0.114)
_COLOURS = ("Red", "Green", "Blue")


def luma_of(pixels: NDArray[Any], *, is_rgb: bool) -> NDArray[Any]:
    """Stored values (H, W) from stored samples (H, W) or (H, W, 3).

    Convention: RGB becomes luma by BT.601, 0.299 R + 0.587 G + 0.114 B, rounded; of the other colour models,
    which are YCbCr, the first sample is the luma. Worked value: RGB 255, 0, 0 becomes 76.
    """
    if pixels.ndim == 2:
        return pixels
    if is_rgb:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(pixels[..., 0])


def grey_table(header: Header, facts: PictureFacts, *, is_little_endian: bool) -> NDArray[np.uint8]:
    """The grey level of every word of `bits_allocated` that a pixel can hold, 256 or 65536 entries.

    Convention: the `bits_stored` below `high_bit` count, the others are masked. Colour and monochrome without
    a window map the whole stored range linearly to 0 to 255; it does not depend on the frame, so brightness
    cannot flicker. Monochrome with a window (the first WindowCenter and WindowWidth) is rescaled by
    RescaleSlope and RescaleIntercept and then windowed by VOILUTFunction, PS3.3 C.11.2.1. MONOCHROME1 is
    inverted. Palette entries become luma by BT.601. Rounded to nearest.
    Worked values: 12 bits stored, no window: 0, 2048, 4095 become 0, 128, 255; window 100, 51 with LINEAR:
    up to 74, 100, from 125 on become 0, 130, 255.

    Raises:
        SourceUnreadable: a palette is missing or damaged.
    """
    words: NDArray[np.int64] = np.arange(1 << facts.bits_allocated)
    stored = words >> (facts.high_bit + 1 - facts.bits_stored) & ((1 << facts.bits_stored) - 1)
    if facts.is_signed:
        stored = np.where(stored >> (facts.bits_stored - 1), stored - (1 << facts.bits_stored), stored)
    if facts.photometric == "PALETTE COLOR":
        levels = _palette(header, facts, stored, is_little_endian=is_little_endian)
    elif facts.samples == 1:
        levels = _shown(header, stored.astype(np.float64))
    else:
        levels = _spread(stored.astype(np.float64))
    if facts.photometric == "MONOCHROME1":
        levels = 255.0 - levels
    return np.rint(levels).astype(np.uint8)


def grey_of(stored: NDArray[Any], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Looks stored values (H, W), unsigned, up in a table of `grey_table`; (H, W), contiguous."""
    if len(table) > 256:
        return np.take(table, stored)
    if np.array_equal(table, np.arange(256)):
        return np.ascontiguousarray(stored, dtype=np.uint8)
    return cv2.LUT(stored, table).astype(np.uint8, copy=False)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    lowest, highest = values.min(), values.max()
    spread: NDArray[np.float64] = (values - lowest) * (255.0 / (highest - lowest))
    return spread


def _shown(header: Header, stored: NDArray[np.float64]) -> NDArray[np.float64]:
    center, width = header.number("WindowCenter"), header.number("WindowWidth")
    window = _WINDOWS.get(header.text("VOILUTFunction") or "LINEAR")
    if center is None or width is None or window is None or width <= 0:
        return _spread(stored)
    slope = header.number("RescaleSlope") or 1.0
    values = slope * stored + (header.number("RescaleIntercept") or 0.0)
    return 255.0 * np.clip(window(values, center, width), 0.0, 1.0)


def _linear(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _linear_exact(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    return (values - center) / width + 0.5


def _sigmoid(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60.0, 60.0)))


_WINDOWS: dict[str, Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _palette(
    header: Header, facts: PictureFacts, stored: NDArray[Any], *, is_little_endian: bool
) -> NDArray[np.float64]:
    """Luma of the palette's entries, PS3.3 C.7.6.3.1.5: values outside take the first or last entry."""
    levels = np.zeros(len(stored), np.float64)
    for colour, weight in zip(_COLOURS, _BT601, strict=True):
        descriptor = header.numbers(f"{colour}PaletteColorLookupTableDescriptor")
        data = header.data(f"{colour}PaletteColorLookupTableData")
        entries = _entries(descriptor, data, is_little_endian=is_little_endian)
        if entries is None:
            raise SourceUnreadable(
                f"{facts.path}: its {colour.lower()} palette is missing, segmented or damaged; export it in RGB"
            )
        levels += weight * entries[np.clip(stored - round(descriptor[1]), 0, len(entries) - 1)]
    return levels


def _entries(descriptor: list[float], data: bytes, *, is_little_endian: bool) -> NDArray[np.float64] | None:
    """One colour of the palette, 0 to 255. Entries of 16 bits that use 8 only are taken as 8 bits."""
    if len(descriptor) != 3 or not all(map(np.isfinite, descriptor)):
        return None
    count = round(descriptor[0]) or 1 << 16
    if len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2" if is_little_endian else ">u2", count).astype(np.float64)
        return entries / 257.0 if entries.max() > 255 else entries
    return np.frombuffer(data, np.uint8, count).astype(np.float64) if len(data) >= count else None
