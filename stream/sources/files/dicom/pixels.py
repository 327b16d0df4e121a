"""Decoders of single DICOM pictures: coded bytes to stored values.

JPEG is decoded by FFmpeg, which the video sources need anyway, and which leaves colour as it is stored; all else by
pydicom and its plug-ins. How a picture is coded is read from the picture itself, and what it says of its size, depth
and sign goes before the header, or is an error: pydicom is only told what the picture says.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import av
import cv2
import numpy as np

from stream.common.errors import SourceUnavailable
from stream.sources.files.dicom.codestream import Format, PictureError, read_codestream, unpacked_bytes
from stream.sources.files.dicom.file import damage_error, quiet_pydicom
from stream.sources.files.dicom.grey import looks_like_chroma, luma_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from av import VideoFrame
    from numpy.typing import NDArray

    from stream.sources.files.dicom.codestream import Codestream
    from stream.sources.files.dicom.facts import PictureFacts

_RGB_MODELS = ("RGB", "YBR_ICT", "YBR_RCT")  # the last two are undone by the JPEG 2000 decoder
_MOST_PACKED = 64
"""Run-length coding makes a picture at most this many times smaller (two bytes for 128)."""


class StoredPixels(NamedTuple):
    """A decoded picture: (H, W) of unsigned words, of which the low `bits` count; their sign is the header's affair."""

    values: NDArray[Any]
    bits: int


class _Plugin(NamedTuple):
    """Which of pydicom's decoders decodes a format: transfer syntax, plug-in, and the package that has it.

    Named, not left to pydicom: GDCM, which it would take first, ends the whole process on damaged pictures.
    """

    syntax: str
    name: str
    package: str


