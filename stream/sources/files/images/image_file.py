"""One image file: a still, or a film in a container for pictures (animated GIF, WebP, PNG; MPO; TIFF of many pages).

Pillow decodes. What it would get wrong without a word is put right here, or refused: TIFF of more than 8 bits, JPEG
with a hole, and pictures that lie behind the first where the format declares none.
"""

from __future__ import annotations

import math
import struct
import threading
import warnings
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from stream.common.errors import SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frames.frame import PLAUSIBLE_ASPECT
from stream.sources.decoding import jpeg
from stream.sources.files.images import tiff
from stream.sources.files.images.checks import check_end, coding_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read of all that Pillow knows; MPO counts as JPEG."""

MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 25
"""A header that asks for more is taken for a broken one."""

DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError),
    *(RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises on damaged files."""

_GIF_TRAILER = b";"
"""Its last byte; nothing else in the format tells that a GIF was cut off."""
_GIF_LEAST_MS, _GIF_USUAL_MS = 20, 100
"""Viewers show a GIF picture that asks for less than the first for the second."""

ROUNDING = 0.005
"""Resolutions that differ by less are the same: files keep them as whole numbers."""

_ORIENTATION, _FIRST_ON_ITS_SIDE = 274, 5

_remarks_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        count: of pictures in it.
        is_wide: its levels fill 16 bits, or the lower part of them.
        period_s: from picture to picture, where one number holds for all (ImageJ).
    """

    count: int
    is_wide: bool
    period_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class ImagePage:
    """One picture as stored, and how long it is shown.

    Attributes:
        levels: (H, W) uint8, or uint16 where the file is wide.
        duration_s: None where the file does not say.
        aspect: width of a pixel over its height, by the resolutions that the file declares; 1 where it declares none,
            None where they cannot be.
    """

    levels: NDArray[np.uint8] | NDArray[np.uint16]
    duration_s: Fraction | None = None
    aspect: float | None = 1.0


def image_facts(path: Path) -> ImageFacts:
    """Reads the header.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is no image that can be read, or holds another number of pictures than it declares.
    """
    with _opened(path) as image, silence_pillow():
        return ImageFacts(len(_pages(path, image)), _is_wide(image), tiff.imagej_period_s(image))


def read_pictures(path: Path) -> Iterator[ImagePage]:
    """Yields the pictures of a file, upright, one at a time.

    Convention: colour becomes grey by BT.601, 0.299 R + 0.587 G + 0.114 B; alpha is ignored; palettes are looked up;
    0 is black; the EXIF orientation is applied. Worked value: (10, 200, 90) becomes 131.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is damaged, cut off, or of a kind that is not read.
        SourceTruncated: a film is damaged or cut off behind its first picture.
    """
    with _opened(path) as image:
        with silence_pillow():
            check_end(path, image)
            pages = _pages(path, image)
        for count, page in enumerate(pages):
            try:
                with silence_pillow():
                    picture = _picture(path, image, page)
            except DAMAGE as error:
                if count == 0 or isinstance(error, SourceUnreadable):
                    raise
                raise _cut(path, count, len(pages)) from error
            yield picture
        if image.format == "GIF" and not path.read_bytes().rstrip(b"\0").endswith(_GIF_TRAILER):
            raise _cut(path, len(pages), None)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """The one picture of a file as grey levels, (H, W); 16 bits are scaled by 255/65535.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it cannot be read, or holds several pictures.
    """
    count = image_facts(path).count
    if count != 1:
        raise SourceUnreadable(f"{path}: holds {count} pictures where one is wanted; store them one by one")
    return to_grey(next(read_pictures(path)).levels, white=0xFFFF)


def to_grey(levels: NDArray[np.uint8] | NDArray[np.uint16], *, white: int) -> NDArray[np.uint8]:
    """8-bit levels as they are; wider ones scaled so that `white` becomes 255, rounding."""
    if levels.dtype == np.uint8:
        return levels.astype(np.uint8, copy=False)
    scaled = (levels.astype(np.uint32) * 255 + white // 2) // white
    return np.minimum(scaled, 255).astype(np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, with all that goes wrong while it is read told in one line."""
    try:
        # A file and not its path, which Pillow would map: it then takes the size of a turned TIFF for the stored one.
        with path.open("rb") as file:
            with silence_pillow():
                image = Image.open(file, formats=FORMATS)
            if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width}x{image.height} pixels")
            yield image
    except (SourceTruncated, SourceUnreadable):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more pixels") from error
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except DAMAGE as error:
        raise SourceUnreadable(f"{path}: {_reason(path)}") from error


