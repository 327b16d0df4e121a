"""OpenIGTLink: messages by the specification's layout, broken ones, and pyigtl as a peer of its own make."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.clock import MonotonicClock
from stream.errors import OptionError, SourceUnreadable
from stream.frame import PixelSpacing
from stream.openigtlink import (
    EXTENDED,
    HEADER,
    IMAGE,
    Header,
    content_of,
    pack,
    pack_image,
    pack_string,
    parse_image,
    receive,
)
from stream.sources import open_live
from stream.sources.igtl import open_igtl
from stream.sources.live import Link
from tests.triton_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NOW_NS = 1_790_000_000_250_000_000
PICTURE = np.random.default_rng(3).integers(0, 255, (40, 60), np.uint8)


def header_of(message: bytes) -> Header:
    return Header.parse(message[: HEADER.size])


def body_of(message: bytes) -> memoryview:
    return memoryview(message)[HEADER.size :]


def test_the_layout_is_the_specification_s() -> None:
    message = pack_image(PICTURE, "Probe", spacing=PixelSpacing(0.2, 0.3), timestamp_ns=NOW_NS)
    assert (HEADER.size, IMAGE.size) == (58, 72)
    assert message[:2] == b"\x00\x01"
    assert message[2:14] == b"IMAGE".ljust(12, b"\0")
    assert message[14:34] == b"Probe".ljust(20, b"\0")
    assert struct.unpack(">II", message[34:42]) == (1_790_000_000, 1 << 30)  # a quarter of a second in 2^-32
    assert struct.unpack(">Q", message[42:50]) == (72 + 40 * 60,)
    assert message[58:64] == b"\x00\x01\x01\x03\x02\x01"  # version, 1 component, uint8, little-endian, RAS
    assert struct.unpack(">3H", message[64:70]) == (60, 40, 1)
    assert len(message) == 58 + 72 + 40 * 60


@pytest.mark.parametrize("spacing", [PixelSpacing(0.25, 0.5), None])
def test_what_is_packed_is_what_is_read(spacing: PixelSpacing | None) -> None:
    message = pack_image(PICTURE, "Probe", spacing=spacing, timestamp_ns=NOW_NS)
    header = header_of(message)
    assert (header.kind, header.device, header.timestamp_ns) == ("IMAGE", "Probe", NOW_NS)
    found = parse_image(header, body_of(message))
    np.testing.assert_array_equal(found.image, PICTURE)
    assert found.spacing == spacing


def image_body(pixels: bytes, *, components: int = 1, scalar: int = 3, endian: int = 2, **changes: int) -> bytes:
    size = (changes.get("width", 4), changes.get("height", 3), changes.get("depth", 1))
    matrix = (0, 0.6, 0, 0.8, 0, 0, 0, 0, 1, 0, 0, 0)  # turned: columns run along y
    return IMAGE.pack(1, components, scalar, endian, 1, *size, *matrix, 0, 0, 0, *size) + pixels


def read(body: bytes, *, version: int = 1) -> NDArray[np.uint8]:
    message = HEADER.pack(version, b"IMAGE", b"Probe", 0, len(body), 0)
    return parse_image(header_of(message), memoryview(body)).image


def test_other_pixels_become_grey_of_8_bits() -> None:
    wide = np.arange(12, dtype=">u2").reshape(3, 4) * 1000
    expected = np.round(np.arange(12).reshape(3, 4) / 11 * 255)
    for order, endian in ((">u2", 1), ("<u2", 2)):
        found = read(image_body(wide.astype(order).tobytes(), scalar=5, endian=endian))
        np.testing.assert_allclose(found, expected, atol=1)
    colour = np.zeros((3, 4, 3), np.uint8)
    colour[..., 1] = 255  # green
    np.testing.assert_array_equal(read(image_body(colour.tobytes(), components=3)), np.full((3, 4), 150))
    message = pack("IMAGE", "Probe", image_body(bytes(12)), timestamp_ns=0)
    spacing = parse_image(header_of(message), body_of(message)).spacing
    assert spacing is not None
    assert [spacing.x_mm, spacing.y_mm] == pytest.approx([0.6, 0.8])


def test_extended_header_and_metadata_are_stepped_over() -> None:
    index, metadata = struct.pack(">HHHI", 1, 3, 3, 2), b"keyon"
    pixels = image_body(bytes(range(12)))
    body = EXTENDED.pack(EXTENDED.size, len(index), len(metadata), 7) + pixels + index + metadata
    np.testing.assert_array_equal(read(body, version=2), np.arange(12).reshape(3, 4))
    header = header_of(HEADER.pack(2, b"IMAGE", b"", 0, 5, 0))
    for broken in (b"\0" * 5, EXTENDED.pack(12, 500, 0, 0), EXTENDED.pack(3, 0, 0, 0)):
        with pytest.raises(SourceUnreadable):
            content_of(header, memoryview(broken))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"short", "cut short in its header"),
        (image_body(bytes(11)), "11 bytes of 12"),
        (image_body(bytes(24), depth=2), "one whole slice"),
        (image_body(bytes(48), scalar=10), "one whole slice"),
        (image_body(bytes(24), components=2), "one whole slice"),
        (image_body(b"", width=0), "cut short"),
    ],
)
def test_broken_pictures_are_named(body: bytes, said: str) -> None:
    with pytest.raises(SourceUnreadable, match=said):
        read(body)


@given(st.binary(min_size=58, max_size=58))
def test_any_58_bytes_are_a_header_or_an_error_of_ours(data: bytes) -> None:
    try:
        header = Header.parse(data)
    except SourceUnreadable:
        return
    assert header.version in (1, 2, 3)


@given(st.binary(max_size=200), st.integers(1, 3))
def test_any_body_is_a_picture_or_an_error_of_ours(body: bytes, version: int) -> None:
    try:
        assert read(body, version=version).ndim == 2
    except SourceUnreadable:
        return


def receive_all(connection: socket.socket) -> None:
    while receive(connection):
        pass


def test_a_connection_that_ends_within_a_message_is_an_error_and_between_two_an_end() -> None:
    message = pack_string("123.4", "AoP", timestamp_ns=NOW_NS)
    for sent, ends_well in ((message, True), (message[:-2], False), (message + message[:30], False)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(sent)
            theirs.close()
            if ends_well:
                found = receive(ours)
                assert found is not None
                assert bytes(found[1]) == b"\0\x03\0\x05123.4"
                assert receive(ours) is None
            else:
                with pytest.raises(SourceUnreadable, match="bytes short"):
                    receive_all(ours)


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


def test_closing_ends_a_waiting_read_at_once() -> None:
    sender = Sender()
    source = open_igtl(f"igtl://127.0.0.1:{sender.port}", clock=MonotonicClock())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    source.close()
    thread.join(3)
    assert time.monotonic() - began < 0.5
    assert not thread.is_alive()
    assert source.status.link is Link.CLOSED
    sender.close()


@pytest.mark.parametrize("uri", ["igtl://", "igtl://host:port", "igtl:///Probe"])
def test_addresses_that_cannot_be_meant(uri: str) -> None:
    with pytest.raises(OptionError, match="write igtl://host:18944/device"):
        open_igtl(uri, clock=MonotonicClock())
