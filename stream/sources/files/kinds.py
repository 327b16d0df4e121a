"""Recognises what a path holds, by content first, then by suffix."""

from __future__ import annotations

import re
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from stream.common.errors import OptionError, SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
STACK_SUFFIXES = frozenset({".mha", ".mhd", ".nhdr", ".nrrd"})
IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm"),
        *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
VIDEO_SUFFIXES = frozenset(
    {
        *(".avi", ".avif", ".flv", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"),
        ".wmv",
    }
)
UNREAD_SUFFIXES = frozenset(
    {
        *(".dds", ".exr", ".hdr", ".heic", ".heif", ".ico", ".jxl", ".jxr", ".pcx", ".pfm", ".psd", ".sgi", ".svg"),
        *(".tga", ".xbm", ".xpm"),
    }
)
"""Images of formats that are not read."""
ARCHIVE_SUFFIXES = frozenset({".zip"})

SUPPORTED = (
    "a video (.mp4, .avi, .mkv, .mov ...), DICOM (.dcm), MetaImage (.mha, .mhd), NRRD (.nrrd, .nhdr),"
    " an image or a folder of images, a .zip of any of them, or phantom:"
)

_DICOM_MAGIC_AT = 128
_METAIMAGE = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")
_IMAGE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0\0\0\0|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|P[1-7fF][\s#]"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    re.DOTALL,
)
_VIDEO = re.compile(
    rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01\xba|FLV\x01|OggS|\x30\x26\xb2\x75|nut/multimedia", re.DOTALL
)
_ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")
_DATA_SET = re.compile(
    rb"[\x02\x08]\0.\0(?:(?:AE|CS|DA|DT|LO|OB|SH|SQ|TM|UI|UL|UR)|.\0\0\0)|\0[\x02\x08]\0.(?:AE|CS|DA|DT|LO|OB|SH|SQ|TM|UI|UL|UR)",
    re.DOTALL,
)


class SourceKind(Enum):
    """What a source is read as."""

    IMAGES = "images"
    RECORDED = "recorded"
    DICOM = "dicom"
    STACK = "stack"
    ARCHIVE = "archive"
    VIDEO = "video"


def kind_of(path: Path) -> SourceKind:
    """Tells what a path holds. A file without any known mark is taken for a video.

    Raises:
        SourceNotFound: there is nothing there.
        SourceUnreadable: it is empty, cannot be opened, or is neither a file nor a folder.
        OptionError: it is a device, which is a live feed.
    """
    try:
        if path.is_dir():
            return _kind_of_folder(path)
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
        raise OptionError(f"{path}: is a device; a capture card or camera is watched with: partum attach v4l2:{path}")
    if not head:
        raise SourceUnreadable(f"{path}: the file is empty or not a regular one; give {SUPPORTED}")
    return _kind_of_file(path.suffix.lower(), head)


def _kind_of_folder(path: Path) -> SourceKind:
    """A folder of DICOM files, unless there is an image among them."""
    if (path / "frames.jsonl").is_file():
        return SourceKind.RECORDED
    if (path / "DICOMDIR").is_file():
        return SourceKind.DICOM
    files = [entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.is_file()]
    is_of_dicom = any(map(is_dicom, files)) and not any(map(is_image, files))
    return SourceKind.DICOM if is_of_dicom else SourceKind.IMAGES


def is_dicom(path: Path) -> bool:
    """Whether a file of a folder is DICOM, or by its name should be."""
    return not path.name.startswith(".") and _kind_of_file(path.suffix.lower(), _head(path)) is SourceKind.DICOM


def is_image(path: Path) -> bool:
    """Whether a file of a folder is an image, or by its name should be one."""
    return path.suffix.lower() in IMAGE_SUFFIXES or _head_kind(_head(path)) is SourceKind.IMAGES


def is_recording(path: Path) -> bool:
    """Whether a file of a folder is a recording of another kind, or by its name should be one."""
    named = path.suffix.lower() in DICOM_SUFFIXES | STACK_SUFFIXES | VIDEO_SUFFIXES | ARCHIVE_SUFFIXES
    return not is_image(path) and (named or _head_kind(_head(path)) is not None)


def recognised_kind(path: Path) -> SourceKind | None:
    """What a file of a folder is read as; None where neither its first bytes nor its suffix are a recording's."""
    head, suffix = _head(path), path.suffix.lower()
    suffixes = VIDEO_SUFFIXES.union(*_BY_SUFFIX.values())
    return _kind_of_file(suffix, head) if suffix in suffixes or _head_kind(head) else None


def count_by_suffix(files: Iterable[Path]) -> list[str]:
    """How many there are of each suffix, in words."""
    suffixes = Counter(file.suffix.lower() or "without suffix" for file in files)
    return [f"{count} {suffix}" for suffix, count in sorted(suffixes.items())]


def _head(path: Path) -> bytes:
    """A file's first bytes; none where it cannot be read, which is said when its turn comes."""
    try:
        with path.open("rb") as file:
            return file.read(_DICOM_MAGIC_AT + 4)
    except OSError:
        return b""


def _head_kind(head: bytes) -> SourceKind | None:
    """What the first bytes of a file say; None where they say nothing."""
    if head[_DICOM_MAGIC_AT:] == b"DICM" or begins_data_set(head):
        return SourceKind.DICOM
    if head.startswith(b"NRRD") or _METAIMAGE.match(head):
        return SourceKind.STACK
    if _IMAGE.match(head):
        return SourceKind.IMAGES
    if _VIDEO.match(head):
        return SourceKind.VIDEO
    return SourceKind.ARCHIVE if head.startswith(_ARCHIVE) else None


def begins_data_set(head: bytes) -> bool:
    """Whether a file without DICOM's preamble begins as its data sets do: with an element of group 2 or 8."""
    return _DATA_SET.match(head) is not None


def _kind_of_file(suffix: str, head: bytes) -> SourceKind:
    kind = _head_kind(head)
    if kind is SourceKind.IMAGES and suffix in (".mjpeg", ".mjpg"):  # JPEGs in a row
        return SourceKind.VIDEO
    if kind is None or (kind is not SourceKind.DICOM and suffix in DICOM_SUFFIXES):
        kind = next((kind for kind, suffixes in _BY_SUFFIX.items() if suffix in suffixes), SourceKind.VIDEO)
    return kind


_BY_SUFFIX = {
    SourceKind.DICOM: DICOM_SUFFIXES,
    SourceKind.STACK: STACK_SUFFIXES,
    SourceKind.IMAGES: IMAGE_SUFFIXES,
    SourceKind.ARCHIVE: ARCHIVE_SUFFIXES,
}
