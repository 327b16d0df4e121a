"""Low-latency network video: RTSP, RTMP, MPEG-TS over UDP, HTTP, TCP."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import av.error

from engines.redaction import redact
from stream.common.errors import SourceDenied, SourceUnreadable
from stream.sources.decoding.acceleration import CPU, acceleration, check_decoder, decoder_of
from stream.sources.live.base import LiveSource
from stream.sources.live.rtsp.source import CodecNotCounted, RtspFeed
from stream.sources.live.video_pictures import VideoPictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.live.base import Feed, LivePicture

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 2.0
"""A feed that sends nothing for so long is taken for lost, and connected anew."""

_log = logging.getLogger(__name__)

WITH_STAMPS = frozenset({"flv", "matroska,webm", "mpegts", "rtp", "rtsp", "sdp", "x11grab"})
"""Containers whose time stamps are the sender's; of the others FFmpeg makes them up from a frame rate."""

# No buffer before the demuxer, and pictures given out as they are decoded: FFmpeg otherwise holds a feed back by up to
# seconds to smooth it.
LOW_DELAY: Mapping[str, str] = {"fflags": "nobuffer", "flags": "low_delay", "max_delay": "100000"}
BY_SCHEME: Mapping[str, Mapping[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
    "rtmp": {"rtmp_live": "live", "rtmp_buffer": "100"},
}


def open_network(
    uri: str,
    *,
    clock: Clock,
    spacing: PixelSpacing | None = None,
    options: Mapping[str, str] | None = None,
    decoder: str = CPU,
) -> LiveSource:
    """A live source at a network address; nothing is connected before it is iterated.

    Args:
        uri: `rtsp://user:password@host/path`, `udp://@:5000`, `http://host/stream.mjpg` ...
        clock: stamps frames as they are decoded.
        spacing: mm per pixel.
        options: for FFmpeg, over those chosen here; RTSP is read by FFmpeg too where there are any.
        decoder: `cpu`, or `cuda` and `cuda:1` for an NVIDIA GPU, which falls back on the CPU and says so.

    Raises:
        OptionError: the decoder is none of these.
    """
    check_decoder(decoder)
    scheme = uri.partition(":")[0].lower()
    chosen = {**LOW_DELAY, **BY_SCHEME.get(scheme, {}), **(options or {})}

    def connect(cancelled: threading.Event) -> Feed:
        if scheme == "rtsp" and not options:
            try:
                return RtspFeed(uri, clock, cancelled, decoder=decoder)
            except CodecNotCounted as error:
                _log.debug("%s: read by FFmpeg", error)
        return NetworkFeed(uri, chosen, clock, cancelled, decoder=decoder)

    return LiveSource(
        redact(uri),
        kind=scheme,
        connect=connect,
        clock=clock,
        spacing=spacing,
        address=uri,
    )


class NetworkFeed:
    """One connection by FFmpeg.

    Opening runs in a thread of its own, so that it can be given up at once; the thread ends by FFmpeg's time-out.

    Args:
        name: what errors call it, where that is not its address without passwords.
        decoder: see `open_network`.

    Attributes:
        format: size and codec.
        skipped: 0, there are no messages here.

    Raises:
        SourceUnreadable: nobody answers, it is no video, or opening was cancelled.
        SourceDenied: user name or password are refused.
    """

    skipped = 0

    def __init__(
        self,
        uri: str,
        options: Mapping[str, str],
        clock: Clock,
        cancelled: threading.Event,
        *,
        file_format: str | None = None,
        name: str | None = None,
        decoder: str = CPU,
    ) -> None:
        self._name, self._clock = name or redact(uri), clock
        self._closed = threading.Event()
        self._reading = threading.Lock()
        chosen = acceleration(decoder, self._name)
        opening = _Opening(uri, options, file_format, chosen)
        while not opening.done.wait(0.05):
            if cancelled.is_set():
                opening.give_up()
                raise SourceUnreadable(f"{self._name}: opening was cancelled")
        self._container = opening.result(self._name)
        streams = self._container.streams.video
        self.format, self._pictures = "", None
        if streams:
            context = streams[0].codec_context
            self.format = f"{context.width}x{context.height} {context.name}"
            self._pictures = VideoPictures(
                context,
                clock,
                declared=None if context.name == "mjpeg" else streams[0].sample_aspect_ratio,
                has_stamps=self._container.format.name in WITH_STAMPS,
                check_first=partial(decoder_of, wanted=decoder, source=self._name) if chosen else None,
            )

    @property
    def note(self) -> str:
        return self._pictures.note if self._pictures else ""

    def __iter__(self) -> Iterator[LivePicture]:
        with self._reading:
            if self._closed.is_set():
                return
            try:
                yield from self._read()
            except SourceUnreadable as error:
                raise SourceUnreadable(f"{self._name}: {error}") from error
            except (av.error.FFmpegError, OSError) as error:
                if not self._closed.is_set():
                    raise SourceUnreadable(f"{self._name}: lost ({_said(error)})") from error
            finally:
                self._container.close()

    def _read(self) -> Iterator[LivePicture]:
        pictures = self._pictures
        if pictures is None:
            raise SourceUnreadable("there is no video in it")
        index = self._container.streams.video[0].index
        for packet in self._container.demux():  # of all streams, so that sound alone is not taken for a feed
            if self._closed.is_set():
                return
            if packet.stream_index != index:
                pictures.check_time()
                continue
            for picture in pictures.of(packet):
                yield picture
                if self._closed.is_set():
                    return

    def close(self) -> None:
        """Ends the iteration at its next picture, or when the read times out: FFmpeg cannot be woken from outside."""
        self._closed.set()
        if self._reading.acquire(blocking=False):  # nobody reads, so nobody else gives it back
            self._container.close()
            self._reading.release()


class _Opening:
    """An address being opened in a thread, which nobody has to wait for."""

    def __init__(
        self, uri: str, options: Mapping[str, str], file_format: str | None, chosen: HWAccel | None = None
    ) -> None:
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._given_up = False
        self._container: InputContainer | None = None
        self._error: Exception | None = None
        self._arguments: dict[str, Any] = {"options": dict(options), "timeout": (OPEN_TIMEOUT_S, READ_TIMEOUT_S)}
        if file_format:
            self._arguments["format"] = file_format
        if chosen is not None:
            self._arguments["hwaccel"] = chosen
        threading.Thread(target=self._run, args=(uri,), name="partum-opening", daemon=True).start()

    def _run(self, uri: str) -> None:
        try:
            container = av.open(uri, **self._arguments)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: raised again by `result`
            self._error = error
        else:
            with self._lock:
                if self._given_up:
                    container.close()
                else:
                    self._container = container
        self.done.set()

    def give_up(self) -> None:
        """Nobody wants the container any more; it is closed, now or when it opens."""
        with self._lock:
            self._given_up = True
            if self._container is not None:
                self._container.close()
                self._container = None

    def result(self, name: str) -> InputContainer:
        error = self._error
        if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
            raise SourceDenied(f"{name}: user name or password is refused ({_said(error)})") from error
        if error is not None:
            raise SourceUnreadable(f"{name}: cannot be opened ({_said(error)})") from error
        assert self._container is not None
        return self._container


def _said(error: Exception) -> str:
    """An error of FFmpeg without the address in it, which may hold a password."""
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return "nothing came in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)
