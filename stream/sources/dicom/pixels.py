"""Decoders of single pictures: coded bytes in, stored values out.

JPEG of every kind and JPEG 2000 are decoded by FFmpeg, which the video sources need anyway, and which leaves
colour as it is stored; RLE and JPEG-LS by pydicom and its plug-ins. All return (H, W) of unsigned words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import av
import cv2
import numpy as np

from stream.errors import SourceUnavailable, SourceUnreadable
from stream.sources.dicom.facts import Coding
from stream.sources.dicom.file import quiet_pydicom
from stream.sources.dicom.grey import luma_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from av import VideoFrame
    from numpy.typing import NDArray

    from stream.sources.dicom.facts import PictureFacts

    StillDecoder = Callable[[bytes], NDArray[Any]]

_RGB_MODELS = ("RGB", "YBR_ICT", "YBR_RCT")  # the last two are undone by the JPEG 2000 decoder
_EXTENDED_JPEG = "1.2.840.10008.1.2.4.51"
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_HIGH_THROUGHPUT = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: SOC, SIZ


class PictureError(ValueError):
    """A coded picture cannot be decoded; the message says why, in a few words."""


def still_decoder(facts: PictureFacts, *, is_little_endian: bool) -> StillDecoder:
    """The decoder of the file's transfer syntax.

    Raises:
        SourceUnavailable: it needs a package that is not installed.
        SourceUnreadable: nothing decodes it.
    """
    if facts.coding is Coding.NATIVE:
        return _NativeDecoder(facts, is_little_endian=is_little_endian)
    if facts.coding is Coding.JPEG_2000:
        return _FfmpegDecoder(facts, codec="jpeg2000")
    is_deep = facts.transfer_syntax == _EXTENDED_JPEG and facts.bits_stored > 8  # FFmpeg stops at 8 bits
    if facts.coding is Coding.JPEG and not is_deep:
        return _FfmpegDecoder(facts, codec="mjpeg")
    return _PydicomDecoder(facts)


class _NativeDecoder:
    """Pixels as they are."""

    def __init__(self, facts: PictureFacts, *, is_little_endian: bool) -> None:
        self._facts = facts
        self._dtype = np.dtype(f"{'<' if is_little_endian else '>'}u{facts.bits_allocated // 8}")

    def __call__(self, data: bytes) -> NDArray[Any]:
        facts = self._facts
        rows, columns = facts.rows, facts.columns
        words = np.frombuffer(data, self._dtype).astype(self._dtype.newbyteorder("="), copy=False)
        if facts.is_subsampled:  # Y Y Cb Cr
            return words.reshape(rows, columns // 2, 4)[..., :2].reshape(rows, columns)
        if facts.samples == 1:
            return words.reshape(rows, columns)
        is_rgb = facts.photometric in _RGB_MODELS
        if not facts.is_planar:
            return luma_of(words.reshape(rows, columns, 3), is_rgb=is_rgb)
        planes = words.reshape(3, rows, columns)
        return luma_of(cv2.merge(list(planes)), is_rgb=True) if is_rgb else planes[0]


class _FfmpegDecoder:
    """JPEG and JPEG 2000."""

    def __init__(self, facts: PictureFacts, *, codec: str) -> None:
        self._facts = facts
        self._context = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
        self._context.thread_count = 1  # with more, a picture comes out calls later
        self._context.options = {"err_detect": "explode"}  # half a picture is an error, not a picture

    def __call__(self, data: bytes) -> NDArray[Any]:
        try:
            coded = _coded_facts(data)
            pictures = self._context.decode(av.Packet(data))
        except (av.FFmpegError, IndexError) as error:
            raise PictureError(getattr(error, "strerror", "its header is cut off")) from error
        if not pictures:
            raise PictureError("no picture in it")
        picture = pictures[0]
        if (picture.width, picture.height) != (self._facts.columns, self._facts.rows):
            raise PictureError(f"it is {picture.width}x{picture.height}")
        samples = _samples(picture, is_rgb=_is_rgb(self._facts, coded))
        # FFmpeg puts samples of 9 to 15 bits into the upper bits of its 16-bit words.
        return samples >> (16 - coded.precision) if samples.dtype == np.uint16 else samples


class _PydicomDecoder:
    """What pydicom or a plug-in of it decodes."""

    def __init__(self, facts: PictureFacts) -> None:
        from pydicom.pixels.decoders.base import get_decoder
        from pydicom.uid import UID

        self._is_rgb = facts.photometric in _RGB_MODELS
        self._options: dict[str, Any] = {
            "pixel_keyword": "PixelData",
            "number_of_frames": 1,
            "rows": facts.rows,
            "columns": facts.columns,
            "samples_per_pixel": facts.samples,
            "photometric_interpretation": facts.photometric,
            "planar_configuration": int(facts.is_planar),
            "bits_allocated": facts.bits_allocated,
            "bits_stored": facts.bits_stored,
            "pixel_representation": int(facts.is_signed),
        }
        try:
            with quiet_pydicom():
                self._decoder = get_decoder(UID(facts.transfer_syntax))
        except NotImplementedError as error:
            raise SourceUnreadable(
                f"{facts.path}: {facts.syntax_name} cannot be decoded; export the file uncompressed or as JPEG"
            ) from error
        if not self._decoder.is_available:
            raise SourceUnavailable(
                f"{facts.path}: decoding {facts.syntax_name} needs a package that is not installed; run: pip"
                f" install {_package(facts.transfer_syntax)}"
            )

    def __call__(self, data: bytes) -> NDArray[Any]:
        from pydicom.encaps import encapsulate

        try:
            with quiet_pydicom():
                coded = encapsulate([data], has_bot=False)
                pixels, _ = self._decoder.as_array(coded, raw=True, **self._options)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            # the decoder's own words run over many lines
            raise PictureError(type(error).__name__) from error
        return luma_of(pixels.view(f"u{pixels.dtype.itemsize}"), is_rgb=self._is_rgb)


@dataclass(frozen=True, slots=True)
class _CodedFacts:
    """What a coded picture says of itself: bits of a sample, and whether its samples are RGB, if it does."""

    precision: int
    is_rgb: bool | None = None


def _coded_facts(data: bytes) -> _CodedFacts:
    """Reads the markers in front of the picture; raises IndexError where they are cut off."""
    place = data.find(_CODESTREAM, 0, 4096)  # some files wrap the codestream in JP2 boxes
    if place >= 0:
        return _CodedFacts(precision=(data[place + 42] & 0x7F) + 1)
    is_rgb, place = None, 2
    while data[place + 1] != _START_OF_SCAN:
        marker, body = data[place + 1], place + 4
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in _START_OF_FRAME:
            ids = bytes(data[body + 6 + 3 * index] for index in range(data[body + 5]))
            return _CodedFacts(precision=data[body], is_rgb=True if ids.upper() == b"RGB" else is_rgb)
        if data[body : body + 4] == b"JFIF" or (data[body : body + 5] == b"Adobe" and data[body + 11] == 1):
            is_rgb = False
        place = body - 2 + int.from_bytes(data[body - 2 : body], "big")
    raise IndexError(place)


def _is_rgb(facts: PictureFacts, coded: _CodedFacts) -> bool:
    """The picture's own word on its colours goes before the header's, as everywhere JPEG is shown.

    Component names R, G, B say RGB; a JFIF marker, or Adobe's with transform 1, says YCbCr. Adobe's transform
    0 says only that the colours were left as they were, so the header decides.
    """
    return facts.photometric in _RGB_MODELS if coded.is_rgb is None else coded.is_rgb


def _samples(picture: VideoFrame, *, is_rgb: bool) -> NDArray[Any]:
    """Stored values from FFmpeg's layouts of one or three samples; the latter are taken as coded."""
    name = picture.format.name
    if name.startswith("gray"):
        return picture.to_ndarray()
    if name.startswith("yuv"):
        planes = [_plane(picture, index) for index in range(3)]
        return luma_of(cv2.merge(planes), is_rgb=True) if is_rgb else planes[0]
    pixels = picture.to_ndarray()
    return luma_of(pixels[..., ::-1] if name.startswith("bgr") else pixels, is_rgb=is_rgb)


def _plane(picture: VideoFrame, index: int) -> NDArray[np.uint8]:
    plane = picture.planes[index]
    memory = np.frombuffer(cast("memoryview[int]", plane), np.uint8)
    return memory.reshape(plane.height, plane.line_size)[:, : plane.width]


def _package(syntax: str) -> str:
    """What decodes a syntax that pydicom alone does not."""
    if syntax in _JPEG_LS:
        return "pyjpegls"
    return "pylibjpeg pylibjpeg-openjpeg" if syntax in _HIGH_THROUGHPUT else "python-gdcm"
