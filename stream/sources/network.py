"""Video over the network, low in delay: RTSP, RTMP, MPEG-TS over UDP, and whatever else FFmpeg takes by HTTP or TCP."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import av
import av.error

from engines.redaction import redacted
from stream.errors import SourceUnreadable
from stream.sources.live import LiveSource, Picture
from stream.sources.luma import grey_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from av.container import InputContainer

    from stream.clock import Clock
    from stream.frame import PixelSpacing

SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "udp", "rtp", "tcp", "http", "https", "srt"})
OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 2.0
"""A feed that sends nothing for so long is taken for lost, and connected anew."""

ANALOGUE_LINES, ANALOGUE_COLUMNS = frozenset({240, 288, 480, 486, 576}), frozenset({352, 704, 720})
"""Sizes of digitised PAL and NTSC video, 4:3 or 16:9 in the same number of pixels."""

# No buffer before the demuxer, and pictures given out as they are decoded: FFmpeg otherwise holds a feed back by up to
# seconds to smooth it.
LOW_DELAY: Mapping[str, str] = {"fflags": "nobuffer", "flags": "low_delay", "max_delay": "100000"}
BY_SCHEME: Mapping[str, Mapping[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
    "rtmp": {"rtmp_live": "live", "rtmp_buffer": "100"},
}


def open_network(
    uri: str, *, clock: Clock, spacing: PixelSpacing | None = None, options: Mapping[str, str] | None = None
) -> LiveSource:
    """A live source at a network address; nothing is connected before it is iterated.

    Args:
        uri: `rtsp://user:password@host/path`, `udp://@:5000`, `http://host/stream.mjpg` ...
        clock: stamps frames as they are decoded.
        spacing: mm per pixel.
        options: for FFmpeg, over those chosen here.
    """
    scheme = uri.partition(":")[0].lower()
    chosen = {**LOW_DELAY, **BY_SCHEME.get(scheme, {}), **(options or {})}
    return LiveSource(
        redacted(uri),
        kind=scheme,
        connect=lambda cancelled: NetworkFeed(uri, chosen, clock, cancelled),
        clock=clock,
        spacing=spacing,
    )


class NetworkFeed:
    """One connection by FFmpeg.

    Opening runs in a thread of its own, so that it can be given up at once; the thread ends by FFmpeg's time-out.

    Args:
        name: what errors call it, where that is not its address without passwords.

    Raises:
        SourceUnreadable: nobody answers, it is no video, or opening was cancelled.
    """

    def __init__(
        self,
        uri: str,
        options: Mapping[str, str],
        clock: Clock,
        cancelled: threading.Event,
        *,
        file_format: str | None = None,
        name: str | None = None,
    ) -> None:
        self._name, self._clock = name or redacted(uri), clock
        self._closed = threading.Event()
        opening = _Opening(uri, options, file_format)
        while not opening.done.wait(0.05):
            if cancelled.is_set():
                opening.give_up()
                raise SourceUnreadable(f"{self._name}: opening was cancelled")
        self._container = opening.result(self._name)

    def __iter__(self) -> Iterator[Picture]:
        container = self._container
        try:
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # frame threads would hold back as many pictures as there are threads
            aspect = stream.sample_aspect_ratio
            for picture in container.decode(stream):
                if self._closed.is_set():
                    return
                yield Picture(
                    image=grey_of(picture),
                    captured_ns=self._clock.now_ns(),
                    pixel_aspect=float(aspect) if aspect else _presumed_aspect(picture.width, picture.height),
                )
        except IndexError as error:
            raise SourceUnreadable(f"{self._name}: there is no video in it") from error
        except (av.error.FFmpegError, OSError) as error:
            if not self._closed.is_set():
                raise SourceUnreadable(f"{self._name}: lost ({_said(error)})") from error
        finally:
            container.close()

    def close(self) -> None:
        """Ends the iteration at its next picture, or when the read times out: FFmpeg cannot be woken from outside."""
        self._closed.set()


def _presumed_aspect(width: int, height: int) -> float | None:
    """That of a feed which does not say it: square, but for the sizes of analogue video, whose pixels are not."""
    return None if (height in ANALOGUE_LINES and width in ANALOGUE_COLUMNS) else 1.0


class _Opening:
    """An address being opened in a thread, which nobody has to wait for."""

    def __init__(self, uri: str, options: Mapping[str, str], file_format: str | None) -> None:
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._given_up = False
        self._container: InputContainer | None = None
        self._error: Exception | None = None
        self._arguments: dict[str, Any] = {"options": dict(options), "timeout": (OPEN_TIMEOUT_S, READ_TIMEOUT_S)}
        if file_format:
            self._arguments["format"] = file_format
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
        if self._error is not None:
            raise SourceUnreadable(f"{name}: cannot be opened ({_said(self._error)})") from self._error
        assert self._container is not None
        return self._container


def _said(error: Exception) -> str:
    """An error of FFmpeg without the address in it, which may hold a password."""
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return "nothing came in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)
