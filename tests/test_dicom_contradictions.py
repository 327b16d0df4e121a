"""DICOM headers that contradict their pixels: the right pictures, or one clear line, never a silent difference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array

from engines.errors import PartumError
from stream.errors import SourceTruncated, SourceUnreadable
from tests.dicom_files import (
    ADOBE_RGB,
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
    without_jfif,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stream.frame import Frame

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

LIES: list[Lie] = [
    {},
    *({"NumberOfFrames": count} for count in (None, 1, COUNT - 1, COUNT + 3)),
    {"Rows": SHAPE[0] - 1},
    {"Rows": SHAPE[0] + 1},
    {"Columns": SHAPE[1] - 2},
    {"Columns": SHAPE[1] + 1},
    {"Rows": SHAPE[1], "Columns": SHAPE[0] - 1},
    {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
    {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11},
    {"BitsAllocated": 16, "BitsStored": 8, "HighBit": 7},
    {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PlanarConfiguration": 0},
    {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0},
    {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0},
    {"SamplesPerPixel": 4, "PhotometricInterpretation": "RGB"},
    {"PhotometricInterpretation": "YBR_ICT", "SamplesPerPixel": 3, "PlanarConfiguration": 1},
]
SYNTAXES = [
    None,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


def is_undetectable(codec: str, lie: Lie) -> bool:
    """What no byte of the file contradicts: these codings say nothing of depth, and native ones nothing of colour."""
    if codec.startswith("RLE"):
        return "BitsStored" in lie
    return codec.startswith("native") and bool({"PhotometricInterpretation", "BitsStored"} & set(lie))


@cache
def truthful(codec: str) -> tuple[bytes, NDArray[np.uint8]]:
    """The file with a header that is right, and its pictures."""
    with TemporaryDirectory() as scratch:
        path = CODECS[codec](Path(scratch) / "a.dcm")
        return path.read_bytes(), luma_by_pydicom(path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(codec=st.sampled_from(sorted(CODECS)), lie=st.sampled_from(LIES), syntax=st.sampled_from(SYNTAXES))
def test_the_right_pictures_or_one_clear_line(tmp_path: Path, codec: str, lie: Lie, syntax: str | None) -> None:
    if is_undetectable(codec, lie):
        return
    data, expected = truthful(codec)
    (tmp_path / "a.dcm").write_bytes(data)
    path = with_lie(tmp_path / "a.dcm", lie)
    if syntax:
        with_syntax(path, syntax)
    pictures, refused, note, error = read(path)
    assert "\n" not in error
    if pictures is None:
        assert error.startswith(str(path))
        return
    sound = [index for index, is_refused in enumerate(refused) if not is_refused]
    assert mean_error(pictures[sound], expected[sound]) < 3, (note, error)
    if len(pictures) < COUNT:
        assert f"{len(pictures)} of " in error
    declared = lie.get("NumberOfFrames", COUNT)
    assert declared == COUNT or f"{COUNT} frames found" in note or f"{COUNT} of {declared} frames" in error


def pictures_of(path: Path) -> tuple[NDArray[np.uint8], str]:
    pictures, refused, note, error = read(path)
    assert (error, any(refused)) == ("", False)
    assert pictures is not None
    return pictures, note


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


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("pixels", ["RGB", "YCbCr"])
def test_all_chroma_under_a_label_that_says_half(tmp_path: Path, count: int, pixels: str) -> None:
    stored = (RGB if pixels == "RGB" else YCC)[:count]
    path = native(tmp_path / "a.dcm", stored, photometric="YBR_FULL_422")
    pictures, note = pictures_of(path)
    assert mean_error(pictures, luma(RGB[:count])) < 0.6
    assert "not stored as YBR_FULL_422" in note


def test_half_the_chroma_under_a_label_that_says_all(tmp_path: Path) -> None:
    stored = np.empty((COUNT, SHAPE[0], SHAPE[1] // 2, 4), np.uint8)
    stored[..., :2] = YCC[..., 0].reshape(COUNT, SHAPE[0], -1, 2)
    stored[..., 2:] = YCC[:, :, ::2, 1:]
    path = native(tmp_path / "a.dcm", stored.reshape(COUNT, SHAPE[0], -1), photometric="YBR_FULL", Columns=SHAPE[1])
    pictures, note = pictures_of(path)
    assert np.array_equal(pictures, YCC[..., 0])
    assert "not stored as YBR_FULL" in note


def test_a_length_that_two_readings_fit_is_refused(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", YCC[:2], photometric="YBR_FULL_422", NumberOfFrames=None)
    with pytest.raises(SourceUnreadable, match="pixel data are 30720 bytes"):
        play(path)


@pytest.mark.parametrize("declared", [None, 0, 1, 3, "x"])
@pytest.mark.parametrize("codec", ["native grey", "native colour", "JPEG colour", "RLE grey", "JPEG 2000 grey"])
@pytest.mark.parametrize("fragments", [1, 2])
def test_all_frames_that_are_stored_are_played(
    tmp_path: Path, declared: int | str | None, codec: str, fragments: int
) -> None:
    if fragments > 1:
        path = encapsulated(tmp_path / "a.dcm", [jpeg(each) for each in GREY], SHAPE, fragments=2, has_table=False)
        expected = pictures_of(path)[0]
    else:
        path = CODECS[codec](tmp_path / "a.dcm")
        expected = truthful(codec)[1]
    if declared == "x":
        with_lie(path, {"NumberOfFrames": 7777})
        path.write_bytes(path.read_bytes().replace(b"7777", b"7x77"))
    else:
        with_lie(path, {"NumberOfFrames": declared})
    pictures, note = pictures_of(path)
    assert mean_error(pictures, expected) < 1
    assert (
        f"{COUNT} frames found; the file says it holds {declared}" if declared in (1, 3) else "does not say"
    ) in note


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


@pytest.mark.parametrize("codec", ["native grey", "native deep", "JPEG colour", "RLE grey"])
@pytest.mark.parametrize("written", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("said", [*SYNTAXES[-4:]])
def test_how_a_header_is_written_is_seen_from_its_bytes(tmp_path: Path, codec: str, written: str, said: str) -> None:
    path, expected = CODECS[codec](tmp_path / "a.dcm"), truthful(codec)[1]
    if codec.startswith("native"):
        path = native(path, DEEP if "deep" in codec else GREY, syntax=written, BitsStored=12 if "deep" in codec else 8)
    assert mean_error(pictures_of(with_syntax(path, said))[0], expected) < 1


def test_pixels_that_no_whole_number_of_frames_fills_are_refused(tmp_path: Path) -> None:
    for lie in ({"Rows": SHAPE[0] - 1}, {"Columns": SHAPE[1] - 1}, {"Rows": SHAPE[0] + 1}):
        with pytest.raises(SourceUnreadable, match=r"pixel data are 20480 bytes, where its header says 4 frames"):
            play(with_lie(native(tmp_path / "a.dcm", GREY), lie))


def test_a_length_beyond_the_files_end_does_not_hide_the_frames(tmp_path: Path) -> None:
    path = native(tmp_path / "a.dcm", GREY)
    data = path.read_bytes()
    at = data.rindex(b"OB\0\0") + 4
    path.write_bytes(data[:at] + (GREY.size * 100).to_bytes(4, "little") + data[at + 4 :])
    assert np.array_equal(pictures_of(path)[0], GREY)


def test_more_frames_declared_than_stored_are_told(tmp_path: Path) -> None:
    for codec in ("native grey", "JPEG colour", "RLE grey", "JPEG-LS deep"):
        path = with_lie(CODECS[codec](tmp_path / "a.dcm"), {"NumberOfFrames": 9})
        with pytest.raises(SourceTruncated, match="ends after 4 of 9 frames"):
            play(path)


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


def test_colour_under_a_header_that_says_grey_and_the_reverse_are_refused(tmp_path: Path) -> None:
    grey = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    for count in (1, COUNT):
        path = with_lie(native(tmp_path / "a.dcm", RGB[:count], photometric="RGB"), grey)
        with pytest.raises(SourceUnreadable, match="its pixels are colour"):
            play(path)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = with_lie(native(tmp_path / "a.dcm", np.concatenate([GREY, GREY, GREY])), colour)
    with pytest.raises(SourceUnreadable, match="its pixel data are 61440 bytes"):
        play(path)
    three = native(tmp_path / "a.dcm", smooth(3, *SHAPE), NumberOfFrames=None)
    assert len(pictures_of(three)[0]) == 3


def test_a_wrong_length_of_the_file_meta_information_does_not_matter(tmp_path: Path) -> None:
    for syntax in (uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian):
        path = native(tmp_path / "a.dcm", GREY, syntax=syntax)
        data = path.read_bytes()
        for length in (0, 16, 1 << 20):
            path.write_bytes(data[:140] + length.to_bytes(4, "little") + data[144:])
            assert np.array_equal(pictures_of(path)[0], GREY)
