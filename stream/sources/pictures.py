"""The whole pictures of a video stream, in order, and an account of those that were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream


class PictureReader:
    """Decodes a stream, leaving out every picture that cannot be trusted.

    A packet that is cut short or cannot be decoded, and a picture the decoder marks as corrupt, are lost.
    What comes after them in decoding order is built on them, so it is left out too, up to the next key
    picture. Damage that a decoder hides without a word is not seen.

    Attributes:
        lost: pictures left out so far.
        end: where the last sound packet ends, in units of the stream's time base.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._order = -1  # of the packet read last; rides on it through the decoder, which reorders
        self._damaged_from: int | None = None
        self._damaged_to = -1
        self.lost = 0
        self.end = 0
        stream.codec_context.copy_opaque = True
        # One thread: with frame threads the decoder's marks of corruption come and go from run to run, and with
        # slice threads they never come.
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1

    @property
    def is_damaged(self) -> bool:
        """No key picture has come since the last damage; at the end it means the recording is cut off."""
        return self._damaged_from is not None

    def __iter__(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # the one that ends the stream is empty
                    yield from self._decode(packet)
        except av.FFmpegError:
            self._order += 1
            self._lose(self._order)
        yield from self._pictures(None)

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
        self._order += 1
        if packet.is_corrupt:
            self._lose(self._order)
            return
        packet.opaque = self._order
        stamp = packet.dts if packet.pts is None else packet.pts
        self.end = max(self.end, (stamp or 0) + (packet.duration or 0))
        yield from self._pictures(packet)

    def _pictures(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        """Sends one packet, or the end, to the decoder and yields the sound pictures that come out."""
        try:
            pictures = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            self._lose(self._order)
            return
        for picture in pictures:
            order = picture.opaque if isinstance(picture.opaque, int) else self._order
            if picture.is_corrupt:
                self._lose(order)
            elif self._is_sound(order, is_key=picture.key_frame):
                yield picture
            else:
                self.lost += 1

    def _is_sound(self, order: int, *, is_key: bool) -> bool:
        if is_key and order > self._damaged_to:
            self._damaged_from = None
        return self._damaged_from is None or order < self._damaged_from

    def _lose(self, order: int) -> None:
        self.lost += 1
        self._damaged_from = order if self._damaged_from is None else min(order, self._damaged_from)
        self._damaged_to = max(order, self._damaged_to)
