"""DICOM headers that contradict their pixels: the right pictures, or one clear line, never a silent difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from stream.common.errors import SourceTruncated, SourceUnreadable
from tests.samples.dicom_files import encapsulated, jpeg, luma, native, smooth
from tests.samples.dicom_lies import (
    CODECS,
    COUNT,
    DEEP,
    GREY,
    RGB,
    SHAPE,
    YCC,
    Lie,
    mean_error,
    pictures_of,
    play,
    read,
    truthful,
    with_lie,
    with_syntax,
)

if TYPE_CHECKING:
    from pathlib import Path

LIES: list[Lie] = [
    {},
    *({"NumberOfFrames": count} for count in (None, 1, COUNT - 1, COUNT + 3)),
    {"Rows": SHAPE[0] - 1},
    {"Rows": SHAPE[0] + 1},
    {"Columns": SHAPE[1] - 2},
    {"Columns": SHAPE[1] + 1},
    {"Rows": SHAPE[1], "Columns": SHAPE[0] - 1},
    {"Rows": SHAPE[1], "Columns": SHAPE[0]},
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


@pytest.mark.slow
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


@pytest.mark.parametrize("codec", ["native grey", "native deep", "native colour", "RLE grey", "RLE colour"])
def test_exchanged_rows_and_columns_are_told(tmp_path: Path, codec: str) -> None:
    path = with_lie(CODECS[codec](tmp_path / "a.dcm"), {"Rows": SHAPE[1], "Columns": SHAPE[0]})
    with pytest.raises(SourceUnreadable, match="torn at 64x80 and whole at 80x64"):
        play(path)


def test_noise_and_flat_pictures_are_not_taken_for_torn_ones(tmp_path: Path) -> None:
    for pixels in (np.random.default_rng(0).integers(0, 256, (2, *SHAPE)), np.full((2, *SHAPE), 9), np.eye(64)[None]):
        assert len(pictures_of(native(tmp_path / "a.dcm", pixels.astype(np.uint8)))[0]) == len(pixels)
