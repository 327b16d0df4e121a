"""A live RTSP feed with counted packets: H.264 and H.265."""

from __future__ import annotations

import base64
import binascii
import logging
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import av.error

from engines.redaction import redact
from stream.common.errors import SourceError, SourceUnreadable
from stream.sources.decoding.acceleration import CPU, acceleration, decoder_of
from stream.sources.live.rtsp.client import RtspClient
from stream.sources.live.rtsp.rtp import H264, H265, START_CODE, Assembler, Packet, Payload
from stream.sources.live.rtsp.session_description import RtspAddress
from stream.sources.live.video_pictures import VideoPictures

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from stream.common.clock import Clock
    from stream.sources.live.base import LivePicture
    from stream.sources.live.rtsp.rtp import AccessUnit
    from stream.sources.live.rtsp.session_description import VideoDescription

_log = logging.getLogger(__name__)
PAYLOADS: dict[str, tuple[type[Payload], str, tuple[str, ...]]] = {
    "H264": (H264, "h264", ("sprop-parameter-sets",)),
    "H265": (H265, "hevc", ("sprop-vps", "sprop-sps", "sprop-pps")),
}
"""By SDP's name: how packets are read, the decoder, and where the description holds parameter sets."""


class CodecNotCounted(SourceUnreadable):
    """The session's video is of a codec whose packets are not put together here."""


class RtspFeed:
    """One session.

    Args:
        uri: with user and password.
        clock: of the pipeline.
        cancelled: set when the source is closed.

    Attributes:
        format: codec.
        skipped: packets that could not be read.

    Raises:
        SourceUnreadable: nobody answers, or there is no video.
        SourceDenied: user name or password are refused.
        CodecNotCounted: it is video of another codec.
    """

    def __init__(self, uri: str, clock: Clock, cancelled: threading.Event, *, decoder: str = CPU) -> None:
        self._name, self._is_closed = redact(uri), cancelled.is_set
        try:
            self._client = RtspClient(RtspAddress.parse(uri), clock)
        except SourceError as error:
            raise self._named(error) from error
        except OSError as error:
            raise SourceUnreadable(f"{self._name}: {_said(error)}") from error
        media = self._client.media
        if media.codec not in PAYLOADS or media.parameters.get("packetization-mode") == "2":
            self._client.close()
            raise CodecNotCounted(f"{self._name}: {media.codec or 'video of no codec that is said'}")
        payload, codec, names = PAYLOADS[media.codec]
        chosen = acceleration(decoder, self._name)
        context = av.CodecContext.create(codec, "r", chosen)
        assert isinstance(context, av.VideoCodecContext)
        context.extradata = _parameter_sets(media, names) or None
        check = partial(decoder_of, wanted=decoder, source=self._name) if chosen else None
        self._assembler, self._pictures = Assembler(payload()), VideoPictures(context, clock, check_first=check)
        self._time_base = Fraction(1, media.clock_hz)
        self._last_stamp: int | None = None
        self.format = media.codec

    @property
    def note(self) -> str:
        return self._pictures.note

    @property
    def skipped(self) -> int:
        return self._assembler.unreadable

    def __iter__(self) -> Iterator[LivePicture]:
        try:
            self._client.play()
            yield from self._read()
        except SourceError as error:
            if not self._is_closed():
                raise self._named(error) from error
        except (OSError, av.error.FFmpegError) as error:
            if not self._is_closed():
                raise SourceUnreadable(f"{self._name}: lost ({_said(error)})") from error
        finally:
            self._client.close()

    def _named(self, error: SourceError) -> SourceError:
        """The error with the session's name, in one line whatever the server wrote."""
        return type(error)(" ".join(f"{self._name}: {error}".split()))

    def _read(self) -> Iterator[LivePicture]:
        for data in self._client.packets():
            packet = Packet.parse(data)
            for unit in self._assembler.add(packet) if packet else ():
                yield from self._pictures.of(self._as_packet(unit), lost=unit.lost, is_torn=unit.is_torn)
            self._pictures.check_time()

    def _as_packet(self, unit: AccessUnit) -> av.Packet[Any]:
        packet: av.Packet[Any] = av.Packet(unit.data)
        packet.pts = packet.dts = self._unwrapped(unit.timestamp)
        packet.time_base = self._time_base
        packet.is_keyframe = unit.is_key
        return packet

    def _unwrapped(self, stamp: int) -> int:
        """The stamp without the wraps of its 32 bits."""
        last = self._last_stamp
        step = 0 if last is None else (stamp - last + (1 << 31)) % (1 << 32) - (1 << 31)
        self._last_stamp = stamp if last is None else last + step
        return self._last_stamp

    def close(self) -> None:
        """Ends a waiting read at once."""
        self._client.close()


def _parameter_sets(media: VideoDescription, names: tuple[str, ...]) -> bytes:
    """Those that the description holds, behind start codes; what does not read so is left out."""
    units = []
    for name in names:
        for text in media.parameters.get(name, "").split(","):
            try:
                units.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                _log.debug("parameter sets that are not base64: %s", name)
    return b"".join(START_CODE + unit for unit in units if unit)


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)
