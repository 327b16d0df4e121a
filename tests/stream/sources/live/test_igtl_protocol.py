"""OpenIGTLink messages: packed and parsed by the specification, broken ones named."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.common.clock import ManualClock
from stream.common.errors import SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources.live.igtl.messages import MessageReader
from stream.sources.live.igtl.protocol import (
    EXTENDED,
    HEADER,
    IMAGE,
    MessageHeader,
    message_content,
    pack,
    pack_image,
    pack_string,
    parse_image,
)
from tests.stream.sources.live.test_igtl import NOW_NS, PICTURE, image_body

if TYPE_CHECKING:
    from numpy.typing import NDArray


def header_of(message: bytes) -> MessageHeader:
    return MessageHeader.parse(message[: HEADER.size])


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
            message_content(header, memoryview(broken))


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
        header = MessageHeader.parse(data)
    except SourceUnreadable:
        return
    assert header.version in (1, 2, 3)


@given(st.binary(max_size=200), st.integers(1, 3))
def test_any_body_is_a_picture_or_an_error_of_ours(body: bytes, version: int) -> None:
    try:
        assert read(body, version=version).ndim == 2
    except SourceUnreadable:
        return


def read_all(reader: MessageReader) -> None:
    while reader.read():
        pass


def test_a_connection_that_ends_within_a_message_is_an_error_and_between_two_an_end() -> None:
    message = pack_string("123.4", "AoP", timestamp_ns=NOW_NS)
    for sent, ends_well in ((message, True), (message[:-2], False), (message + message[:30], False)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(sent)
            theirs.close()
            reader = MessageReader(ours, ManualClock())
            if ends_well:
                found = reader.read()
                assert found is not None
                assert found.header.kind == "STRING"
                assert reader.read() is None
            else:
                with pytest.raises(SourceUnreadable, match="bytes short"):
                    read_all(reader)
