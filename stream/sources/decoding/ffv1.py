"""Checks FFV1 slice checksums, which FFmpeg conceals silently.

Source: RFC 9043, 4.8 (slice footer) and 4.8.3 (slice_crc_parity).
"""

from __future__ import annotations

import zlib

_FOOTER_BYTES = 8
"""Three of the slice's size, one of its error status, four of its check sum."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_ONES = 0xFFFFFFFF


class SliceSums:
    """Looks at the pictures of one stream, one packet after the other.

    Whether its slices have check sums the stream says where it cannot be read without decoding it; the slices of the
    first packet that can be taken apart by footers of that length tell.
    """

    def __init__(self) -> None:
        self._has_sums = False

    def is_whole(self, packet: bytes) -> bool:
        """Whether all slices of a picture have their sums right; true where the stream is not known to have any."""
        slices = _slices(packet)
        self._has_sums = self._has_sums or bool(slices)
        return not self._has_sums or (bool(slices) and all(_sum(each) == 0 for each in slices))


def _slices(packet: bytes) -> list[bytes]:
    """The slices of a packet with their footers; none where it does not consist of such."""
    slices, end = [], len(packet)
    while end >= _FOOTER_BYTES:
        start = end - _FOOTER_BYTES - int.from_bytes(packet[end - _FOOTER_BYTES : end - _FOOTER_BYTES + 3], "big")
        slices.append(packet[max(start, 0) : end])
        end = start
    return slices if end == 0 else []


def _sum(data: bytes) -> int:
    """CRC-32 of the polynomial 0x04C11DB7 from the highest bit, begun with 0: that of zlib with all bits reversed.

    It is 0 over data that ends in its own sum.
    """
    return zlib.crc32(data.translate(_REVERSED), _ALL_ONES) ^ _ALL_ONES
