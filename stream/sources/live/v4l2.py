"""A live V4L2 feed, with the kernel's timestamps and frame numbers.

    driver --filled buffer--> number, stamp --> grey --> Picture
       ^___________________________|
             given back at once

A number that is left out is a picture that the driver had no buffer for: it is counted as lost. One that the driver
marks, that is short, or whose JPEG is not whole is damaged, and not to be measured.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np

from stream.common.errors import SourceUnreadable
from stream.frames.reason import Reason
from stream.sources.decoding.checked_decoder import presumed_aspect
from stream.sources.decoding.jpeg import is_whole
from stream.sources.decoding.luma import grey_image, to_full_range
from stream.sources.live.base import LivePicture
from stream.sources.live.sender_clock import SenderClock
from stream.sources.live.v4l2_driver import CaptureDevice, Driver, KernelDriver, PixelFormat

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator

    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.sources.live.v4l2_driver import FilledBuffer

BUFFERS = 4
"""Enough for the time between two looks of a busy machine; what is older than the newest is dropped later anyway."""
READ_TIMEOUT_S = 2.0
WAKE_S = 0.2
OLDEST_STAMP_NS = 1_000_000_000
"""A stamp older than this is of another clock."""
PREFERRED = ("GREY", "NV12", "YUYV", "UYVY", "MJPG")
"""Codes that can be read, the cheapest first."""
LARGE_PX = 1280 * 720
"""From this size on a camera's bus carries no more than a few raw pictures a second: compressed ones go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Options of a capture device; 0 or "" leaves it to the device.

    Attributes:
        code: `MJPG`, `YUYV`, `UYVY`, `NV12` or `GREY`.
    """

    width: int = 0
    height: int = 0
    rate_hz: float = 0.0
    code: str = ""


class V4l2Feed:
    """One opened device.

    Args:
        path: of the device.
        wanted: size, rate and format.
        clock: of the pipeline; the kernel's monotonic stamps are on it.
        cancelled: set when the source is closed.
        driver: the machine below.

    Attributes:
        format: what was negotiated, for people.
        skipped: 0, there are no messages here.

    Raises:
        SourceUnreadable: it cannot be opened, or cannot capture.
    """

    skipped = 0

    def __init__(
        self,
        path: str,
        wanted: CaptureRequest,
        clock: Clock,
        cancelled: threading.Event,
        *,
        driver: Driver | None = None,
    ) -> None:
        self._name, self._clock, self._cancelled = f"v4l2:{path}", clock, cancelled
        self._closed = threading.Event()
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._sender = SenderClock()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise SourceUnreadable(f"{self._name}: cannot be opened ({error.strerror})") from error
        self._capture = CaptureDevice(self._fd, driver or KernelDriver())
        self._memory: list[mmap.mmap] = []
        try:
            self._format, rate_hz = self._negotiate(wanted)
            self._memory = self._capture.buffers(BUFFERS)
            self._capture.start()
        except OSError as error:
            self._release()
            raise SourceUnreadable(f"{self._name}: the driver refuses ({error.strerror or error})") from error
        except SourceUnreadable:
            self._release()
            raise
        rate = f" {rate_hz:g} Hz" if rate_hz else ""
        self.format = f"{self._format.width}x{self._format.height} {self._format.code}{rate}"
        self._grey = _reader_of(self._format)
        self._last: NDArray[np.uint8] = np.zeros((self._format.height, self._format.width), np.uint8)

    @property
    def note(self) -> str:
        return self._sender.note

    def _negotiate(self, wanted: CaptureRequest) -> tuple[PixelFormat, float | None]:
        card, can_capture = self._capture.name()
        if not can_capture:
            raise SourceUnreadable(f"{self._name}: {card or 'the device'} does not capture video; give another device")
        now = self._capture.current()
        width, height = wanted.width or now.width, wanted.height or now.height
        offered = list(self._capture.codes())
        order = [wanted.code] if wanted.code else _in_order(width * height)
        code = next((code for code in order if code in offered), "")
        if not code:
            raise SourceUnreadable(
                f"{self._name}: offers {', '.join(offered) or 'no format'}; {' '.join(order)} can be read"
            )
        granted = self._capture.set_format(width, height, code)
        if granted.code not in PREFERRED:
            raise SourceUnreadable(f"{self._name}: gives {granted.code} where {code} was asked for")
        return granted, self._capture.set_rate(wanted.rate_hz) if wanted.rate_hz else None

    def __iter__(self) -> Iterator[LivePicture]:
        last, lost = -1, 0
        with self._reading:
            try:
                while not self._closed.is_set():
                    filled = self._next()
                    if filled is None:
                        return
                    if 0 <= last < filled.sequence:  # a number that goes back is of a stream begun anew
                        lost = filled.sequence - last - 1
                    last = filled.sequence
                    yield self._picture(filled, lost_before=lost)
                    lost = 0
            except OSError as error:
                if not self._closed.is_set():
                    raise SourceUnreadable(f"{self._name}: lost ({error.strerror or error})") from error
            finally:
                self._release()

    def _picture(self, filled: FilledBuffer, *, lost_before: int) -> LivePicture:
        image = None if filled.is_damaged else self._grey(self._memory[filled.index][: filled.used_bytes])
        self._capture.give_back(filled.index)
        if image is not None:
            self._last = image
        height, width = self._last.shape
        return LivePicture(
            image=self._last,
            captured_ns=self._captured_ns(filled),
            pixel_aspect=presumed_aspect(width, height),
            lost_before=lost_before,
            refusal=Reason.DAMAGED if image is None else None,
        )

    def _next(self) -> FilledBuffer | None:
        """Waits for a filled buffer; None where the feed was closed."""
        waited_s = 0.0
        while waited_s < READ_TIMEOUT_S:
            if self._closed.is_set() or self._cancelled.is_set():
                return None
            ready, _, _ = select.select([self._fd], [], [], WAKE_S)
            if ready:
                with suppress(BlockingIOError):
                    return self._capture.take()
            waited_s += WAKE_S
        raise SourceUnreadable(f"{self._name}: no picture came for {READ_TIMEOUT_S:.0f} s")

    def _captured_ns(self, filled: FilledBuffer) -> int:
        now_ns = self._clock.now_ns()
        if filled.is_monotonic and 0 <= now_ns - filled.stamp_ns < OLDEST_STAMP_NS:
            return filled.stamp_ns
        return self._sender.captured_ns(filled.stamp_ns, now_ns)

    def close(self) -> None:
        """Ends a waiting read within `WAKE_S`; the device is given back by the reader, or here where nobody reads."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            self._release()
            self._reading.release()

    def _release(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with suppress(OSError):  # it may have been unplugged
            self._capture.stop()
        for memory in self._memory:
            memory.close()
        os.close(fd)


def _in_order(pixels: int) -> list[str]:
    return ["MJPG", *PREFERRED[:-1]] if pixels >= LARGE_PX else list(PREFERRED)


def _reader_of(format: PixelFormat) -> Callable[[bytes], NDArray[np.uint8] | None]:
    """Makes grey pictures of a buffer's bytes; None of bytes that are no whole picture."""
    if format.code == "MJPG":
        return _jpeg_reader()
    height, width = format.height, format.width
    step, first = {"GREY": (1, 0), "NV12": (1, 0), "YUYV": (2, 0), "UYVY": (2, 1)}[format.code]
    line_bytes = format.line_bytes or step * width

    def read(data: bytes) -> NDArray[np.uint8] | None:
        if len(data) < line_bytes * height:
            return None
        lines = np.frombuffer(data, np.uint8, line_bytes * height).reshape(height, line_bytes)
        luma = np.ascontiguousarray(lines[:, first : step * width : step])
        return to_full_range(luma, bits=8, is_full=format.code == "GREY")

    return read


def _jpeg_reader() -> Callable[[bytes], NDArray[np.uint8] | None]:
    decoder: VideoCodecContext = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode"}

    def read(data: bytes) -> NDArray[np.uint8] | None:
        if not is_whole(data):
            return None
        try:
            pictures = decoder.decode(av.Packet(data))
        except av.error.FFmpegError:
            return None
        return grey_image(pictures[-1]) if pictures else None

    return read
