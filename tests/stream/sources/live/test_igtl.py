"""OpenIGTLink: messages by the specification's layout, broken ones, and pyigtl as a peer of its own make."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.common.clock import ManualClock, MonotonicClock
from stream.common.errors import OptionError, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources import open_live
from stream.sources.live.base import PICTURE_TIMEOUT_S, LinkState
from stream.sources.live.igtl.messages import LONGEST_DETOUR_BYTES, MESSAGE_TIMEOUT_S, MessageReader
from stream.sources.live.igtl.protocol import (
    EXTENDED,
    HEADER,
    IMAGE,
    pack_image,
    pack_status,
    pack_string,
)
from stream.sources.live.igtl.source import IgtlFeed, open_igtl
from tests.fakes.triton_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.sources.live.base import LivePicture

NOW_NS = 1_790_000_000_250_000_000
PICTURE = np.random.default_rng(3).integers(0, 255, (40, 60), np.uint8)


def image_body(pixels: bytes, *, components: int = 1, scalar: int = 3, endian: int = 2, **changes: int) -> bytes:
    size = (changes.get("width", 4), changes.get("height", 3), changes.get("depth", 1))
    matrix = (0, 0.6, 0, 0.8, 0, 0, 0, 0, 1, 0, 0, 0)  # turned: columns run along y
    return IMAGE.pack(1, components, scalar, endian, 1, *size, *matrix, 0, 0, 0, *size) + pixels


class StepClock(ManualClock):
    """Moves on by a step at every look."""

    def __init__(self, step_s: float) -> None:
        super().__init__(1)
        self._step_ns = round(step_s * 1e9)

    def now_ns(self) -> int:
        self.advance(self._step_ns)
        return super().now_ns()


def feed_of(sent: bytes, device: str = "Probe", *, clock: Clock | None = None) -> tuple[IgtlFeed, threading.Thread]:
    """A feed whose peer has sent these bytes and gone, and the thread that sends them."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs, contextlib.suppress(OSError):  # the reader may have had enough
            theirs.sendall(sent)

    thread = threading.Thread(target=send)
    thread.start()
    return IgtlFeed(ours, "igtl://peer", device, clock or ManualClock(), threading.Event()), thread


def pictures_of(
    sent: bytes, device: str = "Probe", *, clock: Clock | None = None
) -> tuple[list[LivePicture], IgtlFeed]:
    feed, thread = feed_of(sent, device, clock=clock)
    try:
        return list(feed), feed
    finally:
        feed.close()
        thread.join()


GOOD = pack_image(PICTURE, "Probe", spacing=PixelSpacing(0.3, 0.3), timestamp_ns=NOW_NS)


def image(content: bytes, device: str = "Probe", *, size: int | None = None, version: int = 1) -> bytes:
    """An IMAGE message of any content, whose header may lie about its size."""
    length = len(content) if size is None else size
    return HEADER.pack(version, b"IMAGE", device.encode(), 0, length, 0) + content


VOLUME = image_body(bytes(4 * 3 * 5), depth=5)
LYING_METADATA = EXTENDED.pack(12, 60_000, 1 << 31, 7) + image_body(bytes(12))
CUT_STATUS = HEADER.pack(1, b"STATUS", b"Scanner", 0, 1, 0) + b"\0"


