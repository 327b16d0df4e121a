"""Reads the pixels of a stack one picture at a time, and counts the pictures."""

from __future__ import annotations

import os
import stat
import zlib
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np

from stream.common.errors import SourceNotFound, SourceTruncated, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.sources.files.volumes.header import StackHeader

_CHUNK_BYTES = 1 << 20
OTHER_ELEMENTS = (2, 3, 4, 8)
"""Where the pixels are so many times as many bytes as declared, or as few, they are of another type or in colour."""

MOST_PADDING = 3
"""Bytes behind the pixels that mean nothing: a line feed, or what fills a word."""

COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""How gzip and zlib streams begin."""

_GROUP_BYTES = 64 << 20
_GZIP_MAGIC = b"\x1f\x8b"


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def open_pixels(header: StackHeader) -> IO[bytes]:
    """Opens the file with the pixels.

    Raises:
        SourceNotFound: the header points to a file that is not there.
        SourceUnreadable: it cannot be opened, or is a pipe or a device, which might never end.
    """
    try:
        if not stat.S_ISREG(header.data_path.stat().st_mode) and not header.data_path.is_dir():
            raise ValueError("a pipe or a device is no file of pixels")
        return header.data_path.open("rb")
    except FileNotFoundError as error:
        raise SourceNotFound(
            f"{header.data_path}: not there, though {header.path.name} points to it; put both in one folder"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourceUnreadable(f"{header.data_path}: cannot be opened ({reason})") from error


def with_stored_count(header: StackHeader, file: IO[bytes]) -> StackHeader:
    """The header with as many pictures as are stored, and a note where it declares fewer.

    Only of pixels that are not compressed: of those the size says how many there are. Where fewer are stored, reading
    them ends in an error.

    Raises:
        SourceUnreadable: what is stored is no whole number of pictures, or just twice or half as much and the like, so
            that the header is of other pixels.
    """
    if header.compressed or header.data_offset is None:
        return header
    declared_bytes, file_bytes = header.frame_bytes * header.frame_count, file.seek(0, 2)
    stored_bytes = max(0, file_bytes - header.data_offset)
    _check_place(header, file, file_bytes, declared_bytes)
    if any(declared_bytes in (stored_bytes * ratio, stored_bytes / ratio) for ratio in OTHER_ELEMENTS):
        raise SourceUnreadable(
            f"{header.path}: its header declares {header.frame_count} pictures, and the pixels would be"
            f" {stored_bytes / header.frame_bytes:g} of that size; the type or the number of values a pixel is another"
        )
    extra = stored_bytes - declared_bytes
    if extra <= MOST_PADDING:
        return header
    if extra % header.frame_bytes or header.layout not in ("xyt", "cxyt", "xyct"):
        raise SourceUnreadable(
            f"{header.path}: {extra} bytes lie behind the {header.frame_count} pictures of {header.frame_bytes} bytes"
            " that its header declares; the header does not belong to these pixels"
        )
    stored = header.frame_count + extra // header.frame_bytes
    note = f"{stored} frames stored, {header.frame_count} declared"
    return replace(header, sizes=(*header.sizes[:-1], stored), notes=(*header.notes, note))


def _check_place(header: StackHeader, file: IO[bytes], file_bytes: int, declared_bytes: int) -> None:
    """Raises SourceUnreadable where the pixels are not where, or not as, the header says."""
    offset = header.data_offset or 0
    if offset and header.data_path != header.path and file_bytes == declared_bytes:
        raise SourceUnreadable(
            f"{header.path}: skips {offset} bytes of {header.data_path.name}, which has none too many;"
            " the header does not belong to these pixels"
        )
    file.seek(offset)
    if file_bytes - offset < declared_bytes and file.read(2) in COMPRESSED:
        raise SourceUnreadable(f"{header.path}: its pixels are compressed, though its header says that they are not")


def has_free_access(header: StackHeader) -> bool:
    """Whether each picture can be read without those before it."""
    return not header.compressed and not header.layout.startswith("t")


def frame_blocks(header: StackHeader, file: IO[bytes], *, begin: int = 0) -> Iterator[bytes]:
    """Yields the bytes of one picture after the other from the file with the pixels, holding one at a time.

    Of a stack whose fastest axis is time, in which the pictures are interleaved, it holds as many as fit 64 MB.

    Args:
        header: of the stack.
        file: open.
        begin: the first picture; above 0 only where there is free access.

    Raises:
        SourceTruncated: the pixels end, or their compression breaks, before the header's last picture.
        SourceUnreadable: compressed pixels go on behind it.
    """
    if header.layout.startswith("t"):
        yield from _gathered(header, file)
        return
    reader = _reader(header, file)
    if begin:
        file.seek(begin * header.frame_bytes, os.SEEK_CUR)
    for index in range(begin, header.frame_count):
        block = reader.read(header.frame_bytes)
        if len(block) < header.frame_bytes:
            raise _cut(header, index)
        yield block
    if header.compressed and len(reader.read(header.frame_bytes)) == header.frame_bytes:
        raise SourceUnreadable(
            f"{header.data_path}: holds more than the {header.frame_count} frames that its header declares;"
            " the header is damaged"
        )


def _gathered(header: StackHeader, file: IO[bytes]) -> Iterator[bytes]:
    """Pictures of a stack in which each pixel's values over time lie side by side."""
    count, size = header.frame_count, header.dtype.itemsize
    pixels = header.frame_bytes // size
    group = max(1, _GROUP_BYTES // header.frame_bytes)
    step = max(1, _CHUNK_BYTES // (count * size))
    for first in range(0, count, group):
        reader, frames = _reader(header, file), range(first, min(first + group, count))
        pictures = None
        for start in range(0, pixels, step):
            wanted = min(step, pixels - start) * count * size
            block = reader.read(wanted)
            if len(block) < wanted:
                raise _cut(header, 0)
            if pictures is None:  # not before something was read: a broken header asks for a lot
                pictures = np.empty((len(frames), pixels), header.dtype)
            values = np.frombuffer(block, header.dtype).reshape(-1, count)
            pictures[:, start : start + len(values)] = values[:, first : first + len(frames)].T
        if pictures is not None:
            yield from (picture.tobytes() for picture in pictures)


def _cut(header: StackHeader, index: int) -> SourceTruncated:
    return SourceTruncated(
        f"{header.data_path}: ends after {index} of {header.frame_count} frames; copy the file again or export it anew"
    )


def _reader(header: StackHeader, file: IO[bytes]) -> _Reader:
    """The pixels from their start."""
    start = header.data_offset
    if start is None:
        start = max(0, file.seek(0, 2) - header.frame_bytes * header.frame_count)
    file.seek(start)
    return _Inflated(file) if header.compressed else file


class _Inflated:
    """Reads zlib or gzip streams, one behind the other, by the piece. A broken stream reads as one that has ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pending = b""
        self._start()

    def _start(self) -> None:
        self._inflate = zlib.decompressobj(wbits=47)  # 32 + 15: the header tells zlib from gzip

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        parts = bytearray()
        while len(parts) < size and self._has_more():
            try:
                parts += self._inflate.decompress(self._pending, size - len(parts))
            except zlib.error:
                break
            self._pending = self._inflate.unconsumed_tail
        return bytes(parts)

    def _has_more(self) -> bool:
        if self._inflate.eof:
            self._pending = self._inflate.unused_data + self._file.read(_CHUNK_BYTES)
            if not self._pending.startswith(_GZIP_MAGIC):  # what lies behind the last stream is no concern
                return False
            self._start()
        self._pending = self._pending or self._file.read(_CHUNK_BYTES)
        return bool(self._pending)
