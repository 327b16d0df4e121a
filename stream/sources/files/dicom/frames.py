"""Locates and reads the bytes of each frame of a DICOM recording."""

from __future__ import annotations

import io
import itertools
from bisect import bisect_left
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from stream.sources.files.dicom.codestream import begins_picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.sources.files.dicom.facts import PictureFacts
    from stream.sources.files.dicom.header import PixelElement

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_PADDING = 16  # bytes that may follow it
_MOST_FRAGMENTS = 1_000_000  # eleven hours at 25 frames a second


class Span(NamedTuple):
    """A stretch of the file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Fragments:
    """The encapsulated pieces of a recording, PS3.5 A.4, by their place in the file.

    Attributes:
        whole: those that are all there.
        cut: the one that the file's end cuts off; None where there is none.
        is_ended: they end as they should, with a delimiter.
        starts: of the frames, as the offset table gives them; empty where it is empty.
    """

    whole: tuple[Span, ...]
    cut: Span | None
    is_ended: bool
    starts: tuple[int, ...]


def native_frames(file: IO[bytes], element: PixelElement, facts: PictureFacts, *, begin: int = 0) -> Iterator[bytes]:
    """Yields the frames that are wholly there, from `begin` on, reading one at a time."""
    size = facts.frame_bytes
    count = min(facts.frame_count or 1, (element.length or 0) // size)
    is_swapped = element.in_words and not element.is_little_endian and facts.bits_allocated == 8
    for index in range(begin, count):
        # Swapped bytes come in pairs, which odd frame sizes split.
        before, after = ((index * size) % 2, (index + 1) * size % 2) if is_swapped else (0, 0)
        file.seek(element.offset + index * size - before)
        block = file.read(before + size + after)
        if len(block) < before + size + after:
            return
        if is_swapped:
            block = np.frombuffer(block, "<u2").byteswap().tobytes()[before : before + size]
        yield block


def read_fragments(file: IO[bytes], element: PixelElement, extended_offsets: bytes) -> Fragments:
    """Lists the fragments from their headers alone, seeking over their contents."""
    file_end = file.seek(0, 2)
    spans = list(_items(file, element.offset))
    if not spans:
        return Fragments((), None, is_ended=False, starts=())
    table, pieces = spans[0], spans[1:]
    if begins_picture(_read(file, Span(table.offset, min(16, table.length)))):  # it was left out
        table, pieces = Span(element.offset, 0), spans
    is_ended = _read(file, Span(spans[-1].end, 4)) == _DELIMITER
    file.seek(table.offset)
    if extended_offsets:
        offsets = np.frombuffer(extended_offsets, "<u8", len(extended_offsets) // 8)
    else:
        content = file.read(table.length)
        offsets = np.frombuffer(content, "<u4", len(content) // 4)
    # Offsets count from the first item behind the table, to items, whose headers take 8 bytes.
    starts = tuple(table.end + 8 + int(offset) for offset in offsets)
    is_cut = bool(pieces) and pieces[-1].end > file_end
    whole = tuple(pieces[:-1] if is_cut else pieces)
    cut = Span(pieces[-1].offset, file_end - pieces[-1].offset) if is_cut else None
    return Fragments(whole, cut, is_ended, starts)


@dataclass(frozen=True, slots=True)
class CodedFrames:
    """The coded frames of a recording, each a sequence of fragments.

    Attributes:
        spans: of each frame that is wholly there.
        found: frames that begin in the file, the last of which may be cut off.
    """

    spans: tuple[Sequence[Span], ...]
    found: int

    def read(self, file: IO[bytes], *, begin: int = 0) -> Iterator[bytes]:
        """Yields the frames from `begin` on, reading one at a time."""
        for spans in self.spans[begin:]:
            yield b"".join(_read(file, span) for span in spans)


def coded_frames(file: IO[bytes], fragments: Fragments, declared: int | None) -> CodedFrames:
    """Tells which fragments make a frame.

    A frame begins with the fragment that begins a picture; run-length coded frames are one fragment each. Where that
    does not give the declared number, the offset table is asked, then whether there is a fragment for each frame.
    Where the file breaks off, the last frame is left out unless it ends as a picture ends.
    """
    pieces = (*fragments.whole, *filter(None, [fragments.cut]))
    begins = [begins_picture(_read(file, Span(piece.offset, min(16, piece.length)))) for piece in pieces]
    one_each: list[Sequence[Span]] = [(piece,) for piece in pieces]
    by_picture = _groups(pieces, begins) if begins and begins[0] else []
    by_table = _by_table(pieces, fragments.starts)
    most_begin = 2 * sum(begins) > len(begins) or not any(begins)
    readings = [by_picture, by_table, *([one_each] if most_begin else [])]
    groups = next((reading for reading in readings if declared and len(reading) == declared), None)
    if groups is None:
        is_one = declared == 1 and not any(begins[1:]) and not _is_run_length(file, pieces)
        groups = by_picture or by_table or ([pieces] if is_one and pieces else one_each)
    found = len(groups)
    if groups and not _ends(file, fragments, groups[-1], is_one_each=len(groups) == len(pieces)):
        groups = groups[:-1]
    return CodedFrames(tuple(groups), found)


class FragmentStream(io.RawIOBase):
    """The contents of all fragments as one file to read and seek in, without their headers."""

    def __init__(self, file: IO[bytes], fragments: Fragments) -> None:
        super().__init__()
        self._file = file
        self._spans = (*fragments.whole, *filter(None, [fragments.cut]))
        self._starts = [0, *itertools.accumulate(span.length for span in self._spans)]
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._starts[-1] if size < 0 else min(self._place + size, self._starts[-1])
        parts = []
        while self._place < end:
            index = bisect_left(self._starts, self._place + 1) - 1
            span, within = self._spans[index], self._place - self._starts[index]
            part = _read(self._file, Span(span.offset + within, min(span.length - within, end - self._place)))
            if not part:
                break
            parts.append(part)
            self._place += len(part)
        return b"".join(parts)


def _items(file: IO[bytes], offset: int) -> Iterator[Span]:
    """The items of the pixel data, the offset table first, up to the delimiter or the end of the file."""
    for _ in range(_MOST_FRAGMENTS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            return
        span = Span(offset + 8, int.from_bytes(head[4:], "little"))
        yield span
        offset = span.end


def _groups(pieces: Sequence[Span], begins: Sequence[bool]) -> list[Sequence[Span]]:
    """The pieces in groups, each of which begins where `begins` says so."""
    places = [index for index, is_first in enumerate(begins) if is_first]
    return [pieces[a:b] for a, b in itertools.pairwise([*places, len(pieces)])]


def _by_table(pieces: Sequence[Span], starts: tuple[int, ...]) -> list[Sequence[Span]]:
    """The pieces by the offset table; empty where it is empty or does not fit them."""
    offsets = [piece.offset for piece in pieces]
    known = [start for start in starts if offsets and start <= offsets[-1]]
    is_ascending = all(a < b for a, b in itertools.pairwise(starts))
    if not known or known[0] != offsets[0] or not is_ascending or not set(known) <= set(offsets):
        return []
    return _groups(pieces, [offset in set(known) for offset in offsets])


def _is_run_length(file: IO[bytes], pieces: Sequence[Span]) -> bool:
    """Whether pieces begin as frames in DICOM's run-length coding: the first segment starts behind the header."""
    return bool(pieces) and all(_read(file, Span(piece.offset + 4, 4)) == b"\x40\0\0\0" for piece in pieces)


def _ends(file: IO[bytes], fragments: Fragments, last: Sequence[Span], *, is_one_each: bool) -> bool:
    """Whether the last frame is wholly there."""
    if fragments.cut is not None and fragments.cut in last:
        return False
    if fragments.is_ended:
        return True
    tail = _read(file, Span(max(last[-1].offset, last[-1].end - _PADDING), min(_PADDING, last[-1].length)))
    return _END_OF_IMAGE in tail or (is_one_each and _is_run_length(file, last))


def _read(file: IO[bytes], span: Span) -> bytes:
    file.seek(span.offset)
    return file.read(span.length)
