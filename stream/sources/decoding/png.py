"""Checks whether a PNG holds the rows its header declares.

Source: PNG (Third Edition), 7.2 (rows), 8.1 (Adam7), 11.3.6 (animation).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = 8
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by colour type."""
_WHOLE: tuple[tuple[int, int, int, int], ...] = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps from column to column and row to row, of each pass."""
_PIECE_BYTES = 1 << 20


def has_all_rows(data: bytes) -> bool:
    """Whether each picture inflates to just the bytes that its size and format ask for."""
    pictures: list[tuple[int, int, list[bytes]]] = []
    bits, passes, is_first = 8, _WHOLE, True
    for name, content in _chunks(data):
        if name == b"IHDR" and len(content) >= 13:
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", content[:13])
            bits, passes = depth * _SAMPLES.get(colour, 1), _ADAM7 if interlace else _WHOLE
            pictures.append((width, height, []))
        elif name == b"fcTL" and len(content) >= 12 and not is_first:
            pictures.append((*struct.unpack(">4xII", content[:12]), []))
        elif name == b"IDAT" and pictures:
            is_first = False
            pictures[0][2].append(content)
        elif name == b"fdAT" and pictures:
            pictures[-1][2].append(content[4:])
    return bool(pictures) and all(
        _inflates_to(parts, _row_bytes(width, height, bits, passes)) for width, height, parts in pictures
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = _START
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def _row_bytes(width: int, height: int, bits: int, passes: tuple[tuple[int, int, int, int], ...]) -> int:
    """Bytes of all rows with the filter byte of each."""
    total = 0
    for left, top, across, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _inflates_to(parts: list[bytes], expected: int) -> bool:
    """Whether the parts of a zlib stream inflate to so many bytes; goes no further than they."""
    inflate, total = zlib.decompressobj(), 0
    try:
        for part in parts:
            pending = part
            while pending and total <= expected:
                total += len(inflate.decompress(pending, _PIECE_BYTES))
                pending = inflate.unconsumed_tail
        if total <= expected:
            total += len(inflate.flush())
    except zlib.error:
        return False
    return total == expected
