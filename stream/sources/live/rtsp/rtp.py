"""Assembles RTP packets into access units, and counts losses.

A gap in the sequence numbers is a loss. Whether it tore the picture at hand, or fell between two, is told by how the
next packet begins. Sources: RFC 3550 (RTP), RFC 6184 (H.264), RFC 7798 (H.265).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

START_CODE = b"\0\0\0\1"
HEADER = struct.Struct(">BBHII")
MOST_UNIT_BYTES = 1 << 24
"""A picture that grows beyond this is a broken stream."""
LATE = 0x8000
"""Steps of the sequence number from here on are backwards: a packet that came late, or twice."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet.

    Attributes:
        payload: without header, extension and padding.
        sequence: counts packets, modulo 65,536.
        timestamp: of the picture, modulo 2^32, in ticks of the stream's clock.
        is_last: the marker, set on the last packet of a picture.
        source: SSRC, which names the sender's run.
        kind: payload type.
    """

    payload: bytes
    sequence: int
    timestamp: int
    is_last: bool
    source: int
    kind: int

    @classmethod
    def parse(cls, data: bytes) -> Packet | None:
        """Reads a packet; None where it is none."""
        if len(data) < HEADER.size:
            return None
        first, second, sequence, timestamp, source = HEADER.unpack_from(data)
        start = HEADER.size + 4 * (first & 15)
        if first & 16:
            if len(data) < start + 4:
                return None
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
        end = len(data) - (data[-1] if first & 32 else 0)
        if first >> 6 != 2 or start >= end:
            return None
        return cls(data[start:end], sequence, timestamp, bool(second & 128), source, second & 127)


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """The coded data of one picture.

    Attributes:
        data: NAL units behind start codes.
        timestamp: as sent.
        lost: packets that were lost before or within it.
        is_torn: a part of this picture is missing, or may be.
        is_key: it is built on no other.
    """

    data: bytes
    timestamp: int
    lost: int
    is_torn: bool
    is_key: bool


class Payload(Protocol):
    """What a codec's packets hold."""

    def units(self, payload: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        """The NAL units, or parts of one, in a packet: bytes, and whether these begin and end a unit.

        Raises IndexError or ValueError where the packet does not read so.
        """

    def begins_picture(self, payload: bytes) -> bool:
        """Whether a packet is the first of a picture."""

    def is_key(self, unit: bytes) -> bool:
        """Whether a NAL unit is of a picture that is built on no other."""


class H264:
    """RFC 6184, packetization modes 0 and 1."""

    def units(self, payload: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        kind = payload[0] & 31
        if kind == 28:
            head = bytes([payload[0] & 0xE0 | payload[1] & 31])
            begins = bool(payload[1] & 0x80)
            yield (head if begins else b"") + payload[2:], begins, bool(payload[1] & 0x40)
        elif kind == 24:
            yield from _aggregated(payload, 1)
        elif 0 < kind < 24:
            yield payload, True, True
        else:
            raise ValueError(f"packets of type {kind}")

    def begins_picture(self, payload: bytes) -> bool:
        kind, at = payload[0] & 31, 1
        if kind == 24:
            kind, at = payload[3] & 31, 4
        elif kind == 28:
            if not payload[1] & 0x80:
                return False
            kind, at = payload[1] & 31, 2
        # A slice whose first macroblock is number 0; parameter sets and the like stand before slices.
        return bool(payload[at] & 0x80) if kind in (1, 2, 5) else kind >= 6

    def is_key(self, unit: bytes) -> bool:
        return unit[0] & 31 == 5


class H265:
    """RFC 7798 without decoding order numbers."""

    def units(self, payload: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        kind = payload[0] >> 1 & 63
        if kind == 49:
            head = bytes([payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]])
            begins = bool(payload[2] & 0x80)
            yield (head if begins else b"") + payload[3:], begins, bool(payload[2] & 0x40)
        elif kind == 48:
            yield from _aggregated(payload, 2)
        elif kind < 48:
            yield payload, True, True
        else:
            raise ValueError(f"packets of type {kind}")

    def begins_picture(self, payload: bytes) -> bool:
        kind, at = payload[0] >> 1 & 63, 2
        if kind == 48:
            kind, at = payload[4] >> 1 & 63, 6
        elif kind == 49:
            if not payload[2] & 0x80:
                return False
            kind, at = payload[2] & 63, 3
        return bool(payload[at] & 0x80) if kind < 32 else 32 <= kind <= 39

    def is_key(self, unit: bytes) -> bool:
        return 16 <= unit[0] >> 1 & 63 <= 21


def _aggregated(payload: bytes, start: int) -> Iterator[tuple[bytes, bool, bool]]:
    while start + 2 <= len(payload):
        size = int.from_bytes(payload[start : start + 2])
        unit = payload[start + 2 : start + 2 + size]
        if len(unit) < size or not size:
            raise ValueError("an aggregate that is cut short")
        yield unit, True, True
        start += 2 + size


class Assembler:
    """Puts the packets of a stream together.

    Args:
        payload: of the codec.

    Attributes:
        unreadable: packets that do not read as the codec's.
    """

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._parts: list[bytes] = []
        self._bytes = 0
        self._timestamp: int | None = None
        self._expected: tuple[int, int] | None = None
        self._lost = 0
        self._is_torn = self._is_open = self._is_key = False
        self.unreadable = 0

    def add(self, packet: Packet) -> Iterator[AccessUnit]:
        """The pictures that this packet completes."""
        gap = self._gap(packet)
        if gap is None:
            return
        if self._timestamp is not None and packet.timestamp != self._timestamp:
            self._is_torn = self._is_torn or bool(gap)
            yield self._taken()
        if self._timestamp is None:
            self._timestamp = packet.timestamp
            self._is_torn = bool(gap) and not self._begins(packet.payload)
        elif gap:
            self._is_torn = True
        self._lost += gap
        self._take(packet.payload)
        if packet.is_last or self._bytes > MOST_UNIT_BYTES:
            yield self._taken()

    def _gap(self, packet: Packet) -> int | None:
        """How many packets are missing before this one; None where it came late, or a second time."""
        following = packet.source, (packet.sequence + 1) & 0xFFFF
        if self._expected is None or self._expected[0] != packet.source:
            gap = 0
            if self._expected is not None:
                self._is_torn = self._timestamp is not None
        else:
            gap = (packet.sequence - self._expected[1]) & 0xFFFF
            if gap >= LATE:
                return None
        self._expected = following
        return gap

    def _begins(self, payload: bytes) -> bool:
        try:
            return self._payload.begins_picture(payload)
        except IndexError:
            return False

    def _take(self, payload: bytes) -> None:
        try:
            for data, begins, ends in self._payload.units(payload):
                if begins == self._is_open:  # a unit that was not finished, or the rest of one that was not begun
                    self._is_torn = True
                    if not begins:
                        return
                self._is_key = self._is_key or (begins and self._payload.is_key(data))
                self._parts.append(START_CODE + data if begins else data)
                self._bytes += len(data)
                self._is_open = not ends
        except (IndexError, ValueError):
            self.unreadable += 1
            self._is_torn = True

    def _taken(self) -> AccessUnit:
        """The picture at hand; nothing is at hand then."""
        assert self._timestamp is not None
        is_torn = self._is_torn or self._is_open
        unit = AccessUnit(b"".join(self._parts), self._timestamp, self._lost, is_torn, self._is_key)
        self._parts, self._bytes, self._timestamp, self._lost = [], 0, None, 0
        self._is_torn = self._is_open = self._is_key = False
        return unit
