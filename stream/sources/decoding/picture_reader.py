"""Reads the pictures of a video stream in order; lost ones keep their places."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.codec.context import Flags

from stream.sources.decoding.ffv1 import SliceSums
from stream.sources.decoding.h264 import FrameNumbers
from stream.sources.decoding.jpeg import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_DELAY = 64
"""Packets after which a picture comes at the latest."""

MAX_REORDER = 16
"""Pictures that a codec may show before one that is coded ahead of them."""

INTRA_CODECS = frozenset({"ffv1", "ffvhuff", "huffyuv", "mjpeg", "png", "prores", "rawvideo", "utvideo"})
"""Codecs of which a key packet is decoded without any other."""

HIDDEN_PACKETS = frozenset({"av1", "h264", "libdav1d", "vp8", "vp9", "vvc"})
"""Codecs that have packets of which no picture comes though nothing is wrong: fields, references that are not shown."""


@dataclass(frozen=True, slots=True)
class DecodingEntry:
    """Where decoding may begin as well as at the start: nothing that comes from there on is built on what was before.

    Attributes:
        packet: number of the packet, from 0.
        picture: number of its picture, from 0, in the order in which they are shown.
    """

    packet: int
    picture: int


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """A picture of the stream.

    Attributes:
        frame: as decoded; None where nothing came of its packet.
        stamp: when it is shown, in units of the stream's time base; None where it has no timestamp.
        is_sound: it is whole, and so is what it was built on.
        aspect: width of a pixel over its height, by the decoder; None where the stream says nothing.
    """

    frame: VideoFrame | None
    stamp: int | None
    is_sound: bool
    aspect: Fraction | None = None


class PictureReader:
    """Decodes a stream, and tells the pictures that cannot be trusted.

    A packet of which no picture comes is a lost one; one that is cut short, or that the decoder marks as corrupt, is
    not sound. What comes after either in decoding order is built on it, so it is not sound either, up to the next key
    picture. Damage that a decoder hides without a word is not seen.

    Attributes:
        sound: pictures so far that can be trusted.
        damaged: pictures so far that cannot, lost ones among them.
        end: where the last sound packet ends, in units of the stream's time base.
        entry: the last one before, or at, the picture that was given last; None where there is none, or was damage.

    Args:
        container: at its start.
        stream: of it.
        start: packets before this one are passed over; it is that of an `DecodingEntry`.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, start: int = 0) -> None:
        self._container = container
        self._stream = stream
        self._start = start
        self.entry: DecodingEntry | None = None
        self._independent: set[int] = set()  # orders of packets that may be an entry
        self._order = -1  # of the packet read last; rides on it through the decoder, which reorders
        self._waiting: dict[int, int | None] = {}  # stamps by order, of packets of which no picture has come yet
        self._failed: set[int] = set()  # orders of packets that the decoder refused
        self._held: deque[tuple[VideoFrame, int, Fraction | None]] = deque()  # until what they may be built on is known
        self._marks: list[int] = []  # orders of damage, until the pictures before it have been judged
        self._damaged_from: int | None = None
        self._damaged_to = -1
        self._aspects: list[tuple[int, Fraction | None]] = []  # by the order that each holds from
        self.sound = self.damaged = 0
        self.end = 0
        context = stream.codec_context
        self._has_hidden = context.name in HIDDEN_PACKETS
        context.copy_opaque = True
        # One thread: with frame threads the decoder's marks of corruption come and go from run to run, and with
        # slice threads they never come.
        context.thread_type = "NONE"
        context.thread_count = 1
        context.flags |= Flags.output_corrupt  # a picture that is left out is one that nobody counts
        self._is_jpeg, self._is_intra = context.name == "mjpeg", context.name in INTRA_CODECS
        self._sums = SliceSums() if context.name == "ffv1" else None
        self._numbers = FrameNumbers(context.extradata) if context.name == "h264" else None

    @property
    def is_damaged(self) -> bool:
        """No key picture has come since the last damage; at the end it means the recording is cut off."""
        return self._damaged_from is not None

    def __iter__(self) -> Iterator[ReadPicture]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and self._order + 1 < self._start:
                    self._order += 1
                elif packet.size:  # the one that ends the stream is empty
                    yield from self._counted(self._decode(packet))
        except av.FFmpegError:
            self._marks.append(self._order + 1)
        yield from self._counted(self._pictures(None))
        yield from self._counted(self._lost_before(None, self._order + MAX_DELAY + 1))
        self._take_marks(self._order + 1)

    def _counted(self, pictures: Iterator[ReadPicture]) -> Iterator[ReadPicture]:
        for picture in pictures:
            self.sound += picture.is_sound
            self.damaged += not picture.is_sound
            yield picture

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[ReadPicture]:
        self._order += 1
        packet.opaque = self._order
        self._waiting[self._order] = packet.pts
        data = bytes(packet)
        if packet.is_keyframe and (self._is_intra or (self._numbers is not None and self._numbers.is_entry(data))):
            self._independent.add(self._order)
        if packet.is_corrupt or self._hides_damage(data):
            self._marks.append(self._order)
        else:
            stamp = packet.dts if packet.pts is None else packet.pts
            self.end = max(self.end, (stamp or 0) + (packet.duration or 0))
        yield from self._pictures(packet)

    def _pictures(self, packet: Packet[VideoStream] | None) -> Iterator[ReadPicture]:
        """Sends one packet, or the end, to the decoder and yields the pictures that come out."""
        context = self._stream.codec_context
        try:
            pictures = context.decode(packet)
        except av.FFmpegError:
            self._failed.add(self._order)
            self._marks.append(self._order)
            return
        aspect = context.sample_aspect_ratio
        if not self._aspects or self._aspects[-1][1] != aspect:
            self._aspects.append((self._order, aspect))
        for picture in pictures:
            order = picture.opaque if isinstance(picture.opaque, int) else self._order
            self._waiting.pop(order, None)
            if picture.is_corrupt:
                self._marks.append(order)
            self._held.append((picture, order, self._aspect_of(order)))
        while self._held and (packet is None or self._may_go(self._held[0][1])):
            picture, order, aspect = self._held.popleft()
            yield from self._lost_before(picture.pts, order)
            is_sound = self._is_sound(order, is_key=picture.key_frame) and not picture.is_corrupt
            if order in self._independent:
                self._independent.remove(order)
                was_damaged = self._damaged_to >= 0 or bool(self._marks or self._failed)
                self.entry = None if was_damaged else DecodingEntry(order, self.sound + self.damaged)
            yield ReadPicture(picture, picture.pts, is_sound, aspect)

    def _may_go(self, order: int) -> bool:
        """Whether all pictures that this one may be built on have come, so that their marks are known.

        One that is shown before others, and coded behind them, comes out before the decoder says how they are.
        """
        return len(self._held) > MAX_REORDER or all(each > order for each in self._waiting.keys() - self._failed)

    def _lost_before(self, stamp: int | None, order: int) -> Iterator[ReadPicture]:
        """Pictures that had to come before the one with this stamp and order, and will not come any more."""
        late = [
            (waiting, each)
            for each, waiting in self._waiting.items()
            if each < order - MAX_DELAY or (waiting is not None and stamp is not None and waiting < stamp)
        ]
        for waiting, each in sorted(late, key=lambda item: (item[0] is None, item[0] or 0, item[1])):
            del self._waiting[each]
            if each in self._failed or ((self._damaged_to >= 0 or self._marks) and not self._has_hidden):
                self._failed.discard(each)
                yield ReadPicture(None, waiting, is_sound=False)

    def _hides_damage(self, data: bytes) -> bool:
        """Whether a packet is cut, or others are missing before it, in a way that its decoder does not tell."""
        if self._is_jpeg:
            return not is_whole(data)
        if self._sums:
            return not self._sums.is_whole(data)
        return self._numbers is not None and self._numbers.missing_before(data) > 0

    def _aspect_of(self, order: int) -> Fraction | None:
        """By the decoder: what it knew last comes from the packet it read last, not from the picture it gives."""
        while len(self._aspects) > 1 and self._aspects[1][0] <= order:
            del self._aspects[0]
        return self._aspects[0][1]

    def _is_sound(self, order: int, *, is_key: bool) -> bool:
        self._take_marks(order)
        if is_key and order > self._damaged_to:
            self._damaged_from = None
        return self._damaged_from is None or order < self._damaged_from

    def _take_marks(self, order: int) -> None:
        """Damage up to a picture counts from now on."""
        for mark in [mark for mark in self._marks if mark <= order]:
            self._marks.remove(mark)
            self._damaged_from = mark if self._damaged_from is None else min(mark, self._damaged_from)
            self._damaged_to = max(mark, self._damaged_to)
