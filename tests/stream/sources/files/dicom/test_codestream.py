"""What a coded picture in DICOM says of itself goes before the header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from pydicom import uid
from pydicom.pixels.utils import pixel_array

from stream.common.errors import SourceUnreadable
from tests.samples.dicom_files import (
    ADOBE_RGB,
    compressed,
    encapsulated,
    jpeg,
    jpeg_2000,
    lossless_jpeg,
    luma,
    native,
    rgb_jpeg,
    without_jfif,
)
from tests.samples.dicom_lies import DEEP, GREY, RGB, SHAPE, YCC, Lie, mean_error, pictures_of, play, with_lie

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.mark.parametrize("coded_bits", [8, 12, 16])
def test_signed_jpeg_2000_has_its_own_sign(tmp_path: Path, coded_bits: int) -> None:
    half = 1 << (coded_bits - 1)
    signed = (GREY.astype(np.int32) << (coded_bits - 8)) - half
    stored = signed.astype(np.int8 if coded_bits == 8 else np.int16)
    attributes: Lie = {"PixelRepresentation": 1, "BitsStored": coded_bits}
    path = compressed(native(tmp_path / "a.dcm", stored, **attributes), uid.JPEG2000Lossless)
    assert np.array_equal(pixel_array(path), stored)
    expected = np.rint((signed + half) / (2 * half - 1) * 255)
    assert np.array_equal(pictures_of(path)[0], expected)


def test_values_below_zero_in_a_codestream_whose_header_has_no_sign_are_refused(tmp_path: Path) -> None:
    stored = (GREY.astype(np.int32) - 128).astype(np.int8)
    path = compressed(native(tmp_path / "a.dcm", stored, PixelRepresentation=1), uid.JPEG2000Lossless)
    with pytest.raises(SourceUnreadable, match="below zero"):
        play(with_lie(path, {"PixelRepresentation": 0}))


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
@pytest.mark.parametrize(
    ("lie", "scale"),
    [
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, 16),
        ({"BitsStored": 16, "HighBit": 15}, 16),
        ({"BitsStored": 8, "HighBit": 7}, None),
    ],
)
def test_depth_is_the_codestreams_or_the_file_is_refused(
    tmp_path: Path, syntax: str, lie: Lie, scale: int | None
) -> None:
    path = with_lie(compressed(native(tmp_path / "a.dcm", DEEP, BitsStored=12), syntax), lie)
    if scale:
        assert mean_error(pictures_of(path)[0], GREY) < 0.6
    else:
        with pytest.raises(SourceUnreadable, match="values of 12 bits, its header says 8"):
            play(path)


def test_encoders_that_write_the_bits_allocated_are_understood(tmp_path: Path) -> None:
    coded = [jpeg_2000(each) for each in DEEP]  # Pillow writes 16 bits
    path = encapsulated(tmp_path / "a.dcm", coded, SHAPE, syntax=uid.JPEG2000Lossless, bits=16, BitsStored=12)
    assert mean_error(pictures_of(path)[0], GREY) < 0.6


def test_smaller_chroma_is_ycbcr_whatever_the_header_says(tmp_path: Path) -> None:
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    coded = [without_jfif(jpeg(each, sampling=sampling)) for each in RGB]
    path = encapsulated(tmp_path / "a.dcm", coded, SHAPE, photometric="RGB")
    assert mean_error(pictures_of(path)[0], luma(RGB)) < 2


def test_whole_chroma_without_a_marker_is_told_by_its_looks(tmp_path: Path) -> None:
    ycc = encapsulated(tmp_path / "a.dcm", [without_jfif(jpeg(each)) for each in RGB], SHAPE, photometric="RGB")
    assert mean_error(pictures_of(ycc)[0], luma(RGB)) < 2
    rgb = encapsulated(tmp_path / "b.dcm", [rgb_jpeg(each) for each in RGB], SHAPE, photometric="RGB")
    assert mean_error(pictures_of(rgb)[0], luma(RGB)) < 2


def test_an_adobe_marker_that_is_cut_short_says_nothing(tmp_path: Path) -> None:
    short = b"\xff\xee\x00\x0cAdobe\x65\0\0\0\0"
    assert ADOBE_RGB[4:9] == short[4:9]
    coded = [each[:2] + short + each[2:] for each in map(rgb_jpeg, RGB)]
    assert mean_error(pictures_of(encapsulated(tmp_path / "a.dcm", coded, SHAPE, photometric="RGB"))[0], luma(RGB)) < 2


@pytest.mark.parametrize("precision", [2, 7, 15, 16])
def test_lossless_jpeg_with_differences_that_wrap(tmp_path: Path, precision: int) -> None:
    top = (1 << precision) - 1
    pixels = np.random.default_rng(1).choice([0, top // 2, top], size=(1, *SHAPE))
    if precision == 16:
        pytest.importorskip("libjpeg", reason="needs pylibjpeg-libjpeg, which is not part of any extra")
    path = encapsulated(
        tmp_path / "a.dcm",
        [lossless_jpeg(pixels[0], precision=precision)],
        SHAPE,
        syntax=uid.JPEGLosslessSV1,
        bits=16 if precision > 8 else 8,
        BitsStored=precision,
    )
    assert np.array_equal(pictures_of(path)[0], np.rint(pixels / top * 255))


SIGNED = DEEP.astype(np.int16) - 2048
PALETTE: Lie = {
    **{f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 8] for colour in ("Red", "Green", "Blue")},
    **{f"{colour}PaletteColorLookupTableData": bytes(range(255, -1, -1)) for colour in ("Red", "Green", "Blue")},
}
KINDS: dict[str, tuple[NDArray[Any], Lie]] = {
    "grey": (GREY, {}),
    "inverse grey": (GREY, {"photometric": "MONOCHROME1"}),
    "signed grey": ((GREY.astype(np.int16) - 128).astype(np.int8), {"PixelRepresentation": 1}),
    "12 bits": (DEEP, {"BitsStored": 12}),
    "12 bits, window": (DEEP, {"BitsStored": 12, "WindowCenter": 900, "WindowWidth": 700}),
    "12 bits, signed": (SIGNED, {"BitsStored": 12, "PixelRepresentation": 1}),
    "12 bits, signed, rescaled": (
        SIGNED,
        {
            "BitsStored": 12,
            "PixelRepresentation": 1,
            "RescaleSlope": 2,
            "RescaleIntercept": 50,
            "WindowCenter": 100,
            "WindowWidth": 3000,
        },
    ),
    "16 bits, signed": (SIGNED * 16, {"PixelRepresentation": 1}),
    "palette": (GREY, {"photometric": "PALETTE COLOR", **PALETTE}),
    "RGB": (RGB, {"photometric": "RGB"}),
    "YCbCr": (YCC, {"photometric": "YBR_FULL"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_lossless_coding_changes_nothing(tmp_path: Path, kind: str, syntax: str) -> None:
    pixels, attributes = KINDS[kind]
    path = native(tmp_path / "a.dcm", pixels, **attributes)
    expected = pictures_of(path)[0]
    assert np.array_equal(pictures_of(compressed(path, syntax))[0], expected)
