"""The V4L2 ioctls and structures that capturing needs.

Layouts and numbers are those of `linux/videodev2.h` on 64-bit Linux, of little-endian machines.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERYCAP, ENUM_FMT, G_FMT, S_FMT = 0x80685600, 0xC0405602, 0xC0D05604, 0xC0D05605
REQBUFS, QUERYBUF, QBUF, DQBUF = 0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611
STREAMON, STREAMOFF, S_PARM = 0x40045612, 0x40045613, 0xC0CC5616

VIDEO_CAPTURE, MEMORY_MAP = 1, 1
CAN_CAPTURE, CAN_STREAM = 0x1, 0x0400_0000
BUFFER_ERROR, BUFFER_MONOTONIC = 0x40, 0x2000

_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_FORMAT = struct.Struct("=I4xIIIIII")  # type; then width, height, pixel format, field, bytes a line, bytes a picture
_FORMAT_BYTES = 208
_DESCRIPTION = struct.Struct("=III32sI16x")
_PARM = struct.Struct("=IIIII")  # type, capability, mode; time per frame: numerator, denominator
_PARM_BYTES = 204
_REQUEST = struct.Struct("=IIII4x")
_BUFFER = struct.Struct("=IIIII4xqq16sIIQIIi4x")


class Driver(Protocol):
    """The machine below: `fcntl.ioctl` and `mmap`, or what stands in for them in a test."""

    def ioctl(self, fd: int, request: int, data: bytearray) -> None:
        """Calls the driver, which may change `data`; raises OSError."""

    def map(self, fd: int, length: int, offset: int) -> mmap.mmap:
        """Maps a buffer's memory."""


class KernelDriver:
    """The kernel's."""

    def ioctl(self, fd: int, request: int, data: bytearray) -> None:
        import fcntl

        fcntl.ioctl(fd, request, data, True)

    def map(self, fd: int, length: int, offset: int) -> mmap.mmap:
        return mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """What pictures are: size, four-character code, bytes a line (0 where compressed)."""

    width: int
    height: int
    code: str
    line_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledBuffer:
    """A buffer the driver has filled.

    Attributes:
        index: of the buffer.
        used_bytes: of it.
        is_damaged: the driver says that the data may be wrong.
        sequence: number of the picture; those left out are lost.
        stamp_ns: when it was taken; on the monotonic clock where `is_monotonic`.
    """

    index: int
    used_bytes: int
    is_damaged: bool
    sequence: int
    stamp_ns: int
    is_monotonic: bool


class CaptureDevice:
    """The calls, on one open device.

    Args:
        fd: of the device, opened for reading and writing, non-blocking.
        driver: the machine below.
    """

    def __init__(self, fd: int, driver: Driver) -> None:
        self._fd, self._driver = fd, driver

    def name(self) -> tuple[str, bool]:
        """The card's name, and whether it can capture by streaming."""
        data = bytearray(_CAPABILITY.size)
        self._driver.ioctl(self._fd, QUERYCAP, data)
        _, card, _, _, everything, of_device = _CAPABILITY.unpack(data)
        can = of_device or everything
        return card.partition(b"\0")[0].decode("utf-8", "replace"), bool(can & CAN_CAPTURE and can & CAN_STREAM)

    def codes(self) -> Iterator[str]:
        """The four-character codes of the formats on offer."""
        for index in range(64):
            data = bytearray(_DESCRIPTION.pack(index, VIDEO_CAPTURE, 0, b"", 0))
            try:
                self._driver.ioctl(self._fd, ENUM_FMT, data)
            except OSError:  # EINVAL says that there are no more
                return
            yield _text_of(_DESCRIPTION.unpack(data)[4])

    def current(self) -> PixelFormat:
        """The format that is set."""
        data = bytearray(_FORMAT.pack(VIDEO_CAPTURE, 0, 0, 0, 0, 0, 0).ljust(_FORMAT_BYTES, b"\0"))
        self._driver.ioctl(self._fd, G_FMT, data)
        return _format_of(data)

    def set_format(self, width: int, height: int, code: str) -> PixelFormat:
        """Asks for a format; returns the one that the driver grants, which may be another."""
        wanted = _FORMAT.pack(VIDEO_CAPTURE, width, height, _number_of(code), 0, 0, 0)
        data = bytearray(wanted.ljust(_FORMAT_BYTES, b"\0"))
        self._driver.ioctl(self._fd, S_FMT, data)
        return _format_of(data)

    def set_rate(self, rate_hz: float) -> float | None:
        """Asks for a rate; returns the one that is granted, None where the driver has no say in it."""
        data = bytearray(_PARM.pack(VIDEO_CAPTURE, 0, 0, 1000, round(1000 * rate_hz)).ljust(_PARM_BYTES, b"\0"))
        try:
            self._driver.ioctl(self._fd, S_PARM, data)
        except OSError:
            return None
        *_, numerator, denominator = _PARM.unpack_from(data)
        return denominator / numerator if numerator else None

    def buffers(self, count: int) -> list[mmap.mmap]:
        """Has the driver make buffers, maps them, and hands them over to be filled."""
        data = bytearray(_REQUEST.pack(count, VIDEO_CAPTURE, MEMORY_MAP, 0))
        self._driver.ioctl(self._fd, REQBUFS, data)
        found = []
        for index in range(_REQUEST.unpack(data)[0]):
            buffer = _buffer(index)
            self._driver.ioctl(self._fd, QUERYBUF, buffer)
            fields = _BUFFER.unpack(buffer)
            found.append(self._driver.map(self._fd, fields[11], fields[10] & 0xFFFF_FFFF))
            self.give_back(index)
        return found

    def give_back(self, index: int) -> None:
        """Lets the driver fill a buffer again."""
        self._driver.ioctl(self._fd, QBUF, _buffer(index))

    def take(self) -> FilledBuffer:
        """The next filled buffer; BlockingIOError where there is none yet."""
        data = _buffer(0)
        self._driver.ioctl(self._fd, DQBUF, data)
        index, _, used, flags, _, seconds, micros, _, sequence, *_ = _BUFFER.unpack(data)
        return FilledBuffer(
            index=index,
            used_bytes=used,
            is_damaged=bool(flags & BUFFER_ERROR),
            sequence=sequence,
            stamp_ns=seconds * 1_000_000_000 + micros * 1000,
            is_monotonic=bool(flags & BUFFER_MONOTONIC),
        )

    def start(self) -> None:
        """Begins to stream."""
        self._driver.ioctl(self._fd, STREAMON, bytearray(struct.pack("=I", VIDEO_CAPTURE)))

    def stop(self) -> None:
        """Ends streaming."""
        self._driver.ioctl(self._fd, STREAMOFF, bytearray(struct.pack("=I", VIDEO_CAPTURE)))


def _buffer(index: int) -> bytearray:
    return bytearray(_BUFFER.pack(index, VIDEO_CAPTURE, 0, 0, 0, 0, 0, b"", 0, MEMORY_MAP, 0, 0, 0, 0))


def _format_of(data: bytearray) -> PixelFormat:
    _, width, height, code, _, line_bytes, _ = _FORMAT.unpack_from(data)
    return PixelFormat(width=width, height=height, code=_text_of(code), line_bytes=line_bytes)


def _number_of(code: str) -> int:
    return int.from_bytes(code.ljust(4).encode("ascii"), "little")


def _text_of(number: int) -> str:
    return number.to_bytes(4, "little").decode("ascii", "replace").rstrip()
