"""NRRD headers (.nrrd, .nhdr), with the per-frame fields of PLUS sequences."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import SourceNotFound, SourceUnreadable
from stream.sources.base import RATE_NOTE, join_notes
from stream.sources.files.volumes.frame_fields import FrameFields, parse_number
from stream.sources.files.volumes.header import (
    PLANES_NOTE,
    UNKNOWN_SCALE,
    StackHeader,
    VolumeScale,
    axis_layout,
    frame_scales,
    kept_axes,
    scale_note,
    validate_orientation,
)
from stream.sources.timestamps import Timestamps, plausible_timestamps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}

_COLOUR_KINDS = frozenset({"rgb-color", "3-color", "rgba-color", "4-color", "vector"})
_SPATIAL_KINDS = frozenset({"domain", "space"})
_TIME_KINDS = frozenset({"list", "time"})
_MM_PER_UNIT = {
    **dict.fromkeys(("", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    "cm": 10.0,
    "m": 1000.0,
    "um": 0.001,
    "\u00b5m": 0.001,
    "\u03bcm": 0.001,
    "in": 25.4,
    "inch": 25.4,
}
"""Both micro signs."""

_BOUNDS = {"axis mins", "axis maxs", "axismins", "axismaxs"}
_S_PER_UNIT = {"s": 1.0, "sec": 1.0, "ms": 0.001, "us": 1e-6}
_MAX_HEADER_BYTES = 64 << 20
_MAX_LINE_BYTES = 1 << 20


def read_header(path: Path) -> StackHeader:
    """Reads the header of an NRRD file and nothing of its pixels.

    Spacing comes from `spacings`, or from the lengths of `space directions`, in mm unless `units` or
    `space units` name another unit; a picture of a PLUS sequence may have its own. Timestamps come from the
    `Seq_FrameNNNN_Timestamp` fields of PLUS or the `axis N index values` of Slicer, else from the step of the last
    axis, where that is in seconds or parts of them.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is not an NRRD file, or of a kind that is not read.
    """
    fields, frames, header_bytes = _read_fields(path)
    all_sizes = [parse_number(path, "sizes", word, int) for word in fields.get("sizes", "").split()]
    kinds = fields.get("kinds", "").lower().split()
    axes = kept_axes(all_sizes)
    sizes = [all_sizes[axis] for axis in axes]
    kinds = [kinds[axis] for axis in axes] if len(kinds) == len(all_sizes) else []
    layout = _layout(path, kinds) or axis_layout(sizes, is_sequence=bool(frames.times_s))
    data_path, data_offset = _data_place(path, fields, header_bytes)
    steps = _steps(path, fields, len(all_sizes))
    scale, of_frames = _scale(layout, [steps[axis] for axis in axes]), frame_scales(frames)
    if _BOUNDS & set(fields) and not {"spacings", "space directions"} & set(fields):
        scale = VolumeScale(None, None, "a scale by axis mins and maxs is not read")
    orientation, turn = validate_orientation(path, fields)
    count = sizes[layout.index("t")] if "t" in layout and len(layout) == len(sizes) else 1
    is_guess = layout == "xyc" and not kinds
    stamps = frames.stamps(count)
    if not frames.times_s and count > 1:
        stamps = _stamps(path, fields, axes[layout.index("t")], count)
    return StackHeader(
        path=path,
        data_path=data_path,
        data_offset=data_offset,
        compressed=_is_compressed(path, fields),
        dtype=_element_type(path, fields),
        sizes=tuple(sizes),
        layout=layout,
        scale=scale,
        frame_scales=of_frames,
        orientation=orientation,
        stamps=stamps,
        invalid=frozenset(frames.invalid),
        notes=(scale_note(scale, of_frames), turn, frames.too_many(count), PLANES_NOTE if is_guess else ""),
    )


def _read_fields(path: Path) -> tuple[dict[str, str], FrameFields, int]:
    """Fields (names in lower case) and key/value pairs, those of single pictures, and the bytes of the header."""
    fields: dict[str, str] = {}
    frames = FrameFields()
    try:
        with path.open("rb") as file:
            if not file.readline(_MAX_LINE_BYTES).startswith(b"NRRD"):
                raise SourceUnreadable(f"{path}: not an NRRD file (it does not begin with 'NRRD')")
            while file.tell() < _MAX_HEADER_BYTES:
                line = file.readline(_MAX_LINE_BYTES).decode("utf-8", errors="replace").strip()
                if not line:
                    break
                key, is_pair, value = (part.strip() for part in line.partition(":="))
                if not is_pair:
                    key, _, value = (part.strip() for part in line.partition(":"))
                    fields[key.lower()] = value
                elif not frames.take(path, key, value):
                    fields[key] = value
            return fields, frames, file.tell()
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error


def _layout(path: Path, kinds: list[str]) -> str:
    """The meaning of the axes by their kinds; "" where a kind is not given."""
    if not kinds or not set(kinds).isdisjoint({"none", "???"}):
        return ""
    other = next((kind for kind in kinds if kind not in _COLOUR_KINDS | _SPATIAL_KINDS | _TIME_KINDS), None)
    if other is not None:
        raise SourceUnreadable(f"{path}: has an axis of kind '{other[:40]}'; space, time and RGB colour can be read")
    spatial = iter("xyz" if _TIME_KINDS & set(kinds) else "xyt")
    return "".join(
        "c" if kind in _COLOUR_KINDS else "t" if kind in _TIME_KINDS else next(spatial, "z") for kind in kinds
    )


def _stamps(path: Path, fields: dict[str, str], axis: int, count: int) -> Timestamps:
    """Times of the pictures that lie along an axis: Slicer's index values, else the axis's own step."""
    period_s = _period_s(path, fields, axis)
    words = fields.get(f"axis {axis} index values", "").split()
    units, labels = _words(fields, "units"), _words(fields, "labels")
    unit, label = (texts[axis] if axis < len(texts) else "" for texts in (units, labels))
    is_time = unit in ("", *_S_PER_UNIT) and label.lower() in ("", "t", "time")
    if not words or not is_time or fields.get(f"axis {axis} index type", "numeric") != "numeric":
        return plausible_timestamps([], period_s=period_s)
    scale = _S_PER_UNIT.get(unit, 1.0)
    try:
        times_s = [float(word) * scale for word in words[:count]]
    except ValueError:
        return replace(
            plausible_timestamps([], period_s=period_s), note=f"index values that are no numbers: {RATE_NOTE}"
        )
    stamps = plausible_timestamps(times_s, period_s=period_s)
    mismatch = f"{count} frames, {len(words)} index values" if len(words) != count else ""
    return replace(stamps, note=join_notes(mismatch, stamps.note))


def _steps(path: Path, fields: dict[str, str], count: int) -> list[tuple[float, str]]:
    """Step along each axis, nan where there is none, and its unit."""
    if "space directions" in fields:
        vectors = re.findall(r"\([^)]*\)|\S+", fields["space directions"])
        steps, units = [_length(path, vector) for vector in vectors], _words(fields, "space units")[:1] * count
    else:
        steps = [parse_number(path, "spacings", word, float) for word in fields.get("spacings", "").split()]
        units = _words(fields, "units")
    if len(steps) != count:
        return [(math.nan, "")] * count
    units += [""] * (count - len(units))
    return list(zip(steps, units, strict=False))


def _scale(layout: str, steps: Sequence[tuple[float, str]]) -> VolumeScale:
    """Scale of columns and rows; where their unit is not known, the shape of the pixels still is."""
    if "x" not in layout or "y" not in layout or len(steps) != len(layout):
        return UNKNOWN_SCALE
    (x, x_unit), (y, y_unit) = steps[layout.index("x")], steps[layout.index("y")]
    x_factor, y_factor = (_MM_PER_UNIT.get(unit.lower(), math.nan) for unit in (x_unit, y_unit))
    is_understood = not (math.isnan(x_factor) or math.isnan(y_factor))
    if not is_understood and x_unit == y_unit:
        return VolumeScale.declared(x, y, unit=x_unit)
    if not is_understood and x and y and math.isfinite(x) and math.isfinite(y):
        return VolumeScale(None, None, f"a scale in {x_unit[:20]!r} and {y_unit[:20]!r} is not understood")
    return VolumeScale.declared(x * x_factor, y * y_factor)


def _length(path: Path, vector: str) -> float:
    if not vector.startswith("("):
        return math.nan
    return math.hypot(*(parse_number(path, "space directions", part, float) for part in vector.strip("()").split(",")))


def _words(fields: dict[str, str], key: str) -> list[str]:
    """The quoted words of a field, one for each axis; they may be empty."""
    return re.findall(r'"([^"]*)"', fields.get(key, ""))


def _period_s(path: Path, fields: dict[str, str], axis: int) -> float | None:
    """Step of an axis in seconds, where its unit is one of time and the step is a number."""
    steps, units = fields.get("spacings", "").split(), _words(fields, "units")
    if axis >= len(steps) or len(units) != len(steps) or units[axis] not in _S_PER_UNIT:
        return None
    step_s = parse_number(path, "spacings", steps[axis], float) * _S_PER_UNIT[units[axis]]
    return step_s if math.isfinite(step_s) and step_s > 0 else None


def _data_place(path: Path, fields: dict[str, str], header_bytes: int) -> tuple[Path, int | None]:
    skip = parse_number(path, "byte skip", fields.get("byte skip", fields.get("byteskip", "0")), int)
    if fields.get("line skip", fields.get("lineskip", "0")) != "0" or (skip and _is_compressed(path, fields)):
        raise SourceUnreadable(f"{path}: skips lines or compressed bytes before its pixels; store it without")
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return path, header_bytes + skip if skip >= 0 else None
    if name.startswith("LIST") or "%" in name:
        raise SourceUnreadable(f"{path}: its pixels lie in several files ('{name}'); store them in one .nrrd")
    return path.parent / name, skip if skip >= 0 else None


def _is_compressed(path: Path, fields: dict[str, str]) -> bool:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise SourceUnreadable(f"{path}: encoding '{encoding}' is not one of raw, gzip")
    return encoding != "raw"


def _element_type(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    name = fields.get("type", "")
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise SourceUnreadable(f"{path}: type '{name}' is not an integer of 8 to 32 bits, float or double")
    order = fields.get("endian", "").lower()
    if np.dtype(code).itemsize > 1 and order not in ("big", "little"):
        raise SourceUnreadable(f"{path}: does not say its byte order ('endian: {order[:20]}'); it is little or big")
    return np.dtype((">" if order == "big" else "<") + code)
