"""MetaImage headers (.mha, .mhd), with the per-frame fields of PLUS sequences (.igs.mha)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import SourceNotFound, SourceUnreadable
from stream.sources.base import join_notes
from stream.sources.files.volumes.frame_fields import FrameFields, HeaderNumber, parse_number
from stream.sources.files.volumes.header import (
    PLANES_NOTE,
    StackHeader,
    axis_layout,
    frame_scales,
    kept_axes,
    scale_note,
    validate_orientation,
    volume_scale,
)
from stream.sources.files.volumes.pixels import frame_blocks, open_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_ELEMENT_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_MAX_HEADER_BYTES = 64 << 20
_MAX_LINE_BYTES = 1 << 20


def read_header(path: Path) -> StackHeader:
    """Reads the header of a MetaImage file and nothing of its pixels.

    `ElementSpacing`, or where it is missing `ElementSize`, is in mm by the format's convention; a picture of a PLUS
    sequence may have its own. Timestamps come from the `Seq_FrameNNNN_Timestamp` fields, in seconds.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is not a MetaImage, or of a kind that is not read.
    """
    fields, frames, header_bytes = _read_fields(path)
    channels = _number(path, fields, "ElementNumberOfChannels", default=1)
    dimensions = _numbers(path, fields, "DimSize", int)
    steps, steps_note = _element_spacing(path, fields), ""
    if steps and len(steps) != len(dimensions):
        steps_note = f"{len(steps)} spacings for {len(dimensions)} axes: taken in their order"
    steps = [*steps, *[math.nan] * len(dimensions)]
    axes = kept_axes(dimensions)
    sizes = [dimensions[axis] for axis in axes]
    steps_mm = [steps[axis] for axis in axes]
    is_sequence = bool(frames.times_s) or "list" in fields.get("Kinds", "")
    if channels == 1:
        layout = axis_layout(sizes, is_sequence=is_sequence)
    else:  # even where one is a number that no colour has: `StackHeader` refuses it
        layout = "c" + "xytz"[: len(sizes)]
        sizes, steps_mm = [channels, *sizes], [math.nan, *steps_mm]
    data_path, data_offset = _data_place(path, fields, header_bytes)
    count = sizes[-1] if layout.endswith("t") else 1
    scale, of_frames = volume_scale(layout, steps_mm), frame_scales(frames)
    orientation, turn = validate_orientation(path, fields)
    return StackHeader(
        path=path,
        data_path=data_path,
        data_offset=data_offset,
        compressed=_flag(fields, "CompressedData"),
        dtype=_element_type(path, fields),
        sizes=tuple(sizes),
        layout=layout,
        scale=scale,
        frame_scales=of_frames,
        orientation=orientation,
        stamps=frames.stamps(count),
        invalid=frozenset(frames.invalid),
        notes=(
            join_notes(steps_note, scale_note(scale, of_frames)),
            turn,
            frames.too_many(count),
            PLANES_NOTE if layout == "xyc" else "",
        ),
    )


def read_image(path: Path) -> NDArray[Any]:
    """Reads a file that holds a single one-channel picture, such as a mask, turned so that depth runs downwards.

    Returns:
        (H, W), with the values and the type of number that are stored.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is not a MetaImage, or holds colour or several pictures.
        SourceTruncated: the file ends before the picture does.
    """
    header = read_header(path)
    if header.layout != "xy":
        sizes = " x ".join(map(str, header.sizes))
        raise SourceUnreadable(f"{path}: holds {sizes} values; expected one picture with one channel")
    with open_pixels(header) as file:
        image = header.shown(header.pixels(next(frame_blocks(header, file))))
    return image.astype(header.dtype.newbyteorder("="))


def read_element_spacing(path: Path) -> tuple[float, float] | None:
    """The distance between pixels in x and y, in whatever unit, of what `read_image` returns; None where undeclared.

    Raises:
        SourceNotFound, SourceUnreadable: there is no header that can be read.
    """
    fields, *_ = _read_fields(path)
    dimensions = _numbers(path, fields, "DimSize", int)
    steps, axes = _element_spacing(path, fields), kept_axes(dimensions)
    if len(axes) < 2 or len(steps) <= axes[1]:
        return None
    x, y = steps[axes[0]], steps[axes[1]]
    return (y, x) if validate_orientation(path, fields)[0][0] in "FN" else (x, y)


def read_slices(path: Path) -> Iterator[NDArray[Any]]:
    """Reads a stack of one-channel pictures, such as label masks, slice by slice.

    Three slices look like one picture with colour in planes; here they are slices.

    Yields:
        (H, W), with the values and the type of number that are stored.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is not a MetaImage, or holds colour.
        SourceTruncated: the file ends before its last slice does.
    """
    header = read_header(path)
    if header.layout not in ("xy", "xyt", "xyc"):
        sizes = " x ".join(map(str, header.sizes))
        raise SourceUnreadable(f"{path}: holds {sizes} values; expected slices with one channel")
    header = replace(header, layout=header.layout.replace("c", "t"), notes=())
    with open_pixels(header) as file:
        for block in frame_blocks(header, file):
            yield header.pixels(block).astype(header.dtype.newbyteorder("="))


def _read_fields(path: Path) -> tuple[dict[str, str], FrameFields, int]:
    """The fields, those of single pictures, and the number of bytes of the header."""
    fields: dict[str, str] = {}
    frames = FrameFields()
    try:
        with path.open("rb") as file:
            while file.tell() < _MAX_HEADER_BYTES:
                line = file.readline(_MAX_LINE_BYTES).decode("utf-8", errors="replace")
                key, separator, value = (part.strip() for part in line.partition("="))
                if not separator:
                    _check_line(path, line, is_first=not fields)
                    break
                if not frames.take(path, key, value):
                    fields[key] = value
                if key == "ElementDataFile":
                    return fields, frames, file.tell()
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error
    raise SourceUnreadable(f"{path}: not a MetaImage file (no line 'ElementDataFile = ...' in its header)")


def _check_line(path: Path, line: str, *, is_first: bool) -> None:
    """Raises SourceUnreadable, naming the line, that breaks the header; not of a file of another kind."""
    if line.strip() and not is_first:
        raise SourceUnreadable(f"{path}: the line {line.strip()[:60]!r} of its header is not of the form 'Key = Value'")


def _data_place(path: Path, fields: dict[str, str], header_bytes: int) -> tuple[Path, int | None]:
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, header_bytes
    if name.startswith("LIST") or "%" in name:
        raise SourceUnreadable(f"{path}: its pixels lie in several files ('{name}'); store them in one .mha")
    skip = _number(path, fields, "HeaderSize", default=0)
    return path.parent / name, skip if skip >= 0 else None


def _element_type(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    name = fields.get("ElementType", "")
    if name not in _ELEMENT_TYPES:
        raise SourceUnreadable(f"{path}: ElementType '{name}' is not one of {', '.join(_ELEMENT_TYPES)}")
    if not _flag(fields, "BinaryData", default="True"):
        raise SourceUnreadable(f"{path}: its pixels are written as text; store it with BinaryData = True")
    is_big_endian = _flag(fields, "ElementByteOrderMSB") or _flag(fields, "BinaryDataByteOrderMSB")
    return np.dtype((">" if is_big_endian else "<") + _ELEMENT_TYPES[name])


def _flag(fields: dict[str, str], key: str, *, default: str = "False") -> bool:
    return fields.get(key, default).lower() in ("true", "t", "yes", "y", "1")


def _element_spacing(path: Path, fields: dict[str, str]) -> list[float]:
    """One number for each axis; writers leave some out, or have some too many."""
    return _numbers(path, fields, "ElementSpacing", float) or _numbers(path, fields, "ElementSize", float)


def _number(path: Path, fields: dict[str, str], key: str, *, default: int) -> int:
    values = _numbers(path, fields, key, int, default=str(default))
    return values[0] if values else default


def _numbers(
    path: Path, fields: dict[str, str], key: str, kind: Callable[[str], HeaderNumber], *, default: str = ""
) -> list[HeaderNumber]:
    return [parse_number(path, key, word, kind) for word in fields.get(key, default).split()]
