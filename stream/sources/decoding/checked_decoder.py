"""Video decoder that reports for each picture whether it is whole.

    packet --whole? number missing?--> decoder, stops at errors --> picture: clean, or damaged

In video that is coded from picture to picture a loss spoils what follows: pictures are damaged until the decoder can
stand on a key picture (or a recovery point) that came after the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av.error
from av.codec.context import Flags

from stream.frames.frame import PLAUSIBLE_ASPECT
from stream.sources.decoding.h264 import FrameNumbers
from stream.sources.decoding.jpeg import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from av import Packet, VideoFrame
    from av.video.codeccontext import VideoCodecContext

ANALOGUE_LINES, ANALOGUE_COLUMNS = frozenset({240, 288, 480, 486, 576}), frozenset({352, 704, 720})
"""Sizes of digitised PAL and NTSC video, 4:3 or 16:9 in the same number of pixels."""
MOST_UNDER_WAY = 64
"""Packets whose pictures may still be in the decoder."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What came of a packet.

    Attributes:
        picture: None where the decoder could make nothing of it.
        is_damaged: it is not whole, or built on one that is not.
        aspect: width of a pixel over its height, as the stream says it; None where it does not.
    """

    picture: VideoFrame | None
    is_damaged: bool
    aspect: float | None


class CheckedDecoder:
    """Decodes the packets of one video stream.

    Args:
        context: of the stream, not yet opened.

    Attributes:
        lost: pictures, or packets of the network, that are known to be missing.
    """

    def __init__(self, context: VideoCodecContext) -> None:
        # With several threads the errors of a slice are not passed on, and pictures are held back.
        context.thread_count = 1
        context.options = {**context.options, "err_detect": "explode"}
        context.flags |= Flags.output_corrupt
        context.copy_opaque = True
        self._context = context
        name = context.name
        self._is_jpeg, self._marks_recovery = name == "mjpeg", name == "h264"
        self._numbers = FrameNumbers(context.extradata) if name == "h264" else None
        self._count = 0
        self._lost_at = -1
        self._needs_key, self._has_begun = True, self._is_jpeg
        self._aspects: dict[int, float | None] = {}
        self.lost = 0

    def decode(self, packet: Packet[Any], *, lost: int = 0, is_torn: bool = False) -> Iterator[Decoded]:
        """The pictures that this packet completes.

        Args:
            packet: of the stream; an empty one asks for what the decoder still holds.
            lost: packets of the network that are known to have been lost before, or within, this one.
            is_torn: a part of this one is missing.
        """
        data = bytes(packet)
        left_out = self._numbers.missing_before(data) if self._numbers else 0
        # The same loss, told by the network, by the pictures, or by the container, which does not say how much it was.
        missing = lost or left_out or int(packet.is_corrupt)
        self.lost += missing
        is_torn = is_torn or packet.is_corrupt or (self._is_jpeg and bool(data) and not is_whole(data))
        if missing or is_torn:
            self._lose()
        if (lost or packet.is_corrupt) and self._numbers:
            self._numbers.forget()
        self._count += 1
        if is_torn and not data:  # nothing of it came; the decoder would take it for the end of the stream
            yield Decoded(None, True, None)
            return
        packet.opaque = self._count
        try:
            pictures = self._context.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            self._lose()
            yield Decoded(None, True, None)
            return
        self._aspects[self._count] = self._said_aspect()
        self._aspects.pop(self._count - MOST_UNDER_WAY, None)
        for picture in pictures:
            decoded = self._judged(picture, is_torn=is_torn)
            # Whoever joins a stream between two key pictures gets no picture until the next; nothing was lost there.
            self._has_begun = self._has_begun or not decoded.is_damaged
            if self._has_begun:
                yield decoded
        if is_torn:
            self._lose()

    def _said_aspect(self) -> float | None:
        aspect = declared_aspect(self._context.sample_aspect_ratio)
        return None if aspect == 1 and self._is_jpeg else aspect  # JPEG's writers put that where they know nothing

    @property
    def can_skip(self) -> bool:
        """Whether pictures may be left out: some are built on others, and they come in the order they are shown."""
        return not self._is_jpeg and not self._context.has_b_frames

    def skip(self, lost: int = 0) -> None:
        """Leaves a packet out; what is built on its picture is damaged then."""
        self.lost += lost
        if self._numbers:
            self._numbers.forget()
        self._lose()

    def _judged(self, picture: VideoFrame, *, is_torn: bool) -> Decoded:
        came = picture.opaque if isinstance(picture.opaque, int) else self._count
        if picture.is_corrupt and not self._needs_key:
            self._lose()
        elif picture.key_frame and came > self._lost_at and not picture.is_corrupt:
            self._needs_key = False
        is_spoilt = picture.is_corrupt or (self._needs_key and not self._marks_recovery)
        return Decoded(picture, is_torn or is_spoilt, self._aspects.get(came))

    def _lose(self) -> None:
        """Forgets what came before: what follows must not be built on it.

        H.264's decoder marks what it gives then as corrupt until it has recovered; of the others a key is awaited.
        """
        self._lost_at, self._needs_key = self._count, True
        if self._context.is_open and not self._is_jpeg:
            self._context.flush_buffers()


class PixelAspects:
    """The shape of each picture's pixels on one connection.

    What the stream says of a picture holds for that picture. Where it says nothing, a shape is presumed only while
    nothing has changed since the beginning: afterwards it is not known.

    Args:
        declared: what the container says; None where it does not.
    """

    def __init__(self, declared: Fraction | None) -> None:
        self._declared = declared_aspect(declared)
        self._first: tuple[int, int] | None = None
        self._has_said = False

    def of(self, said: float | None, width: int, height: int) -> float | None:
        """Width of the pixels of a picture over their height; None where it is not known.

        Args:
            said: what the stream says of this picture.
            width: of it, in pixels.
            height: of it, in pixels.
        """
        self._first = self._first or (width, height)
        if said is not None:
            self._has_said = True
            return said
        if self._has_said or (width, height) != self._first:
            return None
        return self._declared or presumed_aspect(width, height)


def presumed_aspect(width: int, height: int) -> float | None:
    """That of a feed which does not say it: square, but for the sizes of analogue video, whose pixels are not."""
    return None if (height in ANALOGUE_LINES and width in ANALOGUE_COLUMNS) else 1.0


def declared_aspect(aspect: Fraction | None) -> float | None:
    """What a stream says of its pixels, where it says something that can be."""
    narrow, wide = PLAUSIBLE_ASPECT
    return float(aspect) if aspect and narrow <= aspect <= wide else None