@pytest.mark.parametrize(
    ("bad", "count", "said"),
    [
        (image(b""), 1, "its headers do not fit its body of 0 bytes"),
        (image(image_body(b"", width=0, height=0)), 1, "cut short"),
        (image(VOLUME), 1, "4x3x5"),
        (image(image_body(bytes(11))), 1, "a body of 83 bytes, where its picture needs 84"),
        (image(image_body(bytes(24), scalar=4, endian=9)), 1, "its byte order is 9"),
        (image(image_body(bytes(48), scalar=10)), 1, "of type 10"),
        (image(image_body(b"\xff" * 12, scalar=2)), 1, "negative values"),
        (image(image_body(b"\x80\x00" * 12, scalar=4, endian=1)), 1, "is it a raw signal"),
        (image(LYING_METADATA, version=2), 1, "its headers do not fit"),
        (
            image(EXTENDED.pack(3, 0, 0, 0) + image_body(bytes(12)), version=2),
            1,
            "does not fit|where its picture needs",
        ),
        (image(b"12345", version=3), 1, "its body is cut short"),
        (image(image_body(bytes(12)) + bytes(100_000)), 1, "a body of 100084 bytes, where its picture needs 84"),
        (CUT_STATUS, 1, "STATUS of Scanner: cut short"),
        (HEADER.pack(1, b"VIDEO", b"Probe", 0, 9, 0) + b"whatever.", 0, ""),
        (HEADER.pack(2, b"POLYDATA", b"x", 0, 3, 0) + b"abc", 0, ""),
        (HEADER.pack(1, b"TRANSFORM", "\u00c9chographe".encode(), 0, 4, 0) + b"abcd", 0, ""),
    ],
)
def test_a_bad_message_is_stepped_over_and_counted(bad: bytes, count: int, said: str) -> None:
    found, feed = pictures_of(GOOD + bad + GOOD + bad + GOOD)
    assert len(found) == 3
    assert feed.skipped == 2 * count
    for picture in found:
        np.testing.assert_array_equal(picture.image, PICTURE)
    none, feed = pictures_of(bad)
    assert none == []
    assert not said or re.search(said, feed.note), feed.note


def test_a_short_status_or_a_volume_of_another_device_before_the_first_picture_does_no_harm() -> None:
    volume = image(VOLUME, "Recon")
    for device in ("", "Probe"):
        found, _ = pictures_of(volume + CUT_STATUS + GOOD + volume + GOOD, device)
        assert len(found) == 2


def test_a_body_is_read_as_far_as_its_picture_goes_and_a_lie_ends_the_connection() -> None:
    for lie in (200_000_000, LONGEST_DETOUR_BYTES + 1):
        feed, thread = feed_of(GOOD + image(b"", size=lie) + GOOD * 3)
        with pytest.raises(SourceUnreadable, match=rf"^igtl://peer: IMAGE of Probe.* {lie} bytes"):
            list(feed)
        feed.close()
        thread.join()
    wide = IMAGE.pack(1, 1, 3, 2, 1, 20_000, 12_000, 1, *([0.0] * 12), 0, 0, 0, 20_000, 12_000, 1)
    tracemalloc.start()
    feed, thread = feed_of(image(wide, size=len(wide) + 240_000_000))
    with pytest.raises(SourceUnreadable, match="ended within a message"):
        list(feed)
    feed.close()
    thread.join()
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_message_has_one_deadline_however_often_bytes_come() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(GOOD[:1000])
        reader = MessageReader(ours, StepClock(MESSAGE_TIMEOUT_S / 2))
        with pytest.raises(TimeoutError, match=f"did not end within {MESSAGE_TIMEOUT_S:.0f} s"):
            reader.read()


def test_a_peer_that_sends_no_picture_is_left_and_what_it_sends_is_said() -> None:
    clock = StepClock(PICTURE_TIMEOUT_S / 4)
    other = pack_image(PICTURE, "Image_Reference", spacing=None, timestamp_ns=0)
    words = pack_string("x", "Text", timestamp_ns=0)
    feed, thread = feed_of((other + words) * 40, "Image_Referense", clock=clock)
    said = f"igtl://peer: no picture came for {PICTURE_TIMEOUT_S:.0f} s; device 'Image_Referense' sends none;"
    with pytest.raises(SourceUnreadable, match=f"^{re.escape(said)} these do: Image_Reference$"):
        list(feed)
    feed.close()
    thread.join()


def test_a_peer_that_is_not_well_is_noted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    ill = pack_status(13, "NOT READY", "warming up", "Scanner", timestamp_ns=0)
    found, feed = pictures_of((ill + GOOD) * 5)
    assert len(found) == 5
    assert feed.note == "the peer says NOT READY: warming up (13)"
    assert len(caplog.records) == 1
    _, feed = pictures_of(ill + GOOD + pack_status(1, "OK", "", "Scanner", timestamp_ns=0) + GOOD)
    assert feed.note == ""


