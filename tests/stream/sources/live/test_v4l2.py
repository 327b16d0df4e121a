"""Capturing by V4L2 on a driver that is a test: no machine at hand has a device, so a FIFO stands where the file would.

Its structures are packed by their offsets in `linux/videodev2.h`, written down here once more.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, SourceUnreadable
from stream.frames.reason import Reason
from stream.sources import open_live
from stream.sources.live.base import LiveSource
from stream.sources.live.device import _v4l2
from stream.sources.live.v4l2 import BUFFERS, CaptureRequest, V4l2Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.sources.live.base import LivePicture

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is of Linux")

WIDTH, HEIGHT = 64, 48


class FakeDriver:
    """Fills buffers when it is told to, and writes a byte to the FIFO for each.

    Args:
        codes: on offer.
        granted: size that is granted whatever is asked for.
    """

    def __init__(
        self,
        codes: Sequence[str] = ("YUYV", "MJPG"),
        *,
        granted: tuple[int, int] = (WIDTH, HEIGHT),
        can_capture: bool = True,
    ) -> None:
        self._codes, self._granted, self._can_capture = codes, granted, can_capture
        self._code = codes[0] if codes else ""
        self.memory: list[mmap.mmap] = []
        self.queued: list[int] = []
        self.filled: list[tuple[int, int, int, int, int]] = []
        self.is_streaming = False
        self.unplugged = False
        self.rate: tuple[int, int] = (1, 30)

    def map(self, fd: int, length: int, offset: int) -> mmap.mmap:
        assert offset == len(self.memory) * 4096 * 64
        self.memory.append(mmap.mmap(-1, length))
        return self.memory[-1]

    def ioctl(self, fd: int, request: int, data: bytearray) -> None:
        if self.unplugged:
            if request == 0xC0585611:
                os.read(fd, 1)
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        answers: dict[int, Callable[[int, bytearray], None]] = {
            0x80685600: self._querycap,
            0xC0405602: self._enumerate,
            0xC0D05604: self._get_format,
            0xC0D05605: self._set_format,
            0xC0CC5616: self._set_rate,
            0xC0145608: self._request,
            0xC0585609: self._query,
            0xC058560F: self._queue,
            0xC0585611: self._dequeue,
            0x40045612: lambda fd, data: setattr(self, "is_streaming", True),
            0x40045613: lambda fd, data: setattr(self, "is_streaming", False),
        }
        answers[request](fd, data)

    def _querycap(self, fd: int, data: bytearray) -> None:
        assert len(data) == 104
        data[16:27] = b"Fake camera"
        struct.pack_into("=I", data, 88, 0x04000001 if self._can_capture else 0x2)

    def _enumerate(self, fd: int, data: bytearray) -> None:
        (index,) = struct.unpack_from("=I", data, 0)
        if index >= len(self._codes):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        struct.pack_into("4s", data, 44, self._codes[index].encode())

    def _get_format(self, fd: int, data: bytearray) -> None:
        assert len(data) == 208
        line = {"YUYV": 2, "UYVY": 2}.get(self._code, 0 if self._code == "MJPG" else 1) * self._granted[0]
        struct.pack_into("=II4sII", data, 8, *self._granted, self._code.encode(), 1, line)

    def _set_format(self, fd: int, data: bytearray) -> None:
        self._code = data[16:20].decode()
        self._get_format(fd, data)

    def _set_rate(self, fd: int, data: bytearray) -> None:
        assert len(data) == 204
        self.rate = struct.unpack_from("=II", data, 12)

    def _request(self, fd: int, data: bytearray) -> None:
        assert struct.unpack_from("=III", data) == (BUFFERS, 1, 1)

    def _query(self, fd: int, data: bytearray) -> None:
        (index,) = struct.unpack_from("=I", data)
        struct.pack_into("=I", data, 64, index * 4096 * 64)
        struct.pack_into("=I", data, 72, 4096 * 32)

    def _queue(self, fd: int, data: bytearray) -> None:
        assert len(data) == 88
        self.queued.append(struct.unpack_from("=I", data)[0])

    def _dequeue(self, fd: int, data: bytearray) -> None:
        os.read(fd, 1)
        index, used, flags, stamp_ns, sequence = self.filled.pop(0)
        struct.pack_into("=I", data, 0, index)
        struct.pack_into("=II", data, 8, used, flags)
        struct.pack_into("=qq", data, 24, stamp_ns // 10**9, stamp_ns % 10**9 // 1000)
        struct.pack_into("=I", data, 56, sequence)

    def show(self, path: Path, content: bytes, sequence: int, *, flags: int = 0x2000, age_s: float = 0.01) -> None:
        """Fills the next free buffer."""
        index = self.queued.pop(0)
        self.memory[index][: len(content)] = content
        stamp_ns = time.monotonic_ns() - round(age_s * 1e9)
        self.filled.append((index, len(content), flags, stamp_ns, sequence))
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, b".")
        os.close(fd)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "video0"
    os.mkfifo(path)
    return path


def opened(device: Path, driver: FakeDriver, **wanted: object) -> V4l2Feed:
    return V4l2Feed(str(device), CaptureRequest(**wanted), MonotonicClock(), threading.Event(), driver=driver)  # type: ignore[arg-type]


def ramp() -> NDArray[np.uint8]:
    return np.tile(np.linspace(16, 235, WIDTH).astype(np.uint8), (HEIGHT, 1))


def as_code(code: str, luma: NDArray[np.uint8]) -> bytes:
    """A picture's bytes in a raw format; the colour is grey."""
    if code == "GREY":
        return luma.tobytes()
    if code == "NV12":
        return luma.tobytes() + bytes([128]) * (luma.size // 2)
    first, second = (luma, np.full_like(luma, 128)) if code == "YUYV" else (np.full_like(luma, 128), luma)
    return np.stack([first, second], axis=2).tobytes()


@pytest.mark.parametrize("code", ["GREY", "NV12", "YUYV", "UYVY"])
def test_raw_pictures_are_read_in_every_format(device: Path, code: str) -> None:
    driver = FakeDriver([code])
    feed = opened(device, driver)
    assert feed.format == f"{WIDTH}x{HEIGHT} {code}"
    driver.show(device, as_code(code, ramp()), 0)
    picture = next(iter(feed))
    expected = ramp() if code == "GREY" else np.rint((ramp().astype(float) - 16) * 255 / 219).astype(np.uint8)
    assert np.array_equal(picture.image, expected)
    feed.close()


def test_motion_jpeg_is_decoded_and_large_pictures_come_compressed(device: Path) -> None:
    driver = FakeDriver(granted=(1280, 720))
    feed = opened(device, driver, width=1280, height=720, rate_hz=60.0)
    assert feed.format == "1280x720 MJPG 60 Hz"
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (720, 1280), np.uint8), (0, 0), 9)
    _, jpeg = cv2.imencode(".jpg", smooth)
    content = jpeg.tobytes()
    assert len(content) <= 4096 * 32
    driver.show(device, content, 5)
    picture = next(iter(feed))
    assert np.abs(picture.image.astype(int) - smooth).mean() < 2.0
    feed.close()


