"""DICOM files made to order, with answers known from how they were made."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, cast

import av
import cv2
import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from stream.common.clock import ManualClock
from stream.sources.files.dicom.source import DicomSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from stream.frames.frame import Frame

PATIENT = "Secret^Patient"
ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def smooth(count: int, height: int, width: int, *, colours: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """Cloudy pictures over the full range, (count, height, width) or (count, height, width, colours)."""
    noise = np.random.default_rng(seed).normal(size=(count, height, width, colours))
    clouds = np.stack([cv2.GaussianBlur(picture, (0, 0), 3).reshape(height, width, colours) for picture in noise])
    low, high = clouds.min(axis=(1, 2), keepdims=True), clouds.max(axis=(1, 2), keepdims=True)
    pictures = np.rint(255 * (clouds - low) / (high - low)).astype(np.uint8)
    return cast("NDArray[np.uint8]", pictures[..., 0] if colours == 1 else pictures)


def luma(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """BT.601 luma of (..., 3), rounded."""
    grey: NDArray[np.float64] = rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
    return np.rint(grey).astype(np.uint8)


def header(
    *, rows: int, columns: int, frames: int, photometric: str, syntax: str, bits: int = 8, **attributes: Any
) -> Dataset:
    """A data set without pixels; further attributes by keyword, None to leave one out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["partum"])
    dataset.PatientName = PATIENT
    dataset.Modality = "US"
    is_grey = photometric.startswith(("MONO", "PALETTE"))
    dataset.SamplesPerPixel = 1 if is_grey else 3
    if not is_grey:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = attributes.get("BitsStored", bits) - 1
    dataset.PixelRepresentation = 0
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def save(path: Path, dataset: Dataset, pixels: bytes, *, vr: str = "OB") -> Path:
    """Adds the pixels and writes the file."""
    dataset.PixelData = pixels
    dataset["PixelData"].VR = vr
    dataset["PixelData"].is_undefined_length = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    dataset.save_as(path, enforce_file_format=True)
    return path


def native(
    path: Path,
    pixels: NDArray[Any],
    *,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    **attributes: Any,
) -> Path:
    """An uncompressed file of pixels (F, H, W) or (F, H, W, 3), the latter stored planar where asked."""
    frames, rows, columns = pixels.shape[:3]
    bits = pixels.dtype.itemsize * 8
    dataset = header(
        rows=rows, columns=columns, frames=frames, photometric=photometric, syntax=syntax, bits=bits, **attributes
    )
    if attributes.get("PlanarConfiguration"):
        pixels = np.moveaxis(pixels, -1, 1)
    order: Literal["<", ">"] = ">" if syntax == ExplicitVRBigEndian else "<"
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(order)).tobytes()
    return save(path, dataset, data + b"\0" * (len(data) % 2), vr="OW" if bits == 16 else "OB")


def compressed(path: Path, syntax: str, **attributes: Any) -> Path:
    """An uncompressed file coded losslessly by pydicom's own encoders, then with other attributes, None to drop one."""
    dataset = dcmread(path)
    dataset.compress(syntax)
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def encapsulated(
    path: Path,
    frames: Sequence[bytes],
    shape: tuple[int, int],
    *,
    photometric: str = "MONOCHROME2",
    syntax: str = JPEGBaseline8Bit,
    fragments: int = 1,
    has_table: bool = True,
    **attributes: Any,
) -> Path:
    """A file of coded frames, each split into `fragments`, with or without a basic offset table."""
    dataset = header(
        rows=shape[0], columns=shape[1], frames=len(frames), photometric=photometric, syntax=syntax, **attributes
    )
    pixels = encapsulate(list(frames), fragments_per_frame=fragments, has_bot=has_table)
    return save(path, dataset, pixels)