def test_a_device_that_is_mistyped_is_said_at_once() -> None:
    other = pack_image(PICTURE, "Image_Reference", spacing=None, timestamp_ns=0)
    _, feed = pictures_of(other, "Image")
    assert feed.note == "device 'Image' sends none; these do: Image_Reference"
    _, feed = pictures_of(HEADER.pack(2, b"VIDEO", b"Probe", 0, 3, 0) + b"abc")
    assert feed.note == "device 'Probe' sends none; these do: Probe (VIDEO)"


def test_what_stands_behind_a_name_s_zero_is_no_part_of_it() -> None:
    dirty = bytearray(GOOD)
    dirty[14:34] = b"Probe\0junk\xffjunk".ljust(20, b"\0")
    found, _ = pictures_of(bytes(dirty))
    assert len(found) == 1
    named = bytearray(GOOD)
    named[14:34] = "\u00c9cho".encode().ljust(20, b"\0")
    found, _ = pictures_of(bytes(named), "\u00c9cho")
    assert len(found) == 1


def sent_with(x_mm: float, y_mm: float, *, width: int = 4, height: int = 3) -> bytes:
    matrix = (x_mm, 0, 0, 0, y_mm, 0, 0, 0, 1, 0, 0, 0)
    size = (width, height, 1)
    return image(IMAGE.pack(1, 1, 3, 2, 1, *size, *matrix, 0, 0, 0, *size) + bytes(width * height))


@pytest.mark.parametrize(
    ("x_mm", "y_mm", "aspect", "said"),
    [
        (300.0, 300.0, 1.0, "300 x 300 mm per pixel is not plausible"),  # micrometres
        (0.0003, 0.0003, 1.0, "is it in another unit"),  # metres
        (200.0, 400.0, 0.5, "not plausible"),
        (float("nan"), 1.0, None, "positive"),
        (float("inf"), 1.0, None, "positive"),
        (1e38, 1e-38, None, "plausible|positive"),
        (2.0, 0.1, None, "too far from square"),
        (0.0, 0.0, 1.0, ""),  # left as it was
        (1.0, 1.0, 1.0, ""),
    ],
)
def test_a_spacing_that_ultrasound_cannot_have_is_unknown_and_the_reason_is_said(
    x_mm: float, y_mm: float, aspect: float | None, said: str
) -> None:
    (picture,), feed = pictures_of(sent_with(x_mm, y_mm))
    assert picture.spacing is None
    assert picture.pixel_aspect == pytest.approx(aspect) if aspect else picture.pixel_aspect is None
    assert re.search(said, feed.note) if said else not feed.note
    assert not feed.note or feed.note.startswith("IMAGE of Probe: ")


def test_analogue_sizes_without_a_spacing_have_pixels_of_unknown_shape() -> None:
    (picture,), _ = pictures_of(sent_with(1.0, 1.0, width=720, height=576))
    assert picture.pixel_aspect is None
    (picture,), _ = pictures_of(sent_with(0.3, 0.3, width=720, height=576))
    assert picture.pixel_aspect == 1.0


def test_ages_count_from_the_sender_s_stamps() -> None:
    def stamped(number: int) -> bytes:
        return pack_image(PICTURE, "Probe", spacing=None, timestamp_ns=NOW_NS + number * 40_000_000)

    clock = StepClock(0.03)  # a picture is read every 120 ms: four looks each
    found, _ = pictures_of(b"".join(stamped(number) for number in range(30)), clock=clock)
    steps = np.diff([picture.captured_ns for picture in found]) / 1e6
    assert steps == pytest.approx(40, abs=1)


@pytest.fixture
def peer() -> Iterator[tuple[object, int]]:
    """A server by pyigtl, another implementation."""
    pyigtl = pytest.importorskip("pyigtl")
    logging.getLogger("pyigtl").setLevel(logging.CRITICAL)
    (port,) = free_ports(1)
    server = pyigtl.OpenIGTLinkServer(port=port, local_server=True)
    yield server, port
    server.stop()