def test_numbers_left_out_are_lost_and_stamps_are_the_kernel_s(device: Path) -> None:
    driver = FakeDriver(["GREY"])
    feed = opened(device, driver)
    pictures: list[LivePicture] = []
    content = as_code("GREY", ramp())
    stream = iter(feed)
    for sequence in (0, 1, 4, 5):
        driver.show(device, content, sequence, age_s=0.02)
        before_ns = time.monotonic_ns()
        pictures.append(next(stream))
        assert 15e6 < before_ns - pictures[-1].captured_ns < 500e6
    assert [picture.lost_before for picture in pictures] == [0, 0, 2, 0]
    driver.show(device, content, 8, flags=0)  # a stamp of another clock
    last = next(stream)
    assert last.lost_before == 2
    assert time.monotonic_ns() - last.captured_ns < 50e6
    feed.close()


def test_damaged_pictures_are_refused(device: Path) -> None:
    driver = FakeDriver(["GREY"])
    feed = opened(device, driver)
    content, stream = as_code("GREY", ramp()), iter(feed)
    for sequence, (shown, flags, refusal) in enumerate(
        [
            (content, 0x2000, None),
            (content, 0x2040, Reason.DAMAGED),  # the driver says so
            (content[:-1], 0x2000, Reason.DAMAGED),  # cut short
            (content, 0x2000, None),
        ]
    ):
        driver.show(device, shown, sequence, flags=flags)
        picture = next(stream)
        assert (picture.refusal, picture.lost_before) == (refusal, 0)
        assert picture.image.shape == (HEIGHT, WIDTH)
    feed.close()