def jpeg(picture: NDArray[np.uint8], *, sampling: int = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444) -> bytes:
    """JPEG with a JFIF marker, of grey (H, W) or RGB (H, W, 3)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    stored = picture if picture.ndim == 2 else picture[..., ::-1]
    return cv2.imencode(".jpg", stored, options)[1].tobytes()


def without_jfif(coded: bytes) -> bytes:
    start = coded.index(b"\xff\xe0")
    return coded[:start] + coded[start + 2 + int.from_bytes(coded[start + 2 : start + 4], "big") :]


def rgb_jpeg(picture: NDArray[np.uint8], *, names: bytes = b"\1\2\3") -> bytes:
    """JPEG whose three samples, of the given names, are R, G, B as they are, without a marker that says so."""
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "JPEG", quality=95, keep_rgb=True, subsampling=0)
    coded = bytearray(memory.getvalue().replace(ADOBE_RGB, b""))
    frame, scan = coded.index(b"\xff\xc0"), coded.index(b"\xff\xda")
    coded[frame + 10 : frame + 19 : 3] = names
    coded[scan + 5 : scan + 11 : 2] = names
    return bytes(coded)


def lossless_jpeg(pixels: NDArray[Any], *, precision: int) -> bytes:
    """JPEG lossless, process 14 with predictor 1 (ITU-T T.81 annex H), of (H, W) or (H, W, 3).

    All categories of differences get Huffman codes of 5 bits, so the codes are the categories themselves. There are 17
    where a difference of 32768 occurs, which has no further bits, else 16.
    """
    samples = pixels.reshape(*pixels.shape[:2], -1).astype(np.int64)
    height, width, count = samples.shape
    predicted = np.empty_like(samples)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = samples[:, :-1], samples[:-1, 0], 1 << (precision - 1)
    differences = (samples - predicted + 32767) % 65536 - 32767
    categories = 17 if (differences == 32768).any() else 16
    bits = "".join(_huffman(difference) for difference in differences.ravel().tolist())
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    ids = range(1, count + 1)
    frame = struct.pack(">BHHB", precision, height, width, count) + b"".join(bytes((i, 0x11, 0)) for i in ids)
    table = bytes((0, *[0] * 4, categories, *[0] * 11, *range(categories)))
    scan = bytes((count,)) + b"".join(bytes((i, 0)) for i in ids) + bytes((1, 0, 0))
    segments = ((0xC3, frame), (0xC4, table), (0xDA, scan))
    head = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return b"\xff\xd8" + head + body + b"\xff\xd9"


def _huffman(difference: int) -> str:
    category = abs(difference).bit_length()
    if category == 16:
        return f"{category:05b}"
    value = difference if difference > 0 else difference + (1 << category) - 1
    return f"{category:05b}" + (f"{value:0{category}b}" if category else "")


def jpeg_2000(pixels: NDArray[Any], *, has_colour_transform: bool = False) -> bytes:
    """A lossless JPEG 2000 codestream of grey (H, W) or colour (H, W, 3)."""
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG2000", no_jp2=True, mct=int(has_colour_transform))
    return memory.getvalue()


def video(
    pictures: NDArray[np.uint8], *, codec: str, container: str, rate_hz: int = 20, aspect: Fraction | None = None
) -> bytes:
    """Grey pictures (F, H, W) as a video, with B-pictures where the codec has them."""
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as output:
        stream = cast("VideoStream", output.add_stream(codec, rate=rate_hz))
        stream.height, stream.width = pictures.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate_hz)
        stream.codec_context.sample_aspect_ratio = aspect or Fraction(1)
        if codec == "mpeg2video":
            stream.bit_rate = 20_000_000
        else:
            stream.options = {"crf": "1", "x265-params": "log-level=none"}
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return memory.getvalue()


def region(*, box: tuple[int, int, int, int], delta_cm: tuple[float, float], **attributes: int) -> Dataset:
    """An ultrasound region of 2-D tissue in centimetres; `box` is x0, y0, x1, y1."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[:2]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2:]
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


SHAPE = 24, 32
GREY = smooth(6, *SHAPE)
CODED = [jpeg(picture) for picture in GREY]


def one_of(folder: Path, kind: str) -> Path:
    """`GREY` as a `native`, `coded` (JPEG) or `video` (H.264) file."""
    if kind == "native":
        return native(folder / "a.dcm", GREY)
    if kind == "coded":
        return encapsulated(folder / "a.dcm", CODED, SHAPE)
    stream = video(GREY, codec="libx264", container="mp4")
    options: dict[str, Any] = {"syntax": MPEG4HP41, "has_table": False, "NumberOfFrames": 6}
    return encapsulated(folder / "a.dcm", [stream], SHAPE, photometric="YBR_PARTIAL_420", **options)


def open_source(path: Path) -> DicomSource:
    return DicomSource(path, clock=ManualClock())


def read(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


def is_equal(frames: list[Frame], others: list[Frame]) -> bool:
    return len(frames) == len(others) and all(
        np.array_equal(a.image, b.image) and a.pts == b.pts for a, b in zip(frames, others, strict=True)
    )
