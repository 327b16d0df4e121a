"""NRRD headers (.nrrd, .nhdr), with the per-frame fields of PLUS sequences."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.errors import SourceNotFound, SourceUnreadable
from stream.sources.raster import (
    StackHeader,
    axis_layout,
    kept_axes,
    parse_number,
    spacing_of,
    timestamp_index,
)

if TYPE_CHECKING:
    from pathlib import Path

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "f4": ("float",),
    "f8": ("double",),
}

_COLOUR_KINDS = frozenset({"rgb-color", "3-color", "rgba-color", "4-color", "vector"})
_TIME_KINDS = frozenset({"list", "time"})
_MM_PER_UNIT = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
_S_PER_UNIT = {"s": 1.0, "sec": 1.0, "ms": 0.001, "us": 1e-6}
_MAX_HEADER_BYTES = 64 << 20
_MAX_LINE_BYTES = 1 << 20


def read_header(path: Path) -> StackHeader:
    """Reads the header of an NRRD file and nothing of its pixels.

    Spacing comes from `spacings`, or from the lengths of `space directions`, in mm unless `units` or
    `space units` name another unit. Timestamps come from the `Seq_FrameNNNN_Timestamp` fields, else from
    the step of a `time` axis given in seconds or parts of them.

    Raises:
        SourceNotFound: there is no such file.
        SourceUnreadable: it is not an NRRD file, or of a kind that does not stream.
    """
    fields, times_s, header_bytes = _read_fields(path)
    sizes = [parse_number(path, "sizes", word, int) for word in fields.get("sizes", "").split()]
    kinds = fields.get("kinds", "").lower().split()
    steps_mm = _steps_mm(path, fields, len(sizes))
    axes = kept_axes(sizes)
    sizes = [sizes[axis] for axis in axes]
    kinds = [kinds[axis] for axis in axes] if len(kinds) > max(axes, default=0) else []
    layout = _layout(kinds) or axis_layout(sizes, is_sequence=bool(times_s))
    data_path, data_offset = _data_place(path, fields, header_bytes)
    count = sizes[-1] if layout.endswith("t") else 1
    is_timed = layout.endswith("t") and kinds[-1:] == ["time"]
    return StackHeader(
        path=path,
        data_path=data_path,
        data_offset=data_offset,
        compressed=_is_compressed(path, fields),
        dtype=_element_type(path, fields),
        sizes=tuple(sizes),
        layout=layout,
        spacing=spacing_of(layout, [steps_mm[axis] for axis in axes]),
        orientation=fields.get("UltrasoundImageOrientation", "MF"),
        times_s=tuple(times_s.get(index) for index in range(count)) if times_s else (),
        period_s=_period_s(path, fields) if is_timed else None,
    )


def _read_fields(path: Path) -> tuple[dict[str, str], dict[int, float], int]:
    """Fields (names in lower case) and key/value pairs, timestamps by frame, and the bytes of the header."""
    fields: dict[str, str] = {}
    times_s: dict[int, float] = {}
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
                elif (index := timestamp_index(key)) is not None:
                    times_s[index] = parse_number(path, key, value, float)
                elif not key.startswith("Seq_Frame"):
                    fields[key] = value
            return fields, times_s, file.tell()
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error


def _layout(kinds: list[str]) -> str:
    """The meaning of the axes by their kinds; "" where the kinds tell neither time nor colour from space."""
    if not any(kind in _COLOUR_KINDS | _TIME_KINDS for kind in kinds):
        return ""
    spatial = iter("xyz" if _TIME_KINDS & set(kinds) else "xyt")
    return "".join(
        "c" if kind in _COLOUR_KINDS else "t" if kind in _TIME_KINDS else next(spatial, "z") for kind in kinds
    )


def _steps_mm(path: Path, fields: dict[str, str], count: int) -> list[float]:
    """Step along each axis in mm; nan where there is none or its unit is not one of length."""
    if "space directions" in fields:
        vectors = re.findall(r"\([^)]*\)|\S+", fields["space directions"])
        steps, units = (
            [_length(path, vector) for vector in vectors],
            _words(fields, "space units")[:1] * count,
        )
    else:
        steps = [parse_number(path, "spacings", word, float) for word in fields.get("spacings", "").split()]
        units = _words(fields, "units")
    if len(steps) != count:
        return [math.nan] * count
    units += [""] * (count - len(units))
    return [step * _MM_PER_UNIT.get(unit, math.nan) for step, unit in zip(steps, units, strict=False)]


def _length(path: Path, vector: str) -> float:
    if not vector.startswith("("):
        return math.nan
    return math.hypot(*(parse_number(path, "space directions", part, float) for part in vector.strip("()").split(",")))


def _words(fields: dict[str, str], key: str) -> list[str]:
    """The quoted words of a field, one for each axis; they may be empty."""
    return re.findall(r'"([^"]*)"', fields.get(key, ""))


def _period_s(path: Path, fields: dict[str, str]) -> float | None:
    """Step of the last axis in seconds, where its unit is one of time and the step is positive."""
    steps, units = fields.get("spacings", "").split(), _words(fields, "units")
    if not steps or len(units) != len(steps) or units[-1] not in _S_PER_UNIT:
        return None
    step_s = parse_number(path, "spacings", steps[-1], float) * _S_PER_UNIT[units[-1]]
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
    return np.dtype((">" if fields.get("endian", "little") == "big" else "<") + code)
