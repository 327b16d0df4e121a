"""The numbers and layouts of V4L2, against those that linuxpy took from the kernel's headers."""

from __future__ import annotations

import ctypes
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from stream.sources.live import v4l2_driver as ours

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.platform != "linux" or sys.maxsize < 2**32:
    pytest.skip("V4L2 is Linux's, and these are its layouts of 64 bits", allow_module_level=True)
from linuxpy.video import raw

REQUESTS = ["QUERYCAP", "ENUM_FMT", "G_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF"]
REQUESTS += ["STREAMON", "STREAMOFF", "S_PARM"]


def offsets(layout: struct.Struct) -> list[int]:
    """Where each value of a layout begins."""
    form, found, at = layout.format.lstrip("="), [], 0
    while form:
        count = form[: len(form) - len(form.lstrip("0123456789"))]
        kind, form = form[len(count)], form[len(count) + 1 :]
        size = struct.calcsize(f"={count}{kind}")
        if kind != "x":
            found.append(at)
        at += size
    return found


def theirs(structure: Any, *names: str) -> list[int]:
    return [getattr(structure, name).offset for name in names]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_numbers_of_requests_are_the_kernels(name: str) -> None:
    assert getattr(ours, name) == raw.IOC[name].value & 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("size", "structure"),
    [
        (ours._CAPABILITY.size, raw.v4l2_capability),
        (ours._DESCRIPTION.size, raw.v4l2_fmtdesc),
        (ours._REQUEST.size, raw.v4l2_requestbuffers),
        (ours._BUFFER.size, raw.v4l2_buffer),
        (ours._FORMAT_BYTES, raw.v4l2_format),
        (ours._PARM_BYTES, raw.v4l2_streamparm),
    ],
    ids=["capability", "fmtdesc", "requestbuffers", "buffer", "format", "streamparm"],
)
def test_structures_have_the_kernels_size(size: int, structure: Any) -> None:
    assert size == ctypes.sizeof(structure)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            ours._CAPABILITY,
            theirs(raw.v4l2_capability, "driver", "card", "bus_info", "version", "capabilities", "device_caps"),
        ),
        (ours._DESCRIPTION, theirs(raw.v4l2_fmtdesc, "index", "type", "flags", "description", "pixelformat")),
        (ours._REQUEST, theirs(raw.v4l2_requestbuffers, "count", "type", "memory", "capabilities")),
        (
            ours._FORMAT,
            [
                raw.v4l2_format.type.offset,
                *(
                    raw.v4l2_format.fmt.offset + each
                    for each in theirs(
                        raw.v4l2_pix_format, "width", "height", "pixelformat", "field", "bytesperline", "sizeimage"
                    )
                ),
            ],
        ),
    ],
    ids=["capability", "fmtdesc", "requestbuffers", "format"],
)
def test_values_lie_where_the_kernel_has_them(layout: struct.Struct, expected: Sequence[int]) -> None:
    assert offsets(layout) == list(expected)


def test_a_buffers_values_lie_where_the_kernel_has_them() -> None:
    buffer = raw.v4l2_buffer
    first = theirs(buffer, "index", "type", "bytesused", "flags", "field")
    time = [buffer.timestamp.offset, buffer.timestamp.offset + 8]
    rest = theirs(buffer, "timecode", "sequence", "memory", "m", "length", "reserved2", "m2")
    assert offsets(ours._BUFFER) == [*first, *time, *rest]
