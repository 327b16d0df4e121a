"""What Pillow does not tell of an image file: whether a picture is whole, and whether another lies behind it."""

from __future__ import annotations

import io
import itertools
import re
from typing import TYPE_CHECKING

from PIL import Image

from stream.errors import SourceUnreadable
from stream.sources import jpeg

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER = re.compile(rb"\d+")


def check_end(path: Path, image: Image.Image) -> None:
    """Looks behind the first picture of a file of Pillow's.

    Raises:
        EOFError: the picture is not whole, though Pillow would fill it up.
        SyntaxError: a check sum is wrong.
        SourceUnreadable: another picture lies behind it, which the format does not declare.
    """
    if image.format not in ("BMP", "JPEG", "MPO", "PNG", "PPM"):
        return
    data = path.read_bytes()
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()
    if image.format in ("JPEG", "MPO") and not jpeg.is_whole(data):
        raise EOFError
    behind = data[_end_of(image, data) :].lstrip(b"\0\xff\r\n\t ")
    mark = data[: 1 if image.format == "PPM" else 3].lstrip(b"\xff")
    if image.format != "MPO" and behind.startswith(mark):
        raise SourceUnreadable(
            f"{path}: another picture lies behind the first; store them one by one, or name a film of JPEGs .mjpeg"
        )


def _end_of(image: Image.Image, data: bytes) -> int:
    """Where the first picture ends."""
    if image.format == "JPEG":
        return _jpeg_end(data)
    if image.format == "PNG":
        return data.index(b"IEND") + 8
    if image.format == "BMP":
        return int.from_bytes(data[2:6], "little") or len(data)
    tile = image.tile[0]  # type: ignore[attr-defined]
    if image.mode == "1":
        return len(data)
    if tile.codec_name == "ppm_plain":
        return _plain_end(data, int(tile.offset), image.width * image.height * len(image.getbands()))
    maxval = tile.args[1] if isinstance(tile.args, tuple) and isinstance(tile.args[1], int) else 255
    return int(tile.offset) + image.width * image.height * len(image.getbands()) * (2 if maxval > 255 else 1)


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