def test_a_jpeg_that_is_not_whole_is_refused_and_the_one_after_it_is_not(device: Path) -> None:
    driver = FakeDriver(["MJPG"])
    feed = opened(device, driver)
    whole, stream = cv2.imencode(".jpg", ramp())[1].tobytes(), iter(feed)
    shown = [whole, whole[: len(whole) * 2 // 3], whole[:-2], whole[:-40] + b"\xff\xd9", whole]
    refusals = []
    for sequence, data in enumerate(shown):
        driver.show(device, data, sequence)
        refusals.append(next(stream).refusal)
    assert refusals == [None, Reason.DAMAGED, Reason.DAMAGED, Reason.DAMAGED, None]
    feed.close()


def test_analogue_sizes_have_pixels_of_unknown_shape(device: Path) -> None:
    driver = FakeDriver(["GREY"], granted=(352, 288))
    feed = opened(device, driver)
    driver.show(device, bytes(352 * 288), 0)
    assert next(iter(feed)).pixel_aspect is None
    feed.close()


def test_a_device_that_is_closed_before_its_first_read_is_given_back(device: Path) -> None:
    driver = FakeDriver(["GREY"])
    before = len(os.listdir("/proc/self/fd"))
    feed = opened(device, driver)
    assert driver.is_streaming
    feed.close()
    feed.close()
    assert not driver.is_streaming
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(feed) == []


def test_it_is_a_live_source_that_counts_losses_and_comes_back(device: Path) -> None:
    drivers: list[FakeDriver] = []

    def connect(cancelled: threading.Event) -> V4l2Feed:
        drivers.append(FakeDriver(["GREY"]))
        return V4l2Feed(str(device), CaptureRequest(), MonotonicClock(), cancelled, driver=drivers[-1])

    source = LiveSource("v4l2:fake", kind="v4l2", connect=connect, clock=MonotonicClock())
    content = as_code("GREY", ramp())
    got: list[int] = []

    def read() -> None:
        got.extend(frame.segment for frame in source)

    reader = threading.Thread(target=read)
    reader.start()

    def wait(is_done: Callable[[], bool]) -> None:
        for _ in range(500):
            if is_done():
                return
            time.sleep(0.01)
        pytest.fail("did not come")

    wait(lambda: bool(drivers) and drivers[0].is_streaming)
    for sequence in (0, 3):
        drivers[0].show(device, content, sequence)
        wait(lambda: not drivers[0].filled)
    drivers[0].unplugged = True
    fd = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b".")
    wait(lambda: len(drivers) > 1 and drivers[1].is_streaming)
    os.close(fd)
    drivers[1].show(device, content, 0)
    wait(lambda: len(got) == 3)
    assert source.status.lost == 2
    assert source.status.format == f"{WIDTH}x{HEIGHT} GREY"
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert got == [0, 0, 1]
    assert not drivers[1].is_streaming
    assert len(os.listdir("/proc/self/fd")) < 200


def test_what_cannot_capture_says_so(device: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="Fake camera does not capture video"):
        opened(device, FakeDriver(can_capture=False))
    with pytest.raises(SourceUnreadable, match="offers BA81; GREY NV12"):
        opened(device, FakeDriver(["BA81"]))
    with pytest.raises(SourceUnreadable, match="offers YUYV, MJPG; UYVY can be read"):
        opened(device, FakeDriver(), code="UYVY")
    with pytest.raises(SourceUnreadable, match="cannot be opened"):
        opened(tmp_path / "none", FakeDriver())
    refusing = FakeDriver(["GREY"])
    refusing.unplugged = True
    with pytest.raises(SourceUnreadable, match="the driver refuses"):
        opened(device, refusing)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with pytest.raises(SourceUnreadable, match="the driver refuses"):  # the real kernel, asked of a file
        V4l2Feed(str(plain), CaptureRequest(), MonotonicClock(), threading.Event())


def test_the_address_says_size_rate_and_format(device: Path) -> None:
    path, wanted = _v4l2(f"{device}?size=1920x1080&rate=59.94&format=mjpeg")
    assert (path, wanted) == (str(device), CaptureRequest(width=1920, height=1080, rate_hz=59.94, code="MJPG"))
    for bad in ("?size=big", "?rate=fast", "?format=h265", "?colour=1"):
        with pytest.raises(OptionError, match="write v4l2:"):
            open_live(f"v4l2:{device}{bad}")
