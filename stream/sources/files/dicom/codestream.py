"""Headers of coded pictures (JPEG, JPEG 2000, RLE), which outrank the DICOM header."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_SOS = 0xDA
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_JPEG_LS_FRAME, _HUFFMAN_TABLES = 0xF7, 0xC4
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_JPEG_START = b"\xff\xd8\xff"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\0\0\0\x0cjP  "
_HIGH_THROUGHPUT = 0x4000
_MOST_TILES = 4096


class PictureError(ValueError):
    """A coded picture cannot be decoded, or contradicts the header; the message says why, in a few words."""


class Format(Enum):
    """How a picture is coded."""

    JPEG = "JPEG"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    HTJ2K = "High-Throughput JPEG 2000"
    RLE = "RLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """Facts of a coded picture.

    Attributes:
        format: how it is coded.
        width, height: in pixels; 0 for RLE, which does not say.
        samples: of a pixel.
        precision: bits of a sample; for RLE 8 or 16, as stored.
        is_signed: samples are two's complement.
        is_rgb: whether three samples are RGB or YCbCr, as far as the picture says; None where it leaves that open.
        is_lossless_16: lossless JPEG with a Huffman code for a difference of 32768, which needs a decoder of its own.
        has_transform: JPEG 2000's own colour transform was applied, which is for RGB.
    """

    format: Format
    width: int
    height: int
    samples: int
    precision: int
    is_signed: bool = False
    is_rgb: bool | None = None
    is_lossless_16: bool = False
    has_transform: bool = False


def begins_picture(head: bytes) -> bool:
    """Whether these are the first bytes of a JPEG, JPEG-LS or JPEG 2000 picture."""
    return head.startswith((_JPEG_START, _JPEG_2000_START, _JP2_START))


def read_codestream(data: bytes) -> Codestream:
    """Reads the facts in front of a coded picture.

    Raises:
        PictureError: it is of no known format, or its own header is damaged or cut off.
    """
    try:
        if data.startswith(_JPEG_START):
            return _jpeg(data)
        if data.startswith((_JPEG_2000_START, _JP2_START)):
            return _jpeg_2000(data, data.index(_JPEG_2000_START, 0, 4096))
        return _rle(data)
    except (IndexError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError("its own header is damaged or cut off") from error


def _jpeg(data: bytes) -> Codestream:
    """JPEG (ITU-T T.81) and JPEG-LS (T.87): the markers up to the scan."""
    place, is_rgb, has_code_16 = 2, None, False
    frame: tuple[int, bytes] | None = None
    while True:
        if data[place] != 0xFF:
            raise PictureError("its own header is damaged")
        marker = data[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # a fill byte
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SOS:
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if marker in _START_OF_FRAME or marker == _JPEG_LS_FRAME:
            frame = marker, segment
        elif marker == _HUFFMAN_TABLES:
            has_code_16 = has_code_16 or _has_code_16(segment)
        elif segment.startswith(b"JFIF") or (segment.startswith(b"Adobe") and segment[11:12] == b"\1"):
            is_rgb = False
        place += 2 + length
    if frame is None:
        raise PictureError("it has no frame header")
    marker, segment = frame
    samples = segment[5]
    if bytes(segment[6 + 3 * index] for index in range(samples)).upper() == b"RGB":
        is_rgb = True
    return Codestream(
        format=Format.JPEG_LS if marker == _JPEG_LS_FRAME else Format.JPEG,
        width=int.from_bytes(segment[3:5], "big"),
        height=int.from_bytes(segment[1:3], "big"),
        samples=samples,
        precision=segment[0],
        is_rgb=None if marker == _JPEG_LS_FRAME else is_rgb,
        is_lossless_16=marker in _LOSSLESS_FRAMES and segment[0] == 16 and has_code_16,
    )


def _has_code_16(segment: bytes) -> bool:
    """Whether a Huffman table codes differences of category 16, T.81 H.1.2.2."""
    place = 0
    while place + 17 <= len(segment):
        count = sum(segment[place + 1 : place + 17])
        if 16 in segment[place + 17 : place + 17 + count]:
            return True
        place += 17 + count
    return False


def _jpeg_2000(data: bytes, place: int) -> Codestream:
    """JPEG 2000, ITU-T T.800 A.5.1: the segment SIZ, and of COD whether colours are transformed."""
    x1, y1, x0, y0, tile_x, tile_y = (
        int.from_bytes(data[place + 8 + 4 * index : place + 12 + 4 * index], "big") for index in range(6)
    )
    samples = int.from_bytes(data[place + 40 : place + 42], "big")
    parts = {bytes(data[place + 42 + 3 * index : place + 45 + 3 * index]) for index in range(samples)}
    width, height = x1 - x0, y1 - y0
    if width <= 0 or height <= 0 or len(parts) != 1:
        raise PictureError("its samples differ in size or depth")
    depth, step_x, step_y = parts.pop()
    if (step_x, step_y) != (1, 1):
        raise PictureError("its samples are subsampled")
    if not (tile_x and tile_y) or -(-width // tile_x) * -(-height // tile_y) > _MOST_TILES:
        raise PictureError("it is cut in too many tiles")
    coding = data.find(b"\xff\x52", place, place + 4096)
    capabilities = int.from_bytes(data[place + 6 : place + 8], "big")
    return Codestream(
        format=Format.HTJ2K if capabilities & _HIGH_THROUGHPUT else Format.JPEG_2000,
        width=width,
        height=height,
        samples=samples,
        precision=(depth & 0x7F) + 1,
        is_signed=bool(depth & 0x80),
        has_transform=coding > 0 and data[coding + 8] == 1,
    )


def unpacked_bytes(data: bytes) -> int:
    """Bytes that the first segment of a run-length coded picture unpacks to, PS3.5 G.3.1."""
    start, end = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
    segment = data[start : end or None]
    place = size = 0
    while place < len(segment):
        control = segment[place]
        size += 0 if control == 128 else control + 1 if control < 128 else 257 - control
        place += 1 if control == 128 else control + 2 if control < 128 else 2
    return size


def _rle(data: bytes) -> Codestream:
    """DICOM's own run-length coding, PS3.5 G.5: one segment for each byte of a pixel."""
    count, first = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if count not in (1, 2, 3, 6) or first != 64 or len(data) <= 64:
        raise PictureError("it is of no known format")
    is_deep = count in (2, 6)
    return Codestream(
        format=Format.RLE, width=0, height=0, samples=count // (1 + is_deep), precision=16 if is_deep else 8
    )
