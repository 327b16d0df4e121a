"""Whether a picture coded in FFV1 is whole. FFmpeg mends one whose check sum is wrong, and says nothing.

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

    Whether slices have check sums the stream says where it cannot be read without decoding it; it is known from the
    first packet whose slices have them all right, and from then on all must.
    """

    def __init__(self) -> None:
        self._has_sums = False

    def is_whole(self, packet: bytes) -> bool:
        """Whether all slices of a picture have their sums right; true where the stream is not known to have any."""
        is_right = _are_right(packet)
        self._has_sums = self._has_sums or is_right
        return is_right or not self._has_sums


def _are_right(packet: bytes) -> bool:
    """Whether a packet is slices, one behind the other, whose check sums are right."""
    end = len(packet)
    while end > 0:
        start = end - _FOOTER_BYTES - int.from_bytes(packet[end - _FOOTER_BYTES : end - _FOOTER_BYTES + 3], "big")
        if start < 0 or end < _FOOTER_BYTES or _sum(packet[start:end]) != 0:
            return False
        end = start
    return len(packet) > 0


def _sum(data: bytes) -> int:
    """CRC-32 of the polynomial 0x04C11DB7 from the highest bit, begun with 0: that of zlib with all bits reversed.

    It is 0 over data that ends in its own sum.
    """
    return zlib.crc32(data.translate(_REVERSED), _ALL_ONES) ^ _ALL_ONES
