"""Reads label masks: PNG and MetaImage in the three codings of the public sets."""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from stream.common.errors import MaskError
from stream.frames.frame import PLAUSIBLE_ASPECT
from stream.sources.decoding import png
from stream.sources.files.images.image_file import DAMAGE, silence_pillow
from stream.sources.files.images.source import natural_path_key
from stream.sources.files.volumes.metaimage import read_element_spacing, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CODINGS = ((0, 1, 2), (0, 7, 8), (0, 127, 255))
"""Background, PS, FH: as in PSFHS and FH-PS-AOP, in IUGC 2024 training, in IUGC 2024 validation and test."""

MASK_SUFFIXES = (".png", ".mha", ".mhd")
OTHER_PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".nii", ".gz", ".nrrd", ".dcm"),
    *(".avif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
)
"""Pictures that were perhaps meant as masks: to pass over them in silence would lose rows."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


MASK_FOLDERS = ("masks", "mask", "label_mha")
"""A folder of one of these names holds masks, and the folders beside it hold something else, such as the pictures."""


def mask_paths(masks: Path) -> list[Path]:
    """The mask files of a folder in natural order (2 before 10), or the one file named.

    Hidden files and files that hold no pictures (.csv, .json, .raw, ...) are passed over.

    Raises:
        MaskError: there is nothing at that path, the folder holds no mask, or a picture of another format.
    """
    found = pictures_in(masks, folders=False)
    foreign = [path for path in found if not is_mask_file(path)]
    if foreign and masks.is_dir():
        raise MaskError(f"{foreign[0]}: {NOT_A_MASK_FORMAT}")
    return found


NOT_A_MASK_FORMAT = "not a mask format; save label masks as 8-bit PNG or MetaImage"


def is_mask_file(path: Path) -> bool:
    """Whether a file has the suffix of a format that masks are read from."""
    return path.suffix.lower() in MASK_SUFFIXES


def pictures_in(masks: Path, *, folders: bool) -> list[Path]:
    """Mask files, and pictures of formats that are no masks, in natural order; a file's path gives that file.

    Args:
        masks: a folder or a file.
        folders: looks into the folders below too; where one of them is named as in `MASK_FOLDERS`, into that alone.

    Raises:
        MaskError: there is nothing at that path, or no mask.
    """
    if masks.is_file():
        return [masks]
    if not masks.is_dir():
        raise MaskError(f"{masks}: no such file or folder; give a mask file or a folder of masks")
    found = _listed(masks, folders=folders)
    if not any(is_mask_file(path) for path in found):
        foreign = next(iter(found), None)
        if foreign:
            raise MaskError(f"{foreign}: {NOT_A_MASK_FORMAT}")
        raise MaskError(f"{masks}: no masks in it; expected files named {', '.join('*' + s for s in MASK_SUFFIXES)}")
    return found


def _is_file_or_lost(path: Path) -> bool:
    """A link that leads nowhere was meant as a file too: to pass over it in silence would lose a row."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _listed(folder: Path, *, folders: bool, seen: set[Path] | None = None) -> list[Path]:
    """The pictures of a folder; a link to a folder is followed, unless what it leads to has been listed."""
    seen = set() if seen is None else seen
    if folder.resolve() in seen:
        return []
    seen.add(folder.resolve())
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise MaskError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    suffixes = (*MASK_SUFFIXES, *OTHER_PICTURE_SUFFIXES)
    found = sorted(
        (path for path in entries if _is_file_or_lost(path) and path.suffix.lower() in suffixes),
        key=natural_path_key,
    )
    if not folders:
        return found
    below = sorted(filter(Path.is_dir, entries), key=lambda path: (path.is_symlink(), natural_path_key(path)))
    named = [path for path in below if path.name.lower() in MASK_FOLDERS]
    return [*found, *(path for inner in named or below for path in _listed(inner, folders=True, seen=seen))]


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Reads a mask file: (H, W) uint8, 0 background, 1 PS, 2 FH, whatever the file's coding.

    Raises:
        MaskError: the file is no sound PNG or MetaImage with one channel, or its codes are not known.
        SourceError: a MetaImage file that is broken, truncated, or of a kind that is not read.
    """
    if path.suffix.lower() in (".mha", ".mhd"):
        return recode(read_image(path), origin=str(path))
    with _png_errors(path):
        data = path.read_bytes()
    return recode(_decode_png(data, origin=str(path)), origin=str(path))


@contextmanager
def _png_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MaskError(f"{path}: cannot be read ({error.strerror})") from error


def mask_pixel_aspect(path: Path) -> float:
    """Width of a mask's pixel over its height, as its file declares it; 1 where it declares nothing.

    A MetaImage file says it by `ElementSpacing`, a PNG by its chunk pHYs (pixels per unit in x and y). Only the ratio
    is taken: a spacing of 1 is often a default, and millimetres are taken from the user alone.

    Raises:
        MaskError: it declares pixels that cannot be.
        SourceError: a MetaImage file that is broken.
    """
    if path.suffix.lower() in (".mha", ".mhd"):
        sides = read_element_spacing(path)
    else:
        with _png_errors(path):
            said = _open_png(path.read_bytes(), origin=str(path)).info
        per_unit = said.get("aspect") or said.get("dpi")
        sides = (per_unit[1], per_unit[0]) if per_unit and any(per_unit) else None
    if sides is None:
        return 1.0
    least, most = PLAUSIBLE_ASPECT
    width, height = sides
    if not (width > 0 and height > 0 and least <= width / height <= most):
        raise MaskError(f"{path}: declares pixels of {width:g} x {height:g}, which cannot be; give --spacing")
    return width / height


def recode(values: NDArray[Any], *, origin: str) -> NDArray[np.uint8]:
    """Turns a mask's own codes into 0 background, 1 PS, 2 FH.

    Convention: the coding is the one of `CODINGS` that holds every value present; zero alone fits all of them.
    Worked value: [[0, 7], [8, 8]] becomes [[0, 1], [2, 2]]; 0 and 255 alone are a head without PS.

    Args:
        values: (H, W), any number type.
        origin: where the mask comes from, for messages.

    Raises:
        MaskError: the values fit no coding.
    """
    present = np.unique(values)
    for coding in CODINGS:
        if np.isin(present, coding).all():
            labels = np.zeros(values.shape, np.uint8)
            labels[values == coding[1]] = 1
            labels[values == coding[2]] = 2
            return labels
    shown = ", ".join(f"{value:g}" for value in present[:8]) + (", ..." if len(present) > 8 else "")
    known = "; ".join("/".join(map(str, coding)) for coding in CODINGS)
    raise MaskError(f"{origin}: holds the values {shown}; expected background/PS/FH coded as one of {known}")


def _decode_png(data: bytes, *, origin: str) -> NDArray[np.uint8]:
    """Grey values or palette indices of a PNG, (H, W)."""
    if not data.startswith(_PNG_SIGNATURE):
        raise MaskError(f"{origin}: not a PNG file; save label masks as 8-bit PNG or MetaImage")
    depth, colour_type = (data[24], data[25]) if len(data) > 25 else (0, -1)
    if colour_type != _PALETTE and (colour_type, depth) != (_GREY, 8):
        kind = _COLOUR_TYPES.get(colour_type, "unknown")
        raise MaskError(f"{origin}: a {depth}-bit {kind} PNG; save label masks as 8-bit grey or with a palette")
    values = np.array(_open_png(data, origin=origin))
    if values.dtype != np.uint8 or values.ndim != 2:
        raise MaskError(f"{origin}: a PNG of {values.dtype} pixels; save each mask as an 8-bit PNG")
    return values


def _open_png(data: bytes, *, origin: str) -> Image.Image:
    """A PNG with one picture, its check sums right and its pixels decoded."""
    try:
        with silence_pillow():
            Image.open(io.BytesIO(data), formats=["PNG"]).verify()  # decoding does not look at the check sums
            image = Image.open(io.BytesIO(data), formats=["PNG"])
            count = getattr(image, "n_frames", 1)
            image.load()
        if not png.has_all_rows(data):
            raise EOFError
    except DAMAGE as error:
        raise MaskError(f"{origin}: the PNG is damaged or cut off; copy or save it again") from error
    if count != 1:
        raise MaskError(f"{origin}: holds {count} pictures; save each mask as a PNG of its own")
    return image
