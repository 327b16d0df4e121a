"""DICOM files whose header contradicts their pixels, and what is right."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pydicom import dcmread, uid
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array

from engines.errors import PartumError
from tests.samples.dicom_files import (
    compressed,
    encapsulated,
    jpeg,
    jpeg_2000,
    lossless_jpeg,
    luma,
    native,
    open_source,
    rgb_jpeg,
    smooth,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stream.frames.frame import Frame

SHAPE = 64, 80
COUNT = 4


def ultrasound() -> NDArray[np.uint8]:
    """Grey clouds on black with a small patch of colour flow, as scanners draw them, (COUNT, H, W, 3)."""
    grey = smooth(COUNT, *SHAPE)
    pictures = np.repeat(np.where(grey > 110, grey, 0)[..., None], 3, -1).astype(np.uint8)
    pictures[:, 20:30, 30:42] = (200, 40, 30)
    return pictures


RGB = ultrasound()
GREY = np.ascontiguousarray(RGB[..., 0])
YCC = np.asarray(convert_color_space(RGB, "RGB", "YBR_FULL"), np.uint8)
DEEP = GREY.astype(np.uint16) * 16

Lie = dict[str, Any]


def luma_by_pydicom(path: Path) -> NDArray[np.uint8]:
    """What pydicom makes of a file whose header is right, with decoders that this project does not use."""
    pixels = pixel_array(path)
    return (
        luma(pixels)
        if pixels.ndim == 4
        else np.rint(pixels / (16 if pixels.dtype == np.uint16 else 1)).astype(np.uint8)
    )


def with_lie(path: Path, lie: Lie) -> Path:
    dataset = dcmread(path)
    for keyword, value in lie.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def with_syntax(path: Path, syntax: str) -> Path:
    """The file with another transfer syntax in its file meta information, and not a byte changed behind it."""
    data = path.read_bytes()
    start = data.index(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    name = syntax.encode()
    name += b"\0" * (len(name) % 2)
    element = data[start : start + 6] + len(name).to_bytes(2, "little") + name
    at = data.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
    group = int.from_bytes(data[at : at + 4], "little") + len(name) - length
    rest = data[at + 4 : start] + element + data[start + 8 + length :]
    path.write_bytes(data[:at] + group.to_bytes(4, "little") + rest)
    return path


def play(path: Path) -> None:
    with open_source(path) as source:
        for _ in source:
            pass


def read(path: Path) -> tuple[NDArray[np.uint8] | None, list[bool], str, str]:
    """Pictures, which of them are refused, the note, and the error behind them."""
    frames: list[Frame] = []
    error = note = ""
    try:
        with open_source(path) as source:
            note = source.info.note
            frames.extend(source)
    except PartumError as caught:
        error = str(caught)
    pictures = np.stack([frame.image for frame in frames]) if frames else None
    return pictures, [frame.refusal is not None for frame in frames], note, error


def mean_error(pictures: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    assert pictures.shape == expected.shape
    return float(np.abs(pictures.astype(int) - expected).mean())


CODECS: dict[str, Callable[[Path], Path]] = {
    "native grey": lambda path: native(path, GREY),
    "native deep": lambda path: native(path, DEEP, BitsStored=12),
    "native colour": lambda path: native(path, RGB, photometric="RGB"),
    "native YCbCr": lambda path: native(path, YCC, photometric="YBR_FULL"),
    "RLE grey": lambda path: compressed(native(path, GREY), uid.RLELossless),
    "RLE deep": lambda path: compressed(native(path, DEEP, BitsStored=12), uid.RLELossless),
    "RLE colour": lambda path: compressed(native(path, RGB, photometric="RGB"), uid.RLELossless),
    "JPEG grey": lambda path: encapsulated(path, [jpeg(each) for each in GREY], SHAPE),
    "JPEG colour": lambda path: encapsulated(path, [jpeg(each) for each in RGB], SHAPE, photometric="YBR_FULL_422"),
    "JPEG 4:2:0": lambda path: encapsulated(
        path,
        [jpeg(each, sampling=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420) for each in RGB],
        SHAPE,
        photometric="YBR_FULL_422",
    ),
    "JPEG RGB": lambda path: encapsulated(path, [rgb_jpeg(each) for each in RGB], SHAPE, photometric="RGB"),
    "lossless JPEG": lambda path: encapsulated(
        path, [lossless_jpeg(each, precision=8) for each in GREY], SHAPE, syntax=uid.JPEGLosslessSV1
    ),
    "lossless JPEG deep": lambda path: encapsulated(
        path,
        [lossless_jpeg(each, precision=12) for each in DEEP],
        SHAPE,
        syntax=uid.JPEGLosslessSV1,
        bits=16,
        BitsStored=12,
    ),
    "JPEG 2000 grey": lambda path: encapsulated(
        path, [jpeg_2000(each) for each in GREY], SHAPE, syntax=uid.JPEG2000Lossless
    ),
    "JPEG 2000 colour": lambda path: encapsulated(
        path,
        [jpeg_2000(each, has_colour_transform=True) for each in RGB],
        SHAPE,
        syntax=uid.JPEG2000Lossless,
        photometric="YBR_RCT",
    ),
    "JPEG 2000 deep": lambda path: compressed(native(path, DEEP, BitsStored=12), uid.JPEG2000Lossless),
    "JPEG-LS grey": lambda path: compressed(native(path, GREY), uid.JPEGLSLossless),
    "JPEG-LS deep": lambda path: compressed(native(path, DEEP, BitsStored=12), uid.JPEGLSLossless),
    "JPEG-LS colour": lambda path: compressed(native(path, RGB, photometric="RGB"), uid.JPEGLSLossless),
}


@cache
def truthful(codec: str) -> tuple[bytes, NDArray[np.uint8]]:
    """The file with a header that is right, and its pictures: as pydicom reads them, or as they were before coding."""
    with TemporaryDirectory() as scratch:
        path = CODECS[codec](Path(scratch) / "a.dcm")
        # pydicom's decoders of lossless JPEG are GPL, or end the process on damaged data: they may not be there.
        return path.read_bytes(), GREY if codec.startswith("lossless") else luma_by_pydicom(path)


def pictures_of(path: Path) -> tuple[NDArray[np.uint8], str]:
    pictures, refused, note, error = read(path)
    assert (error, any(refused)) == ("", False)
    assert pictures is not None
    return pictures, note
