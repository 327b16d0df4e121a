"""What a path holds: told by its content first, then by its suffix."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from stream.errors import OptionError, SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from pathlib import Path

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
STACK_SUFFIXES = frozenset({".mha", ".mhd", ".nhdr", ".nrrd"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)

SUPPORTED = (
    "a video (.mp4, .avi, .mkv, .mov ...), DICOM (.dcm), MetaImage (.mha, .mhd), NRRD (.nrrd, .nhdr),"
    " a folder of images, or phantom:"
)

_DICOM_MAGIC_AT = 128
_METAIMAGE = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")


class Kind(Enum):
    """What a source is read as."""

    IMAGES = "images"
    RECORDED = "recorded"
    DICOM = "dicom"
    STACK = "stack"
    VIDEO = "video"


def kind_of(path: Path) -> Kind:
    """Tells what a path holds. A file without any known mark is taken for a video.

    Raises:
        SourceNotFound: there is nothing there.
        SourceUnreadable: it is empty, cannot be opened, or is neither a file nor a folder.
        OptionError: it is a device, which is a live feed.
    """
    try:
        if path.is_dir():
            return Kind.RECORDED if (path / "frames.jsonl").is_file() else Kind.IMAGES
        is_device, is_file = path.is_char_device(), path.is_file()
        head = b""
        if is_file:
            with path.open("rb") as file:
                head = file.read(_DICOM_MAGIC_AT + 4)
        is_there = is_file or path.exists()
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error
    if not is_there:
        raise SourceNotFound(f"{path}: no such file or folder; check the path")
    if is_device:
        raise OptionError(f"{path}: a live feed, which this version cannot read; record it to a file first")
    if not head:
        raise SourceUnreadable(f"{path}: the file is empty or not a regular one; give {SUPPORTED}")
    return _kind_of_file(path.suffix.lower(), head)


def _kind_of_file(suffix: str, head: bytes) -> Kind:
    if head[_DICOM_MAGIC_AT:] == b"DICM" or suffix in DICOM_SUFFIXES:
        return Kind.DICOM
    if head.startswith(b"NRRD") or _METAIMAGE.match(head) or suffix in STACK_SUFFIXES:
        return Kind.STACK
    return Kind.IMAGES if suffix in IMAGE_SUFFIXES else Kind.VIDEO