def test_pictures_of_another_implementation_are_read(peer: tuple[object, int]) -> None:
    import pyigtl

    server, port = peer
    source = open_live(f"igtl://127.0.0.1:{port}/Probe", clock=MonotonicClock())
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.wait(0.03):
            for device in ("Other", "Probe"):
                image = (PICTURE if device == "Probe" else PICTURE[::-1])[None]
                message = pyigtl.ImageMessage(image.copy(), device_name=device)
                server.send_message(message, wait=False)  # type: ignore[attr-defined]
            server.send_message(pyigtl.StringMessage(str(number), device_name="Text"), wait=False)  # type: ignore[attr-defined]
            number += 1

    thread = threading.Thread(target=send)
    thread.start()
    timer = threading.Timer(20, source.close)
    timer.start()
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 10:
            break
    stop.set()
    thread.join()
    timer.cancel()
    timer.join()
    source.close()
    assert len(frames) == 10
    for frame in frames:
        np.testing.assert_array_equal(frame.image, PICTURE)
        assert frame.spacing is None


class Sender:
    """A plain socket that sends pictures to whoever connects, and may break off."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.sent_ns: list[int] = []

    def send(self, image: NDArray[np.uint8], count: int, *, rate_hz: float) -> None:
        connection, _ = self._listening.accept()
        with connection:
            for _ in range(count):
                time.sleep(1 / rate_hz)
                message = pack_image(image, "Probe", spacing=PixelSpacing(0.3, 0.3), timestamp_ns=NOW_NS)
                self.sent_ns.append(time.monotonic_ns())
                connection.sendall(message)

    def close(self) -> None:
        self._listening.close()


def test_it_connects_again_and_the_scale_rides_on_the_frame() -> None:
    sender = Sender()
    source = open_igtl(f"igtl://127.0.0.1:{sender.port}", clock=MonotonicClock())

    def serve() -> None:
        for _ in range(3):
            sender.send(PICTURE, 4, rate_hz=100)

    thread = threading.Thread(target=serve)
    thread.start()
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 12:
            break
    thread.join()
    source.close()
    sender.close()
    assert [frame.segment for frame in frames] == [0] * 4 + [1] * 4 + [2] * 4
    assert [frame.spacing.x_mm for frame in frames if frame.spacing] == pytest.approx([0.3] * 12)
    assert source.status.connections == 3
    assert source.status.format == "Probe 60x40"


def test_closing_ends_a_waiting_read_at_once() -> None:
    sender = Sender()
    source = open_igtl(f"igtl://127.0.0.1:{sender.port}", clock=MonotonicClock())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.3)
    source.close()
    thread.join(1.5)  # a read that is not cut short waits for longer
    assert not thread.is_alive()
    assert source.status.link is LinkState.CLOSED
    sender.close()


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_that_cannot_be_is_refused_at_once(port: str) -> None:
    with pytest.raises(OptionError, match="host or port cannot be read"):
        open_igtl(f"igtl://127.0.0.1:{port}/x", clock=MonotonicClock())


@pytest.mark.parametrize("host", ["192.168.1..5", "a" * 70 + ".local", "127.0.0.1:1"])
def test_a_host_that_cannot_be_is_an_error_of_the_source_in_one_line(host: str) -> None:
    source = open_igtl(f"igtl://{host}/x", clock=MonotonicClock())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    for _ in range(200):
        if source.status.reason:
            break
        time.sleep(0.01)
    reason = source.status.reason
    source.close()
    thread.join(5)
    assert re.fullmatch(r"igtl://.*: cannot be connected \(.*\); check host and port", reason)


@pytest.mark.parametrize("uri", ["igtl://", "igtl://host:port", "igtl:///Probe"])
def test_addresses_that_cannot_be_meant(uri: str) -> None:
    with pytest.raises(OptionError, match="write igtl://host:18944/device"):
        open_igtl(uri, clock=MonotonicClock())
