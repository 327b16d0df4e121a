"""MetaImage and NRRD stacks: axes, values, scale, orientation, time, and headers that lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.common.errors import SourceError, SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources.files.volumes import metaimage
from stream.sources.files.volumes.header import axis_layout
from stream.sources.files.volumes.source import StackSource
from tests.samples.source_files import (
    CLOCK,
    frames_of,
    frames_to_error,
    pictures_of,
    waves,
    write_metaimage,
    write_nrrd,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.frames.frame import Frame


def read(path: Path) -> NDArray[np.uint8]:
    return pictures_of(StackSource(path, clock=CLOCK))


def read_to_error(path: Path) -> tuple[list[Frame], SourceError | None]:
    """The frames delivered, and the error that ended them."""
    return frames_to_error(StackSource(path, clock=CLOCK))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("data_name", ["LOCAL", "pixels.raw"])
def test_metaimage_bytes_come_out_as_they_are(tmp_path: Path, compressed: bool, data_name: str) -> None:
    path = write_metaimage(tmp_path / "a.mhd", waves(5), compressed=compressed, data_name=data_name)
    np.testing.assert_array_equal(read(path), waves(5))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("data_name", [None, "pixels.raw"])
def test_nrrd_bytes_come_out_as_they_are(tmp_path: Path, encoding: str, data_name: str | None) -> None:
    path = write_nrrd(tmp_path / "a.nhdr", waves(5), encoding=encoding, data_name=data_name)
    np.testing.assert_array_equal(read(path), waves(5))


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("u2", 0, 4095), ("i2", -1000, 3000), ("f4", -0.25, 1.0), ("f8", 0.0, 1.0), ("i4", 0, 1_000_000)],
)
def test_wider_values_are_stretched_from_the_files_own_range(
    tmp_path: Path, byte_order: str, dtype: str, low: float, high: float
) -> None:
    levels = np.array([[0, 51, 128, 7, 9], [200, 254, 255, 0, 0]])
    stored = (low + np.stack([levels, levels[::-1]]) * ((high - low) / 255)).astype(byte_order + dtype)
    path = write_metaimage(tmp_path / "a.mha", stored)
    assert np.abs(read(path).astype(int) - np.stack([levels, levels[::-1]])).max() <= 1
    if dtype != "i4":
        np.testing.assert_array_equal(read(write_nrrd(tmp_path / "a.nrrd", stored)), read(path))


@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<f4"])
def test_grey_levels_in_a_wide_type_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    stored = waves(5).clip(10, 240)
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "a.mha", stored.astype(dtype))), stored)


def test_values_that_are_no_numbers_are_black(tmp_path: Path) -> None:
    stored = np.array([[[0.5, np.nan], [1.0, np.inf], [-np.inf, 0.0]]] * 2, "<f4")
    assert read(write_metaimage(tmp_path / "a.mha", stored))[0].tolist() == [[128, 0], [255, 255], [0, 0]]


def test_a_constant_stack_is_no_division_by_zero(tmp_path: Path) -> None:
    assert not read(write_metaimage(tmp_path / "a.mha", np.full((2, 4, 5), 1000, "<i2"))).any()


COLOURS = np.stack([waves(4), waves(4)[:, ::-1], waves(4)[:, :, ::-1]], axis=-1)
"""(4, H, W, 3), red first."""

GREYS = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in COLOURS])


def test_colour_by_pixel(tmp_path: Path) -> None:
    sizes, fields = (96, 64, 4), {"ElementNumberOfChannels": "3"}
    path = write_metaimage(tmp_path / "a.mha", COLOURS, sizes=sizes, fields=fields)
    np.testing.assert_array_equal(read(path), GREYS)
    path = write_metaimage(tmp_path / "one.mha", COLOURS[0])  # DimSize = 3 96 64
    np.testing.assert_array_equal(read(path), GREYS[:1])
    kinds = {"kinds": "RGB-color domain domain list"}
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "a.nrrd", COLOURS, fields=kinds)), GREYS)


def test_three_planes_are_one_colour_picture_unless_the_file_is_a_sequence(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(COLOURS[0], -1, 0))  # DimSize = 96 64 3, as PSFHS stores pictures
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "a.mha", planes)), GREYS[:1])
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "a.nrrd", planes)), GREYS[:1])
    times = {f"Seq_Frame{index:04d}_Timestamp": str(index) for index in range(3)}
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "s.mha", planes, fields=times)), planes)
    kinds = {"kinds": "domain domain list"}
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "s.nrrd", planes, fields=kinds)), planes)
    moving = np.ascontiguousarray(np.moveaxis(COLOURS, -1, 1))  # DimSize = 96 64 3 4
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "m.mha", moving)), GREYS)


def test_single_slices_count_as_no_axis(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "a.mha", waves(4)[:, None])), waves(4))
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "a.nrrd", waves(4)[:, None])), waves(4))
    np.testing.assert_array_equal(read(write_metaimage(tmp_path / "b.mha", waves(1))), waves(1))


@pytest.mark.parametrize(
    ("sizes", "is_sequence", "layout"),
    [
        ((256, 256), False, "xy"),
        ((256, 256, 3), False, "xyc"),
        ((256, 256, 3), True, "xyt"),
        ((256, 256, 4), False, "xyt"),
        ((3, 256, 256), False, "cxy"),
        ((3, 256, 256, 9), False, "cxyt"),
        ((256, 256, 3, 9), False, "xyct"),
        ((820, 616, 21), False, "xyt"),
        ((256, 256, 5, 9), False, "xyzt"),
    ],
)
def test_axes_are_told_apart_by_their_sizes(sizes: tuple[int, ...], is_sequence: bool, layout: str) -> None:
    assert axis_layout(sizes, is_sequence=is_sequence) == layout


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        ("MF", lambda picture: picture),
        ("UF", lambda picture: picture),
        ("MFA", lambda picture: picture),
        ("MN", lambda picture: picture[::-1]),
        ("FM", lambda picture: picture.T),
        ("NU", lambda picture: picture.T[::-1]),
    ],
)
def test_depth_runs_downwards(tmp_path: Path, orientation: str, turn: Any) -> None:
    fields = {"UltrasoundImageOrientation": orientation, "ElementSpacing": "0.2 0.3 1"}
    source = StackSource(write_metaimage(tmp_path / "a.mha", waves(4), fields=fields), clock=CLOCK)
    expected = np.stack([turn(picture) for picture in waves(4)])
    assert (source.info.height, source.info.width) == expected.shape[1:]
    is_turned = orientation[0] in "FN"
    assert source.info.spacing == (PixelSpacing(0.3, 0.2) if is_turned else PixelSpacing(0.2, 0.3))
    np.testing.assert_array_equal(pictures_of(source), expected)
    pairs = {"UltrasoundImageOrientation": orientation}
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "a.nrrd", waves(4), pairs=pairs)), expected)


@pytest.mark.parametrize(
    ("text", "spacing"),
    [
        ("0.2 0.3 1", PixelSpacing(0.2, 0.3)),
        ("0.2 -0.3 1", PixelSpacing(0.2, 0.3)),
        ("1 1 1", None),
        ("1 1 0.04", None),
        ("0 0 1", None),
        ("0.2 0.3", PixelSpacing(0.2, 0.3)),
        ("0.2", None),
    ],
)
def test_metaimage_spacing(tmp_path: Path, text: str, spacing: PixelSpacing | None) -> None:
    path = write_metaimage(tmp_path / "a.mha", waves(2), fields={"ElementSpacing": text})
    with StackSource(path, clock=CLOCK) as source:
        assert source.info.spacing == spacing
    with StackSource(path, clock=CLOCK, spacing=PixelSpacing(5, 6)) as source:
        assert source.info.spacing == next(iter(source)).spacing == PixelSpacing(5, 6)


@pytest.mark.parametrize(
    ("fields", "spacing"),
    [
        ({"spacings": "0.2 0.3 nan"}, PixelSpacing(0.2, 0.3)),
        ({"spacings": "0.02 0.03 0.04", "units": '"cm" "cm" "s"'}, PixelSpacing(0.2, 0.3)),
        ({"spacings": "0.02 0.03 0.04", "units": '"pixel" "pixel" ""'}, None),
        ({"space directions": "(0.2,0,0) (0,-0.3,0) none"}, PixelSpacing(0.2, 0.3)),
        ({"space directions": "(0, 0.2) (0.3, 0) none", "space units": '"mm" "mm"'}, PixelSpacing(0.2, 0.3)),
        ({"spacings": "1 1 1"}, None),
        ({}, None),
    ],
)
def test_nrrd_spacing(tmp_path: Path, fields: dict[str, str], spacing: PixelSpacing | None) -> None:
    with StackSource(write_nrrd(tmp_path / "a.nrrd", waves(2), fields=fields), clock=CLOCK) as source:
        found = source.info.spacing
    assert (found is None) == (spacing is None)
    if found and spacing:
        assert (found.x_mm, found.y_mm) == pytest.approx((spacing.x_mm, spacing.y_mm))


def test_times_of_a_sequence(tmp_path: Path) -> None:
    times_s = [12.5, 12.6, None, 12.9, 12.9, 2.0]
    stamps = {f"Seq_Frame{index:04d}_Timestamp": str(time) for index, time in enumerate(times_s) if time}
    expected_s = [0.0, 0.1, None, 0.4, 0.400001, None]
    written = write_metaimage(tmp_path / "a.mha", waves(6), fields=stamps)
    for path in (written, write_nrrd(tmp_path / "a.nrrd", waves(6), pairs=stamps)):
        frames = frames_of(StackSource(path, clock=CLOCK))
        assert [frame.segment for frame in frames] == [0, 0, 0, 0, 0, 1]
        for frame, time_s in zip(frames, expected_s, strict=True):
            assert time_s is None or frame.pts_s == pytest.approx(time_s)


def test_time_without_timestamps(tmp_path: Path) -> None:
    frames = frames_of(StackSource(write_metaimage(tmp_path / "a.mha", waves(4)), clock=CLOCK))
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12])
    fields = {"kinds": "domain domain time", "spacings": "0.2 0.2 50", "units": '"mm" "mm" "ms"'}
    source = StackSource(write_nrrd(tmp_path / "a.nrrd", waves(4), fields=fields), clock=CLOCK)
    assert source.info.frame_rate_hz == 20
    assert [frame.pts_s for frame in frames_of(source)] == pytest.approx([0, 0.05, 0.1, 0.15])


def test_pixels_at_an_offset_or_at_the_end(tmp_path: Path) -> None:
    for size, fields in (("7", {"HeaderSize": "7"}), ("-1", {"HeaderSize": "-1"})):
        path = write_metaimage(tmp_path / "a.mhd", waves(5), data_name="a.raw", fields=fields)
        pixels = path.with_suffix(".raw")
        pixels.write_bytes(b"1234567" + pixels.read_bytes())
        np.testing.assert_array_equal(read(path), waves(5), err_msg=size)
        path = write_nrrd(tmp_path / "a.nhdr", waves(5), data_name="b.raw", fields={"byte skip": size})
        pixels = path.with_name("b.raw")
        pixels.write_bytes(b"1234567" + pixels.read_bytes())
        np.testing.assert_array_equal(read(path), waves(5), err_msg=size)


@pytest.mark.parametrize("kind", ["mha", "packed mha", "packed nrrd", "16 bit mha"])
def test_a_stack_cut_short_gives_its_whole_frames_then_the_error(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 96), dtype=np.uint8)
    if kind == "packed nrrd":
        path = write_nrrd(tmp_path / "a.nrrd", noise, encoding="gzip")
    else:
        stored = noise.astype("<u2") if kind == "16 bit mha" else noise
        path = write_metaimage(tmp_path / "a.mha", stored, compressed=kind == "packed mha")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 55 // 100])
    frames, error = read_to_error(path)
    assert isinstance(error, SourceTruncated)
    if kind == "16 bit mha":  # the pass that looks for the range of values comes first
        assert not frames
        return
    assert len(frames) == 5
    assert f"{path}: ends after 5 of 10 frames" in str(error)
    np.testing.assert_array_equal([frame.image for frame in frames], noise[:5])


def test_a_broken_compressed_stream_counts_as_cut_short(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 96), dtype=np.uint8)
    path = write_metaimage(tmp_path / "a.mha", noise, compressed=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * 300 + data[len(data) // 2 + 300 :])
    _, error = read_to_error(path)
    assert isinstance(error, SourceTruncated)


def test_a_header_that_promises_more_frames_than_there_are(tmp_path: Path) -> None:
    path = write_metaimage(tmp_path / "a.mha", waves(4), sizes=(96, 64, 9))
    frames, error = read_to_error(path)
    assert len(frames) == 4
    assert isinstance(error, SourceTruncated)
    assert "after 4 of 9" in str(error)
    frames, error = read_to_error(write_metaimage(tmp_path / "b.mha", waves(4), sizes=(96, 64, 3_000_000)))
    assert len(frames) == 4
    assert isinstance(error, SourceTruncated)


def bad_stack(folder: Path, kind: str) -> Path:
    path = folder / "a.mha"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no header\n" * 30)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(1).bytes(5000))
    elif kind == "folder":
        path.mkdir()
    elif kind == "nrrd without fields":
        path.write_bytes(b"NRRD0004\n\n")
    elif kind != "missing":
        changes: dict[str, dict[str, Any]] = {
            "no pixels file": {"data_name": "gone.raw"},
            "size of nothing": {"sizes": (96, 0, 4)},
            "negative size": {"sizes": (96, -64, 4)},
            "size beyond reason": {"sizes": (10**6, 10**6, 4)},
            "size in words": {"fields": {"DimSize": "wide high many"}},
            "five axes": {"sizes": (8, 8, 4, 6, 16)},
            "unknown type": {"element_type": "MET_STRING"},
            "pixels as text": {"fields": {"BinaryData": "False"}},
            "list of files": {"data_name": "LIST"},
        }
        write_metaimage(path, waves(4), **changes[kind])
        if kind == "no pixels file":
            (folder / "gone.raw").unlink()
    return path


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("missing", SourceNotFound),
        ("no pixels file", SourceNotFound),
        ("empty", SourceUnreadable),
        ("text", SourceUnreadable),
        ("noise", SourceUnreadable),
        ("folder", SourceUnreadable),
        ("nrrd without fields", SourceUnreadable),
        ("size of nothing", SourceUnreadable),
        ("negative size", SourceUnreadable),
        ("size beyond reason", SourceUnreadable),
        ("size in words", SourceUnreadable),
        ("five axes", SourceUnreadable),
        ("unknown type", SourceUnreadable),
        ("pixels as text", SourceUnreadable),
        ("list of files", SourceUnreadable),
    ],
)
def test_what_is_no_stack_gives_one_line(tmp_path: Path, kind: str, error: type[SourceError]) -> None:
    path = bad_stack(tmp_path, kind)
    with pytest.raises(error) as caught:
        StackSource(path, clock=CLOCK)
    assert str(caught.value).startswith(f"{path.with_name('gone.raw') if 'pixels file' in kind else path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"encoding": "bzip2"}, {"type": "block"}, {"line skip": "2"}, {"kinds": "complex domain domain"}]
)
def test_nrrd_of_a_kind_that_does_not_stream(tmp_path: Path, fields: dict[str, str]) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", waves(4), fields=fields)
    with pytest.raises(SourceUnreadable, match=r"a\.nrrd: "):
        StackSource(path, clock=CLOCK)


@settings(deadline=None, max_examples=60)
@given(text=st.binary(max_size=200), is_nrrd=st.booleans())
def test_no_header_brings_the_reader_down(tmp_path_factory: pytest.TempPathFactory, text: bytes, is_nrrd: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.mha"
    start = b"NRRD0004\ntype: uint8\n" if is_nrrd else b"NDims = 2\nElementType = MET_UCHAR\n"
    path.write_bytes(start + text + b"\nElementDataFile = LOCAL\n")
    with pytest.raises(SourceError):
        frames_of(StackSource(path, clock=CLOCK))


def test_one_picture_is_read_with_its_values(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    for dtype in ("u1", ">u2", "<i2", "<f4"):
        path = write_metaimage(tmp_path / "a.mha", labels.astype(dtype), compressed=True)
        image = metaimage.read_image(path)
        np.testing.assert_array_equal(image, labels)
        assert image.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(metaimage.read_image(write_metaimage(path, labels[None].astype("u1"))), labels)


def test_several_pictures_or_colour_are_not_one_picture(tmp_path: Path) -> None:
    for stored in (waves(5), COLOURS[0]):
        with pytest.raises(SourceUnreadable, match="one picture with one channel"):
            metaimage.read_image(write_metaimage(tmp_path / "a.mha", stored))
    path = write_metaimage(tmp_path / "a.mha", waves(1), sizes=(96, 65))
    with pytest.raises(SourceTruncated):
        metaimage.read_image(path)


def test_a_real_sequence(shared_data: Path) -> None:
    source = StackSource(shared_data / "clips" / "BoneUltrasound_L14.igs.mha", clock=CLOCK)
    assert (source.info.width, source.info.height, source.info.frame_count) == (820, 616, 21)
    assert source.info.spacing is None
    frames = frames_of(source)
    assert len(frames) == 21
    assert frames[1].pts_s == pytest.approx(232.628014 - 232.542071)
    assert frames[20].pts_s == pytest.approx(234.2611 - 232.542071)
    shallow, deep = frames[0].image[:100, 180:640].mean(), frames[0].image[500:, 180:640].mean()
    assert shallow > 3 * deep > 0
