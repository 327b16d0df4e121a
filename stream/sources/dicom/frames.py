"""The bytes of a DICOM recording, frame by frame, found by their place in the file."""

from __future__ import annotations

import io
import itertools
from bisect import bisect_left
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.sources.dicom.facts import PictureFacts
    from stream.sources.dicom.header import PixelElement

RLE_LOSSLESS = "1.2.840.10008.1.2.5"

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


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


def native_frames(file: IO[bytes], element: PixelElement, facts: PictureFacts) -> Iterator[bytes]:
    """Yields the frames that are wholly there, reading one at a time."""
    size = facts.frame_bytes
    end = element.offset + (element.length or 0)
    is_swapped = element.in_words and not element.is_little_endian and facts.bits_allocated == 8
    for index in range(facts.frame_count or 1):
        start = element.offset + index * size
        if start + size > end:
            return
        # Swapped bytes come in pairs, which odd frame sizes split.
        before, after = ((index * size) % 2, (index + 1) * size % 2) if is_swapped else (0, 0)
        file.seek(start - before)
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


def encapsulated_frames(file: IO[bytes], fragments: Fragments, facts: PictureFacts) -> Iterator[bytes]:
    """Yields the coded frames that are wholly there, reading one at a time.

    Fragments are told to frames by the offset table where it fits; else all belong to the only frame, or one
    to each, or a frame ends with the fragment that ends an image.
    """
    for spans in itertools.islice(_by_frame(file, fragments, facts), facts.frame_count):
        yield b"".join(_read(file, span) for span in spans)


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
    while True:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            return
        span = Span(offset + 8, int.from_bytes(head[4:], "little"))
        yield span
        offset = span.end


def _by_frame(file: IO[bytes], fragments: Fragments, facts: PictureFacts) -> Iterator[Sequence[Span]]:
    """The fragments of each frame. Where the file breaks off, a last frame is kept only if its image ends."""
    count, whole = facts.frame_count or 1, fragments.whole
    by_table = _by_table(fragments, count)
    is_one_each = facts.transfer_syntax == RLE_LOSSLESS or (fragments.is_ended and len(whole) == count)
    if by_table is None and count > 1:
        yield from ((span,) for span in whole) if is_one_each else _by_end_of_image(file, whole)
        return
    frames = by_table or [whole]
    yield from frames[:-1]
    last = frames[-1]
    if last and (fragments.is_ended or is_one_each or any(_by_end_of_image(file, last))):
        yield last


def _by_table(fragments: Fragments, count: int) -> list[Sequence[Span]] | None:
    """Frames by the offset table; None where it is empty or does not fit the fragments."""
    offsets = [span.offset for span in (*fragments.whole, *filter(None, [fragments.cut]))]
    starts = fragments.starts
    if not offsets or len(starts) != count or starts[0] != offsets[0]:
        return None
    places = [bisect_left(offsets, start) for start in starts if start <= offsets[-1]]
    is_ascending = all(a < b for a, b in itertools.pairwise(starts))
    if not is_ascending or any(offsets[place] != start for place, start in zip(places, starts, strict=False)):
        return None
    frames = [fragments.whole[a:b] for a, b in itertools.pairwise([*places, len(offsets)])]
    return list(frames[:-1] if fragments.cut else frames)


def _by_end_of_image(file: IO[bytes], spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Groups that end with an image's end; what follows the last end is no whole frame."""
    group: list[Span] = []
    for span in spans:
        group.append(span)
        tail = _read(file, Span(max(span.offset, span.end - 4), min(4, span.length)))
        if _END_OF_IMAGE in tail:
            yield group
            group = []


def _read(file: IO[bytes], span: Span) -> bytes:
    file.seek(span.offset)
    return file.read(span.length)
