"""Completeness checks of image files beyond Pillow's."""

from __future__ import annotations

import io
import itertools
import mmap
import re
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from stream.common.errors import SourceUnreadable
from stream.sources.decoding import jpeg, png

if TYPE_CHECKING:
    from pathlib import Path

_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_NUMBER = re.compile(rb"\d+")


def check_end(path: Path, image: Image.Image) -> None:
    """Looks behind the first picture of a file of Pillow's.

    Raises:
        EOFError: the picture is not whole, though Pillow would fill it up.
        SyntaxError: a check sum is wrong.
        SourceUnreadable: another picture lies behind it, which the format does not declare.
    """
    if image.format == "TIFF" and _holds_second_tiff(path, image):
        raise SourceUnreadable(f"{path}: another TIFF lies behind the first; store them one by one, or as pages")
    if image.format not in ("BMP", "JPEG", "MPO", "PNG", "PPM", "WEBP"):
        return
    data = path.read_bytes()
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()
        if not png.has_all_rows(data):
            raise EOFError
    if image.format in ("JPEG", "MPO") and not jpeg.is_whole(data):
        raise EOFError
    behind = data[_end_of(image, data) :].lstrip(b"\0\xff\r\n\t ")
    if image.format == "PPM":
        _check_levels(path, image, data)
    mark = data[: 1 if image.format == "PPM" else 3].lstrip(b"\xff")
    if image.format != "MPO" and behind.startswith(mark):
        raise SourceUnreadable(
            f"{path}: another picture lies behind the first; store them one by one, or name a film of JPEGs .mjpeg"
        )
    if image.format == "PPM" and behind:
        raise SourceUnreadable(f"{path}: {len(behind)} bytes lie behind the picture that its header declares")


def _end_of(image: Image.Image, data: bytes) -> int:
    """Where the first picture ends."""
    if image.format == "JPEG":
        return _jpeg_end(data)
    if image.format == "PNG":
        return data.index(b"IEND") + 8
    if image.format in ("BMP", "WEBP"):
        size = data[2:6] if image.format == "BMP" else data[4:8]
        return (int.from_bytes(size, "little") or len(data)) + (8 if image.format == "WEBP" else 0)
    if image.mode == "1":
        return len(data)
    codec, start, _ = _tile(image)
    if codec == "ppm_plain":
        return _plain_end(data, start, image.width * image.height * len(image.getbands()))
    return start + image.width * image.height * len(image.getbands()) * (2 if _pnm_white(image) > 255 else 1)


def _holds_second_tiff(path: Path, image: Image.Image) -> bool:
    """Whether the header of another TIFF, with a list of tags in order, lies behind the pixels of the first.

    Pages that the first links to may have headers of their own: some writers leave them there.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.next:
        return False
    starts, lengths = (tags.get(old) or tags.get(tiled) or () for old, tiled in ((273, 324), (279, 325)))
    at = max((start + length for start, length in zip(starts, lengths, strict=False)), default=8)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        mark = data[:4]
        while (at := data.find(mark, max(at, 4))) >= 0:
            if _is_tag_list(data[at:], "little" if mark[:1] == b"I" else "big"):
                return True
            at += 4
    return False


def _is_tag_list(tiff: bytes, order: Literal["little", "big"]) -> bool:
    """Whether the tags that a TIFF's header points to are plausible: several, each higher than the one before."""
    at = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[at : at + 2], order)
    entries = tiff[at + 2 : at + 2 + 12 * count]
    tags = [int.from_bytes(entries[place : place + 2], order) for place in range(0, len(entries), 12)]
    return count > 3 and len(entries) == 12 * count and 256 in tags and tags == sorted(tags)


def _tile(image: Image.Image) -> tuple[str, int, object]:
    """How Pillow will decode an image: by which codec, from which byte on, with what arguments."""
    codec, _, start, arguments = image.tile[0]  # type: ignore[attr-defined]
    return codec, int(start), arguments


def _pnm_white(image: Image.Image) -> int:
    """The highest level, by the header."""
    arguments = _tile(image)[2]
    if isinstance(arguments, tuple) and isinstance(arguments[1], int):
        return arguments[1]
    return 0xFFFF if image.mode.startswith("I") else 0xFF


def _check_levels(path: Path, image: Image.Image, data: bytes) -> None:
    """Raises SourceUnreadable where levels are higher than the header's highest, to which Pillow cuts them."""
    (codec, start, _), white = _tile(image), _pnm_white(image)
    if codec != "ppm":
        return
    stored = data[start : _end_of(image, data)]
    highest = int(np.frombuffer(stored[: len(stored) // 2 * 2], ">u2" if white > 255 else "u1").max(initial=0))
    if highest > white:
        raise SourceUnreadable(f"{path}: has levels up to {highest}, its header says {white}; the header is damaged")


def coding_words(data: bytes) -> str:
    """What is special about a JPEG that no decoder here knows: its bits, or its process; "" where nothing is."""
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) > at + 4:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            bits = data[at + 4]
            kind = "lossless " if marker in _LOSSLESS else ""
            return f"a {kind}JPEG of {bits} bits" if kind or bits != 8 else ""
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return ""


def _plain_end(data: bytes, start: int, count: int) -> int:
    """Behind so many numbers that are written as text."""
    last = next(itertools.islice(_NUMBER.finditer(data, start), count - 1, None), None)
    return last.end() if last else len(data)


def _jpeg_end(data: bytes) -> int:
    """Behind the end mark of the first picture; a thumbnail in its header has one too, but before the first scan."""
    scan = 2
    while data[scan : scan + 1] == b"\xff" and data[scan + 1] != 0xDA:
        scan += 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    end = data.find(b"\xff\xd9", scan)
    return len(data) if end < 0 else end + 2
