"""One image file: a still, or a film in a container for pictures (animated GIF, WebP, PNG; MPO; TIFF of many pages).

Pillow decodes. What it would get wrong without a word is put right here, or refused: TIFF of more than 8 bits, JPEG
with a hole, and pictures that lie behind the first where the format declares none.
"""

from __future__ import annotations

import ctypes
import math
import re
import struct
import threading
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, _imaging

from stream.errors import SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frame import PLAUSIBLE_ASPECT
from stream.sources.image_checks import check_end, linked_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read of all that Pillow knows; MPO counts as JPEG."""

MAX_PIXELS = 1 << 25
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
_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _PLANAR, _SAMPLE_FORMAT = 254, 258, 262, 270, 284, 339
_REDUCED_OR_MASK = 5
_WHITE_IS_ZERO, _SEPARATE_PLANES, _UNSIGNED = 0, 2, 1
_IMAGEJ_CHANNELS = re.compile(r"^channels=(\d+)$", re.MULTILINE)
_IMAGEJ_COUNT = re.compile(r"^images=(\d+)$", re.MULTILINE)
_IMAGEJ_INTERVAL_S = re.compile(r"^finterval=([0-9.eE+-]+)$", re.MULTILINE)

_remarks_lock = threading.Lock()


def _silence_libtiff() -> None:
    """Keeps the C library inside Pillow from writing its complaints to stderr: errors are raised all the same."""
    try:
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(library, name)(None)
    except (OSError, AttributeError):  # a Pillow that was built in another way
        return


_silence_libtiff()


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
class Picture:
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
    with _opened(path) as image, quiet():
        interval = _IMAGEJ_INTERVAL_S.search(_imagej(image))
        return ImageFacts(len(_pages(path, image)), _is_wide(image), _period_s(interval[1]) if interval else None)


def read_pictures(path: Path) -> Iterator[Picture]:
    """Yields the pictures of a file, upright, one at a time.

    Convention: colour becomes grey by BT.601, 0.299 R + 0.587 G + 0.114 B; alpha is ignored; palettes are looked up;
    0 is black; the EXIF orientation is applied. Worked value: (10, 200, 90) becomes 131.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is damaged, cut off, or of a kind that is not read.
        SourceTruncated: a film is damaged or cut off behind its first picture.
    """
    with _opened(path) as image:
        with quiet():
            check_end(path, image)
            pages = _pages(path, image)
        for count, page in enumerate(pages):
            try:
                with quiet():
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
            with quiet():
                image = Image.open(file, formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise SourceUnreadable(
                    f"{path}: its header asks for {image.width}x{image.height} pixels; the header is damaged"
                )
            yield image
    except (SourceTruncated, SourceUnreadable):
        raise
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except DAMAGE as error:
        raise SourceUnreadable(
            f"{path}: not an image that can be decoded, or cut off; copy it again or take it away"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Pillow's remarks on sloppy files from the screen. Warning filters belong to the whole process."""
    with _remarks_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pages(path: Path, image: Image.Image) -> list[int]:
    """Numbers of the pictures to be shown: thumbnails and masks of a TIFF are none, nor is a PNG's stand-in.

    Raises SourceUnreadable where the file declares another number.
    """
    count: int = getattr(image, "n_frames", 1)
    if image.format == "PNG" and image.info.get("default_image"):
        return list(range(1, count))
    if image.format != "TIFF":
        return list(range(count))
    linked = linked_pages(path)
    if linked != count:
        raise SourceUnreadable(f"{path}: cut off or damaged: {count} pages are readable of the {linked} that it links")
    declared = _IMAGEJ_COUNT.search(_imagej(image))
    if declared and int(declared[1]) != count:
        raise SourceUnreadable(
            f"{path}: declares {declared[1]} pictures and holds {count}; save it as a TIFF of as many pages"
        )
    channels = _IMAGEJ_CHANNELS.search(_imagej(image))
    if channels and int(channels[1]) > 1:
        raise SourceUnreadable(f"{path}: has {channels[1]} channels, each in pages of its own; export one of them")
    pages = []
    for page in range(count):
        image.seek(page)
        if not int(_tag(image, _NEW_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK:
            pages.append(page)
    image.seek(0)
    return pages or [0]


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    """A field of a TIFF page; the first of several values."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) and value else value


def _imagej(image: Image.Image) -> str:
    """What ImageJ wrote of the film; "" where another program wrote it."""
    text = _tag(image, _DESCRIPTION, "")
    return text.replace("\r\n", "\n") if isinstance(text, str) and text.startswith("ImageJ=") else ""


def _period_s(text: str) -> Fraction | None:
    seconds = float(text)
    return Fraction(seconds).limit_denominator(1_000_000) if 1e-3 <= seconds <= 60 else None


def _duration_s(image: Image.Image) -> Fraction | None:
    """How long the picture is shown, by the file."""
    milliseconds = image.info.get("duration")
    if image.format == "GIF" and (milliseconds or 0) < _GIF_LEAST_MS:
        milliseconds = _GIF_USUAL_MS
    return Fraction(milliseconds).limit_denominator(1000) / 1000 if milliseconds else None


def _is_wide(image: Image.Image) -> bool:
    """Whether 16-bit levels may fill the lower bits only: what PNM and JPEG 2000 declare is scaled by Pillow."""
    return image.mode.startswith("I") and image.format in ("PNG", "TIFF") and int(_tag(image, _BITS, 16)) == 16


def _check_layout(path: Path, image: Image.Image) -> None:
    """Raises SourceUnreadable for a TIFF page that Pillow would garble."""
    if image.format != "TIFF":
        return
    bits = int(_tag(image, _BITS, 1))
    if _tag(image, _SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED:
        raise SourceUnreadable(f"{path}: its levels are signed or floating point; store it as 8 or 16 unsigned bits")
    if bits > 8 and _tag(image, _PLANAR, 1) == _SEPARATE_PLANES:
        raise SourceUnreadable(f"{path}: a TIFF of {bits} bits in planes; store it as grey, or by pixel")


def _is_inverted(image: Image.Image) -> bool:
    """Whether levels still run from white to black: Pillow turns those of up to 8 bits."""
    return image.format == "TIFF" and _tag(image, _PHOTOMETRIC, None) == _WHITE_IS_ZERO and image.mode.startswith("I")


def _levels(path: Path, image: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W), 8 or 16 bits."""
    mode = image.mode
    if mode.startswith("I"):
        wide = np.asarray(image)
        if wide.dtype.kind not in "iu" or wide.min() < 0 or wide.max() > 0xFFFF:
            raise SourceUnreadable(f"{path}: its levels do not fit 16 bits; store it with 8 or 16 bits")
        levels: NDArray[np.uint16] = wide.astype(np.uint16)
        bits = int(_tag(image, _BITS, 16))
        return levels if bits >= 16 else (levels * (0xFFFF / ((1 << bits) - 1))).astype(np.uint16)
    if mode == "F":
        raise SourceUnreadable(f"{path}: its levels are floating point; store it with 8 or 16 bits")
    if mode not in ("1", "L", "LA", "La", "RGB"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def _picture(path: Path, image: Image.Image, page: int) -> Picture:
    """One of the pictures of an open file."""
    image.seek(page)
    _check_layout(path, image)
    is_on_its_side = image.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_ITS_SIDE
    image.load()  # turns a TIFF by its orientation, and then says no more of it
    levels = _levels(path, ImageOps.exif_transpose(image))
    aspect = _gif_aspect(path) if image.format == "GIF" else pixel_aspect(image)
    if is_on_its_side and aspect:
        aspect = 1 / aspect
    return Picture(np.invert(levels) if _is_inverted(image) else levels, _duration_s(image), aspect)


def pixel_aspect(image: Image.Image) -> float | None:
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