def _too_large(path: Path, asked: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path}: its header asks for {asked}, and {MAX_PIXELS >> 20} million are read; make it smaller, or copy it"
        " again where the header is damaged"
    )


def _reason(path: Path) -> str:
    """Why an image could not be read: it is sound, but of a kind that is not decoded here; else it is damaged."""
    with suppress(OSError):
        data = path.read_bytes()
        words = coding_words(data) if data.startswith(b"\xff\xd8") else ""
        if words:
            return f"{words}, which cannot be decoded here; export it as PNG"
    return "not an image that can be decoded, or cut off; copy it again or take it away"


@contextmanager
def silence_pillow() -> Iterator[None]:
    """Keeps Pillow's remarks on sloppy files from the screen. Warning filters belong to the whole process."""
    with _remarks_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pages(path: Path, image: Image.Image) -> list[int]:
    """Numbers of the pictures to be shown; the stand-in of an animated PNG is none."""
    if image.format == "TIFF":
        return tiff.pages(path, image)
    first = 1 if image.format == "PNG" and image.info.get("default_image") else 0
    return list(range(first, getattr(image, "n_frames", 1)))


def _duration_s(image: Image.Image) -> Fraction | None:
    """How long the picture is shown, by the file."""
    milliseconds = image.info.get("duration")
    if image.format == "GIF" and (milliseconds or 0) < _GIF_LEAST_MS:
        milliseconds = _GIF_USUAL_MS
    return Fraction(milliseconds).limit_denominator(1000) / 1000 if milliseconds else None


def _is_wide(image: Image.Image) -> bool:
    """Whether 16-bit levels may fill the lower bits only: what PNM and JPEG 2000 declare is scaled by Pillow."""
    return image.mode.startswith("I") and image.format in ("PNG", "TIFF") and int(tiff.tag(image, tiff.BITS, 16)) == 16


def _levels(path: Path, image: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W), 8 or 16 bits."""
    mode = image.mode
    if mode.startswith("I"):
        wide = np.asarray(image)
        if wide.dtype.kind not in "iu" or wide.min() < 0 or wide.max() > 0xFFFF:
            raise SourceUnreadable(f"{path}: its levels do not fit 16 bits; store it with 8 or 16 bits")
        levels: NDArray[np.uint16] = wide.astype(np.uint16)
        bits = int(tiff.tag(image, tiff.BITS, 16))
        return levels if bits >= 16 else (levels * (0xFFFF / ((1 << bits) - 1))).astype(np.uint16)
    if mode == "F":
        raise SourceUnreadable(f"{path}: its levels are floating point; store it with 8 or 16 bits")
    if mode not in ("1", "L", "LA", "La", "RGB"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def _picture(path: Path, image: Image.Image, page: int) -> ImagePage:
    """One of the pictures of an open file."""
    image.seek(page)
    is_tiff = image.format == "TIFF"
    if is_tiff:
        tiff.check_layout(path, image)
    is_on_its_side = image.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_ITS_SIDE
    if image.format == "MPO" and not jpeg.is_whole(path.read_bytes()[int(getattr(image, "offset", 0)) :]):
        raise EOFError
    image.load()  # turns a TIFF by its orientation, and then says no more of it
    levels = _levels(path, ImageOps.exif_transpose(image))
    aspect = _gif_aspect(path) if image.format == "GIF" else image_pixel_aspect(image)
    if is_on_its_side and aspect:
        aspect = 1 / aspect
    return ImagePage(np.invert(levels) if is_tiff and tiff.is_inverted(image) else levels, _duration_s(image), aspect)


def image_pixel_aspect(image: Image.Image) -> float | None:
    """Width of a stored pixel over its height, by the pixels an inch (or any unit) in x and y that the file declares.

    1 where it declares none; None where what it declares cannot be.
    """
    per_unit = image.info.get("aspect") or image.info.get("dpi") or image.info.get("jfif_density")
    try:
        across, down = (float(value) for value in per_unit or (1, 1))
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    if not (0 < across < math.inf and 0 < down < math.inf):
        return 1.0
    ratio = down / across
    if abs(ratio - 1) < ROUNDING:
        return 1.0
    narrow, wide = PLAUSIBLE_ASPECT
    return ratio if narrow <= ratio <= wide else None


def _gif_aspect(path: Path) -> float:
    """Of the header's byte 12: 0 says nothing, else (value + 15) / 64, 1/4 to 4."""
    with path.open("rb") as file:
        value = file.read(13)[12]
    return (value + 15) / 64 if value else 1.0


def _cut(path: Path, count: int, declared: int | None) -> SourceTruncated:
    of_declared = f" of {declared}" if declared else ""
    return SourceTruncated(f"{path}: cut off or damaged after {count}{of_declared} pictures; copy the file again")
