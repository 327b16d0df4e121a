"""Detects missing H.264 reference pictures by their frame numbers.

A decoder fills the place of a picture that was left out on the way and goes on without a word. Source: ITU-T H.264,
7.3.2.1 (sequence parameter set), 7.3.3 (slice header), 7.4.3 (frame_num).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SLICE, IDR_SLICE, SEQUENCE = 1, 5, 7
_CHROMA_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_HEAD_BYTES = 32
"""A slice's header up to its frame number is shorter."""


class BitReader:
    """Reads the bits of a NAL unit, emulation prevention taken out. Behind the end it raises IndexError."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data)
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError("the unit ends here")
        self._left -= count
        return self._bits >> self._left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """An unsigned number of variable length, ue(v)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """A signed one, se(v)."""
        code = self.exp_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What a sequence parameter set says of the numbers.

    Attributes:
        modulus: they count up to it, from 0.
        has_planes: a slice says which colour plane it is of.
        may_skip: numbers may be left out on purpose.
    """

    modulus: int
    has_planes: bool
    may_skip: bool

    @classmethod
    def parse(cls, unit: bytes) -> tuple[int, SequenceParameters]:
        """Its id, and itself; raises IndexError where it is cut short."""
        bits = BitReader(_unescaped(unit[1:]))
        profile = bits.take(8)
        bits.take(16)  # constraints and level
        number = bits.exp_golomb()
        has_planes = False
        if profile in _CHROMA_PROFILES:
            chroma = bits.exp_golomb()
            has_planes = chroma == 3 and bool(bits.take(1))
            bits.exp_golomb()  # depth of luma
            bits.exp_golomb()  # and of chroma
            bits.take(1)
            if bits.take(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling(bits, 16 if index < 6 else 64)
        modulus = 1 << (bits.exp_golomb() + 4)
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1)
            bits.signed()
            bits.signed()
            for _ in range(bits.exp_golomb()):
                bits.signed()
        bits.exp_golomb()  # reference pictures
        return number, cls(modulus, has_planes, bool(bits.take(1)))


def _skip_scaling(bits: BitReader, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class FrameNumbers:
    """Follows the numbers of one stream.

    Args:
        extradata: of the container: parameter sets, and whether units have lengths (AVCC) or start codes (Annex B).
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._length_bytes = 0
        self._sequence: SequenceParameters | None = None
        self._last: int | None = None
        data = extradata or b""
        if data[:1] == b"\x01" and len(data) > 6:
            self._length_bytes = (data[4] & 3) + 1
            size = int.from_bytes(data[6:8])
            self._learn(data[8 : 8 + size])
        else:
            for unit in nal_units(data, 0):
                if unit[0] & 31 == SEQUENCE:
                    self._learn(unit)

    def missing_before(self, packet: bytes) -> int:
        """How many reference pictures are missing before this one; 0 where that cannot be told."""
        for unit in nal_units(packet, self._length_bytes):
            kind = unit[0] & 31
            if kind == SEQUENCE:
                self._learn(unit)
            elif kind in (SLICE, IDR_SLICE):
                try:
                    return self._follow(unit)
                except IndexError:  # cut short: the decoder will say so
                    return 0
        return 0

    def is_entry(self, packet: bytes) -> bool:
        """Whether its picture ends all that came before: an instantaneous decoding refresh (IDR)."""
        slices = (unit[0] & 31 for unit in nal_units(packet, self._length_bytes))
        return next((kind == IDR_SLICE for kind in slices if kind in (SLICE, IDR_SLICE)), False)

    def forget(self) -> None:
        """A loss that is known already is not told again by the next number."""
        self._last = None

    def _learn(self, unit: bytes) -> None:
        try:
            _, self._sequence = SequenceParameters.parse(unit)
        except IndexError:
            self._sequence = None

    def _follow(self, unit: bytes) -> int:
        sequence = self._sequence
        if sequence is None:
            return 0
        bits = BitReader(_unescaped(unit[1:_HEAD_BYTES]))
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.exp_golomb()
        if sequence.has_planes:
            bits.take(2)
        number = bits.take(sequence.modulus.bit_length() - 1)
        last = self._last
        if unit[0] >> 5 & 3:  # a reference: the numbers count these
            self._last = number
        if last is None or unit[0] & 31 == IDR_SLICE or sequence.may_skip or number == last:
            return 0
        return (number - last - 1) % sequence.modulus


def nal_units(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet, none of them empty.

    Args:
        packet: of the container.
        length_bytes: of the length before each unit; 0 where they stand between start codes.
    """
    if length_bytes:
        at = 0
        while at + length_bytes < len(packet):
            size = int.from_bytes(packet[at : at + length_bytes])
            at += length_bytes
            if size:
                yield packet[at : at + size]
            at += size
        return
    at = packet.find(b"\0\0\1")
    while at >= 0:
        end = packet.find(b"\0\0\1", at + 3)
        unit = packet[at + 3 : end if end >= 0 else len(packet)]
        if unit:
            yield unit
        at = end


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")
