"""What the header of a stack declares, against what is stored and what can be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from stream.common.errors import SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources.files.masks import mask_pixel_aspect, read_mask
from stream.sources.files.volumes.source import StackSource
from tests.samples.source_files import (
    CLOCK,
    frames_of,
    pictures_of,
    waves,
    write_metaimage,
    write_nrrd,
)

if TYPE_CHECKING:
    from pathlib import Path

    from stream.sources.base import SourceInfo

COUNT = 12
PICTURES = waves(COUNT)


def opened(path: Path) -> StackSource:
    return StackSource(path, clock=CLOCK)


def facts(path: Path) -> SourceInfo:
    with opened(path) as source:
        return source.info


@pytest.mark.parametrize("channels", [2, 5, 12])
def test_values_that_are_no_colour_are_refused(tmp_path: Path, channels: int) -> None:
    stored = np.repeat(PICTURES[..., None], channels, -1)
    fields = {"ElementNumberOfChannels": str(channels)}
    path = write_metaimage(tmp_path / "a.mha", stored, sizes=(96, 64, COUNT), fields=fields)
    with pytest.raises(SourceUnreadable, match=f"has {channels} values a pixel"):
        opened(path)
    with pytest.raises(SourceUnreadable, match=f"has {channels} values a pixel"):
        opened(write_nrrd(tmp_path / "a.nrrd", stored, fields={"kinds": "vector domain domain list"}))


@pytest.mark.parametrize("kind", ["complex", "hsv-color", "3-vector", "2d-matrix", "quaternion"])
def test_an_axis_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    stored = np.repeat(PICTURES[..., None], 3, -1)
    with pytest.raises(SourceUnreadable, match=f"an axis of kind '{kind}'"):
        opened(write_nrrd(tmp_path / "a.nrrd", stored, fields={"kinds": f"{kind} domain domain list"}))


def test_vectors_as_others_write_them_are_refused_and_colour_is_read(tmp_path: Path) -> None:
    vectors = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(PICTURES, 0, -1)), isVector=True)
    colours = sitk.GetImageFromArray(np.repeat(PICTURES[..., None], 3, -1), isVector=True)
    for suffix in (".mha", ".nrrd"):
        sitk.WriteImage(vectors, str(tmp_path / f"vectors{suffix}"))
        with pytest.raises(SourceUnreadable, match="has 12 values a pixel"):
            opened(tmp_path / f"vectors{suffix}")
        sitk.WriteImage(colours, str(tmp_path / f"colours{suffix}"))
        np.testing.assert_array_equal(pictures_of(opened(tmp_path / f"colours{suffix}")), PICTURES)


def test_three_pictures_in_space_are_three_frames_and_a_guess_is_said(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(PICTURES[:3])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))  # says that all its axes are of space
    assert len(frames_of(opened(tmp_path / "a.nrrd"))) == 3
    sitk.WriteImage(image, str(tmp_path / "a.mha"))  # says nothing
    source = opened(tmp_path / "a.mha")
    assert source.info.note == "3 planes taken for one colour picture, not for 3 frames"
    assert len(frames_of(source)) == 1


@pytest.mark.parametrize("kind", ["RF_REAL", "RF_IQ_LINE", "RF_I_LINE_Q_LINE"])
def test_radio_frequency_data_are_no_pictures(tmp_path: Path, kind: str) -> None:
    fields = {"UltrasoundImageType": kind}
    with pytest.raises(SourceUnreadable, match=f"radio-frequency data \\({kind}\\)"):
        opened(write_metaimage(tmp_path / "a.mha", PICTURES.astype("<i2"), fields=fields))
    with pytest.raises(SourceUnreadable, match="radio-frequency data"):
        opened(write_nrrd(tmp_path / "a.nrrd", PICTURES, pairs=fields))


def test_an_unknown_orientation_is_said(tmp_path: Path) -> None:
    source = opened(write_metaimage(tmp_path / "a.mha", PICTURES, fields={"UltrasoundImageOrientation": "XX"}))
    assert "orientation 'XX' is not known: shown as stored" in source.info.note
    np.testing.assert_array_equal(pictures_of(source), PICTURES)


@pytest.mark.parametrize(
    ("spacing", "aspect", "words"),
    [
        ("300 300 1", 1.0, "300 x 300 mm per pixel is not plausible"),
        ("0.0003 0.0002 1", 1.5, "0.0003 x 0.0002 mm per pixel is not plausible"),  # its shape is still known
        ("0.1 1.3 1", None, "too far from square"),
        ("nan nan 1", 1.0, ""),
        ("0 0 0", 1.0, ""),
        ("1 1 1", 1.0, ""),
    ],
)
def test_a_scale_that_cannot_be_is_unknown_with_the_reason(
    tmp_path: Path, spacing: str, aspect: float | None, words: str
) -> None:
    source = opened(write_metaimage(tmp_path / "a.mha", PICTURES, fields={"ElementSpacing": spacing}))
    frames = frames_of(source)
    assert source.info.spacing is None
    assert {frame.spacing for frame in frames} == {None}
    assert [frame.pixel_aspect for frame in frames] == [pytest.approx(aspect) if aspect else None] * COUNT
    assert words in source.info.note
    if not words:
        assert source.info.note == "25 frames/s assumed"


def test_element_size_stands_in_for_spacing(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mha", PICTURES, fields={"ElementSize": "0.2 0.3 1"})
    assert facts(path).spacing == PixelSpacing(0.2, 0.3)
    assert sitk.ReadImage(str(path)).GetSpacing()[:2] == (0.2, 0.3)  # type: ignore[no-untyped-call]
    both = {"ElementSize": "0.2 0.3 1", "ElementSpacing": "0.4 0.5 1"}
    assert facts(write_metaimage(path, PICTURES, fields=both)).spacing == PixelSpacing(0.4, 0.5)


@pytest.mark.parametrize("name", ["LOCAL", "Local", "local"])
def test_pixels_in_the_same_file_however_it_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mha"
    data = write_metaimage(path, PICTURES).read_bytes()
    path.write_bytes(data.replace(b"= LOCAL", f"= {name}".encode()))
    np.testing.assert_array_equal(pictures_of(opened(path)), PICTURES)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_sixty_four_bits(tmp_path: Path, dtype: type[np.int64 | np.uint64]) -> None:
    image = sitk.GetImageFromArray(PICTURES.astype(dtype))
    for suffix in (".mha", ".nrrd"):
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        np.testing.assert_array_equal(pictures_of(opened(tmp_path / f"a{suffix}")), PICTURES)
    labels = np.zeros((64, 96), dtype)  # numpy's own type of a mask
    labels[10:20, 10:20], labels[30:50, 30:60] = 1, 2
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "mask.mha"))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.mha"), labels)


def test_a_header_of_other_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="does not belong to these pixels"):
        opened(write_metaimage(tmp_path / "a.mha", PICTURES, sizes=(95, 64, COUNT)))
    path = write_metaimage(tmp_path / "a.mha", PICTURES)
    path.write_bytes(path.read_bytes() + b"\r\n")  # an editor's line feed
    assert facts(path).note == "25 frames/s assumed"


@pytest.mark.parametrize(("declared", "stored"), [("u1", "<u2"), ("<u2", "u1"), ("u1", "<f8"), ("<f4", "u1")])
def test_pixels_of_another_type_than_declared_are_refused(tmp_path: Path, declared: str, stored: str) -> None:
    path = write_metaimage(tmp_path / "a.mha", PICTURES.astype(declared))
    header = path.read_bytes()[: -PICTURES.astype(declared).nbytes]
    path.write_bytes(header + PICTURES.astype(stored).tobytes())
    with pytest.raises(SourceUnreadable, match="declares 12 pictures, and the pixels would be"):
        opened(path)


def test_colour_that_the_header_does_not_tell_is_refused(tmp_path: Path) -> None:
    stored = np.repeat(PICTURES[..., None], 3, -1)
    with pytest.raises(SourceUnreadable, match="would be 36 of that size"):
        opened(write_metaimage(tmp_path / "a.mha", stored, sizes=(96, 64, COUNT)))


@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_compressed_pixels_that_the_header_calls_raw_are_refused(tmp_path: Path, kind: str) -> None:
    if kind == "mha":
        path = write_metaimage(tmp_path / "a.mha", PICTURES, compressed=True)
        path.write_bytes(path.read_bytes().replace(b"CompressedData = True", b"CompressedData = False"))
    else:
        path = write_nrrd(tmp_path / "a.nrrd", PICTURES, encoding="gzip")
        path.write_bytes(path.read_bytes().replace(b"encoding: gzip", b"encoding: raw"))
    with pytest.raises(SourceUnreadable, match="its pixels are compressed"):
        opened(path)


def test_bytes_that_are_not_there_are_not_skipped(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mhd", PICTURES, data_name="a.raw", fields={"HeaderSize": "100"})
    with pytest.raises(SourceUnreadable, match=r"skips 100 bytes of a\.raw, which has none too many"):
        opened(path)
    path = write_metaimage(tmp_path / "b.mhd", PICTURES, data_name="b.raw")
    (tmp_path / "b.raw").write_bytes(bytes(50) + PICTURES.tobytes())  # a header that nobody declares
    with pytest.raises(SourceUnreadable, match="50 bytes lie behind"):
        opened(path)


@pytest.mark.parametrize(
    ("unit", "steps", "spacing", "aspect", "words"),
    [
        ("um", "200 300 1", PixelSpacing(0.2, 0.3), 2 / 3, ""),
        ("\u00b5m", "200 300 1", PixelSpacing(0.2, 0.3), 2 / 3, ""),
        ("inch", "0.01 0.02 1", PixelSpacing(0.254, 0.508), 0.5, ""),
        ("furlong", "0.2 0.3 1", None, 2 / 3, "a scale in 'furlong' is not understood"),
        ("pixel", "1 1 1", None, 1.0, ""),
    ],
)
def test_units_of_length(
    tmp_path: Path, unit: str, steps: str, spacing: PixelSpacing | None, aspect: float, words: str
) -> None:
    fields = {"spacings": steps, "units": f'"{unit}" "{unit}" ""'}
    source = opened(write_nrrd(tmp_path / "a.nrrd", PICTURES, fields=fields))
    frame = frames_of(source)[0]
    assert frame.pixel_aspect == pytest.approx(aspect)
    assert (frame.spacing is None) == (spacing is None)
    if frame.spacing and spacing:
        assert (frame.spacing.x_mm, frame.spacing.y_mm) == pytest.approx((spacing.x_mm, spacing.y_mm))
    assert words in source.info.note


@pytest.mark.parametrize(
    ("declared", "spacing", "words"),
    [
        ("0.3 0.2", PixelSpacing(0.3, 0.2), "2 spacings for 3 axes: taken in their order"),
        ("0.3 0.2 1 1", PixelSpacing(0.3, 0.2), "4 spacings for 3 axes: taken in their order"),
        ("0.3", None, "1 spacings for 3 axes"),
    ],
)
def test_spacings_of_another_number_than_the_axes(
    tmp_path: Path, declared: str, spacing: PixelSpacing | None, words: str
) -> None:
    info = facts(write_metaimage(tmp_path / "a.mha", PICTURES, fields={"ElementSpacing": declared}))
    assert info.spacing == spacing
    assert words in info.note


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"axis mins": "0 0 0", "axis maxs": "28.8 12.8 12"}, "a scale by axis mins and maxs is not read"),
        ({"spacings": "0.3 200 1", "units": '"mm" "micron" ""'}, "a scale in 'mm' and 'micron' is not understood"),
    ],
)
def test_a_scale_that_is_not_read_is_said_and_gives_no_angle(
    tmp_path: Path, fields: dict[str, str], words: str
) -> None:
    source = opened(write_nrrd(tmp_path / "a.nrrd", PICTURES, fields=fields))
    assert words in source.info.note
    frame = frames_of(source)[0]
    assert (frame.spacing, frame.pixel_aspect) == (None, None)


@pytest.mark.parametrize("word", ["Big", "BIG", "big"])
def test_a_byte_order_however_it_is_written(tmp_path: Path, word: str) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", PICTURES.astype(">u2") * 257, fields={"endian": word})
    native = write_nrrd(tmp_path / "b.nrrd", PICTURES.astype("<u2") * 257)
    np.testing.assert_array_equal(pictures_of(opened(path)), pictures_of(opened(native)))


@pytest.mark.parametrize("word", ["", "middle"])
def test_a_byte_order_that_is_not_told_is_refused(tmp_path: Path, word: str) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", PICTURES.astype("<u2"), fields={"endian": word})
    with pytest.raises(SourceUnreadable, match="does not say its byte order"):
        opened(path)
    bytes_only = write_nrrd(tmp_path / "b.nrrd", PICTURES, fields={"endian": word})
    np.testing.assert_array_equal(pictures_of(opened(bytes_only)), PICTURES)


@pytest.mark.parametrize("word", ["T", "true", "True", "1", "yes"])
def test_a_flag_however_it_is_written(tmp_path: Path, word: str) -> None:
    values = PICTURES.astype(">u2") * 257
    path = write_metaimage(tmp_path / "a.mha", values, fields={"BinaryDataByteOrderMSB": word})
    native = write_metaimage(tmp_path / "b.mha", PICTURES.astype("<u2") * 257)
    np.testing.assert_array_equal(pictures_of(opened(path)), pictures_of(opened(native)))


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_pixels_in_a_pipe_or_a_device_are_refused(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "/dev/zero"):
        path = tmp_path / f"a.{kind}"
        write = write_metaimage if kind == "mhd" else write_nrrd
        write(path, PICTURES, data_name="a.raw")
        path.write_bytes(path.read_bytes().replace(b"a.raw", name.encode()))
        with pytest.raises(SourceUnreadable, match=r"cannot be opened \(a pipe or a device is no file of pixels\)$"):
            opened(path)


@pytest.mark.parametrize("line", ["Comment this has no sign", "ElementSpacing : 0.2 0.3 1"])
def test_a_header_line_that_is_broken_is_named(tmp_path: Path, line: str) -> None:
    path = write_metaimage(tmp_path / "a.mha", PICTURES)
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile", f"{line}\nElementDataFile".encode(), 1))
    with pytest.raises(SourceUnreadable, match=f"the line '{line}' of its header"):
        opened(path)


@pytest.mark.parametrize("orientation", ["MF", "MN", "FM", "NM"])
def test_a_mask_is_turned_as_pictures_are(tmp_path: Path, orientation: str) -> None:
    labels = np.zeros((64, 96), np.uint8)
    labels[5:20, 10:30], labels[30:50, 30:60] = 1, 2
    upright = labels[::-1] if "N" in orientation else labels
    is_turned = orientation[0] in "FN"
    stored = np.ascontiguousarray(upright.T if is_turned else upright)
    fields = {
        "UltrasoundImageOrientation": orientation,
        "ElementSpacing": "0.2 0.4 1" if is_turned else "0.4 0.2 1",  # three of two axes
    }
    path = write_metaimage(tmp_path / "mask.mha", stored, fields=fields)
    np.testing.assert_array_equal(read_mask(path), labels)
    assert mask_pixel_aspect(path) == 2
