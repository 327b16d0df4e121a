"""TIFF details beyond Pillow: pages, ImageJ metadata, layouts it would garble."""

from __future__ import annotations

import ctypes
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image, _imaging

from stream.common.errors import SourceUnreadable

if TYPE_CHECKING:
    from pathlib import Path

_NEW_SUBFILE_TYPE, BITS, _PHOTOMETRIC, _DESCRIPTION, _PLANAR, _SAMPLE_FORMAT = 254, 258, 262, 270, 284, 339
_REDUCED_OR_MASK = 5
_WHITE_IS_ZERO, _SEPARATE_PLANES, _UNSIGNED = 0, 2, 1
_IMAGEJ_CHANNELS = re.compile(r"^channels=(\d+)$", re.MULTILINE)
_IMAGEJ_COUNT = re.compile(r"^images=(\d+)$", re.MULTILINE)
_IMAGEJ_INTERVAL_S = re.compile(r"^finterval=([0-9.eE+-]+)$", re.MULTILINE)


def _silence_libtiff() -> None:
    """Keeps the C library inside Pillow from writing its complaints to stderr: errors are raised all the same."""
    try:
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(library, name)(None)
    except (OSError, AttributeError):  # a Pillow that was built in another way
        return


_silence_libtiff()


def pages(path: Path, image: Image.Image) -> list[int]:
    """Numbers of the pages to be shown: thumbnails and masks are none.

    Raises:
        SourceUnreadable: the file declares another number, or is cut off.
    """
    count: int = getattr(image, "n_frames", 1)
    linked = _linked_pages(path)
    if linked != count:
        raise SourceUnreadable(f"{path}: cut off or damaged: {count} pages are readable of the {linked} that it links")
    declared = _IMAGEJ_COUNT.search(imagej(image))
    if declared and int(declared[1]) != count:
        raise SourceUnreadable(
            f"{path}: declares {declared[1]} pictures and holds {count}; save it as a TIFF of as many pages"
        )
    channels = _IMAGEJ_CHANNELS.search(imagej(image))
    if channels and int(channels[1]) > 1:
        raise SourceUnreadable(f"{path}: has {channels[1]} channels, each in pages of its own; export one of them")
    shown = []
    for page in range(count):
        image.seek(page)
        if not int(tag(image, _NEW_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK:
            shown.append(page)
    image.seek(0)
    return shown or [0]


def _linked_pages(path: Path) -> int:
    """Pages that a TIFF's directories link, one to the next; one that lies beyond the end of the file counts."""
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        is_big = int.from_bytes(head[2:4], order) == 43
        width, counter, entry = (8, 8, 20) if is_big else (4, 2, 12)
        offset, seen = int.from_bytes(head[width : 2 * width], order), set[int]()
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            entries = int.from_bytes(file.read(counter), order)
            file.seek(offset + counter + entry * entries)
            link = file.read(width)
            offset = int.from_bytes(link, order)
            if len(link) < width:
                return len(seen) + 1  # the directory itself is cut
        return len(seen)


def tag(image: Image.Image, number: int, default: Any) -> Any:
    """A field of a TIFF page; the first of several values."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) and value else value


def imagej(image: Image.Image) -> str:
    """What ImageJ wrote of the film; "" where another program wrote it."""
    text = tag(image, _DESCRIPTION, "")
    return text.replace("\r\n", "\n") if isinstance(text, str) and text.startswith("ImageJ=") else ""


def imagej_period_s(image: Image.Image) -> Fraction | None:
    """From picture to picture, where ImageJ says it and it can be."""
    interval = _IMAGEJ_INTERVAL_S.search(imagej(image))
    seconds = float(interval[1]) if interval else 0.0
    return Fraction(seconds).limit_denominator(1_000_000) if 1e-3 <= seconds <= 60 else None


def check_layout(path: Path, image: Image.Image) -> None:
    """Raises SourceUnreadable for a TIFF page that Pillow would garble."""
    bits = int(tag(image, BITS, 1))
    if tag(image, _SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED:
        raise SourceUnreadable(f"{path}: its levels are signed or floating point; store it as 8 or 16 unsigned bits")
    if bits > 8 and tag(image, _PLANAR, 1) == _SEPARATE_PLANES:
        raise SourceUnreadable(f"{path}: a TIFF of {bits} bits in planes; store it as grey, or by pixel")


def is_inverted(image: Image.Image) -> bool:
    """Whether levels still run from white to black: Pillow turns those of up to 8 bits."""
    return tag(image, _PHOTOMETRIC, None) == _WHITE_IS_ZERO and image.mode.startswith("I")