_PLUGINS = {
    Format.RLE: _Plugin("1.2.840.10008.1.2.5", "pydicom", "pydicom"),
    Format.JPEG_LS: _Plugin("1.2.840.10008.1.2.4.81", "pyjpegls", "pyjpegls"),
    Format.JPEG_2000: _Plugin("1.2.840.10008.1.2.4.91", "pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
    Format.HTJ2K: _Plugin("1.2.840.10008.1.2.4.203", "pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
}
_LOSSLESS_JPEG = _Plugin("1.2.840.10008.1.2.4.57", "pylibjpeg", "pylibjpeg pylibjpeg-libjpeg")


def native_decoder(facts: PictureFacts, *, is_little_endian: bool) -> Callable[[bytes], StoredPixels]:
    """The decoder of frames that are not coded."""
    dtype = np.dtype(f"{'<' if is_little_endian else '>'}u{facts.bits_allocated // 8}")
    rows, columns = facts.rows, facts.columns

    def decode(data: bytes) -> StoredPixels:
        words = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
        if facts.is_subsampled:  # Y Y Cb Cr
            values = words.reshape(rows, columns // 2, 4)[..., :2].reshape(rows, columns)
        elif facts.samples == 1:
            values = words.reshape(rows, columns)
        else:
            pixels = cv2.merge(list(words.reshape(3, rows, columns))) if facts.is_planar else words
            pixels = pixels.reshape(rows, columns, 3)
            is_rgb = facts.photometric in _RGB_MODELS
            if facts.is_relabelled:  # its size contradicts its colour model, which may be another one, then
                is_rgb = not looks_like_chroma(pixels)
            values = luma_of(pixels, is_rgb=is_rgb)
        return StoredPixels(values, facts.bits_allocated)

    return decode


class CodedDecoder:
    """Decodes pictures of any coding, each by what it says of itself."""

    def __init__(self, facts: PictureFacts) -> None:
        self._facts = facts
        self._is_size_known = False
        self._jpeg = _jpeg_context()

    def __call__(self, data: bytes) -> StoredPixels:
        """The stored values of one coded picture.

        Raises:
            PictureError: it is damaged, or contradicts the header.
            SourceUnavailable: it needs a package that is not installed.
        """
        coded = read_codestream(data)
        _check(coded, self._facts, len(data))
        if coded.format is Format.RLE and not self._is_size_known:
            _check_unpacked(data, self._facts)
            self._is_size_known = True
        if coded.format is Format.JPEG and not coded.is_lossless_16:
            return self._decode_jpeg(data, coded)
        pixels = _by_plugin(data, coded, self._facts)
        if coded.is_signed and not self._facts.is_signed and pixels.min() < 0:
            raise PictureError("it has values below zero, its header says there are none")
        unsigned = pixels.view(f"u{pixels.dtype.itemsize}") & ((1 << coded.precision) - 1)
        return StoredPixels(self._luma(unsigned, coded), coded.precision)

    def _decode_jpeg(self, data: bytes, coded: Codestream) -> StoredPixels:
        try:
            pictures = self._jpeg.decode(av.Packet(data))
        except av.error.PatchWelcomeError as error:
            raise PictureError("this kind of JPEG is not supported by the installed FFmpeg") from error
        except av.FFmpegError as error:
            self._jpeg = _jpeg_context()  # what is left of the damaged picture must not reach the next one
            raise PictureError(error.strerror) from error
        if not pictures:
            raise PictureError("no picture in it")
        values = self._luma(_samples(pictures[0]), coded)
        # FFmpeg puts samples into the upper bits of its words of 8 or 16 bits.
        return StoredPixels(values >> (8 * values.dtype.itemsize - coded.precision), coded.precision)

    def _luma(self, samples: NDArray[Any] | list[NDArray[Any]], coded: Codestream) -> NDArray[Any]:
        """The luma of one sample a pixel, of three, or of three planes whose chroma is smaller."""
        if isinstance(samples, list):
            if samples[1].shape != samples[0].shape:  # smaller chroma is YCbCr, whatever the header says
                return samples[0]
            samples = cv2.merge(samples)
        return luma_of(samples, is_rgb=self._is_rgb(samples, coded))

    def _is_rgb(self, samples: NDArray[Any], coded: Codestream) -> bool:
        """The picture's own word on its colours goes before the header's, as everywhere JPEG is shown.

        Component names R, G, B say RGB; a JFIF marker, or Adobe's with transform 1, says YCbCr; so does JPEG 2000's
        colour transform say RGB. Where the picture leaves it open the header decides, unless the pixels cannot be
        what it says.
        """
        if samples.ndim == 2:
            return False
        if coded.is_rgb is not None:
            return coded.is_rgb
        is_rgb = self._facts.photometric in _RGB_MODELS
        if is_rgb == coded.has_transform and coded.format is not Format.JPEG:
            return is_rgb
        return (is_rgb or coded.has_transform) and not looks_like_chroma(samples)


def _check(coded: Codestream, facts: PictureFacts, size: int) -> None:
    """Holds a coded picture against the header, before anything is allocated for it."""
    if coded.format is Format.RLE:
        if coded.precision != facts.bits_allocated:
            raise PictureError(f"it has {coded.precision} bits a sample, its header says {facts.bits_allocated}")
        if facts.rows * facts.columns > size * _MOST_PACKED:
            raise PictureError("it is cut off")
    elif (coded.width, coded.height) != (facts.columns, facts.rows):
        raise PictureError(f"it is {coded.width}x{coded.height}")
    if coded.samples != facts.samples:
        raise PictureError(f"it has {coded.samples} samples a pixel, its header says {facts.samples}")
    if not 2 <= coded.precision <= 16:
        raise PictureError(f"it has {coded.precision} bits a sample")


def _check_unpacked(data: bytes, facts: PictureFacts) -> None:
    """Run-length coding says nothing of its size, and its decoder drops what is more than the header says.

    Takes as long as the decoding does, and so is only asked of the first picture.
    """
    size, expected = unpacked_bytes(data), facts.rows * facts.columns
    if not expected <= size < expected + facts.columns:
        raise PictureError(f"it has {size} pixels")


def _by_plugin(data: bytes, coded: Codestream, facts: PictureFacts) -> NDArray[Any]:
    """The samples of a picture by one of pydicom's plug-ins, (H, W) or (H, W, 3)."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    plugin = _PLUGINS.get(coded.format, _LOSSLESS_JPEG)
    if not _is_available(plugin):
        raise SourceUnavailable(
            f"{facts.path}: decoding {coded.format.value} needs a package that is not installed; run: pip install"
            f" {plugin.package}"
        )
    if coded.format in (Format.JPEG_2000, Format.HTJ2K) and b"\xff\xd9" not in data[-16:]:
        raise PictureError("it is cut off")  # its decoder would make up what is missing
    options: dict[str, Any] = {
        "pixel_keyword": "PixelData",
        "number_of_frames": 1,
        "rows": facts.rows,
        "columns": facts.columns,
        "samples_per_pixel": coded.samples,
        # Of colour pydicom is told the one model that it leaves alone.
        "photometric_interpretation": "MONOCHROME2" if coded.samples == 1 else "RGB",
        "planar_configuration": 0,
        "bits_allocated": 8 if coded.precision <= 8 else 16,
        "bits_stored": coded.precision,
        "pixel_representation": int(coded.is_signed),
    }
    try:
        with quiet_pydicom():
            decoder = get_decoder(UID(plugin.syntax))
            coded_alone = encapsulate([data], has_bot=False)
            pixels, _ = decoder.as_array(coded_alone, raw=True, decoding_plugin=plugin.name, **options)
    except damage_error() as error:
        # the decoder's own words run over many lines
        raise PictureError(type(error).__name__) from error
    return np.asarray(pixels)


@cache
def _is_available(plugin: _Plugin) -> bool:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    return plugin.name in get_decoder(UID(plugin.syntax)).available_plugins


def _jpeg_context() -> av.VideoCodecContext:
    context = av.CodecContext.create("mjpeg", "r")
    context.thread_count = 1  # with more, a picture comes out calls later
    context.options = {"err_detect": "explode"}  # half a picture is an error, not a picture
    return context


def _samples(picture: VideoFrame) -> NDArray[Any] | list[NDArray[Any]]:
    """Stored values from FFmpeg's layouts: one sample (H, W), three (H, W, 3), or three planes, as coded."""
    name = picture.format.name
    if name.startswith("yuv"):
        return [_plane(picture, index) for index in range(3)]
    pixels = picture.to_ndarray()
    return pixels[..., ::-1] if name.startswith("bgr") else pixels


def _plane(picture: VideoFrame, index: int) -> NDArray[np.uint8]:
    plane = picture.planes[index]
    memory = np.frombuffer(cast("memoryview[int]", plane), np.uint8)
    return memory.reshape(plane.height, plane.line_size)[:, : plane.width]
