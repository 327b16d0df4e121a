"""Image files: films in containers for pictures, levels as other readers see them, and what is not whole."""

from __future__ import annotations

import io
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from stream.common.errors import SourceError, SourceTruncated, SourceUnreadable
from stream.sources import open_source
from stream.sources.decoding import png
from stream.sources.files.images.image_file import read_grey
from stream.sources.files.images.source import ImageFolderSource
from tests.samples.source_files import (
    CLOCK,
    bars,
    frames_of,
    frames_to_error,
    pictures_of,
    waves,
    write_film,
    write_images,
    write_waves,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.frames.frame import Frame

COUNT = 6
PICTURES = waves(COUNT)


def read(path: Path) -> NDArray[np.uint8]:
    return pictures_of(open_source(str(path), clock=CLOCK))


def grey(path: Path) -> NDArray[np.int64]:
    levels: NDArray[np.int64] = read(path)[0].astype(np.int64)
    return levels


def opened_to_error(path: Path) -> tuple[list[Frame], SourceError | None]:
    """As `frames_to_error`; damage to the first picture is found when the file is opened."""
    try:
        source = open_source(str(path), clock=CLOCK)
    except SourceError as error:
        return [], error
    return frames_to_error(source)


def encoded(picture: NDArray[Any], kind: str, **options: Any) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, kind, **options)
    return memory.getvalue()


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.gif", "P", {}),
        ("a.png", "L", {}),
        ("a.webp", "RGB", {"lossless": True}),
        ("a.tif", "L", {}),
        ("a.tif", "L", {"compression": "tiff_lzw"}),
        ("a.png", "RGBA", {}),
    ],
)
def test_a_film_is_played_whole_under_any_name(tmp_path: Path, name: str, mode: str, options: dict[str, Any]) -> None:
    path = write_film(tmp_path / name, PICTURES, mode=mode, **options)
    shutil.copy(path, tmp_path / "film.of-unknown-kind")
    for other in (path, tmp_path / "film.of-unknown-kind"):
        source = open_source(str(other), clock=CLOCK)
        assert source.info.frame_count == COUNT
        frames = frames_of(source)
        np.testing.assert_array_equal([frame.image for frame in frames], PICTURES)
        assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(COUNT)])
        assert (source.info.note == "") == (not name.endswith("tif"))
    if not name.endswith(("webp", "tif")):  # an independent decoder, where there is one
        with av.open(str(other)) as container:
            assert sum(1 for _ in container.decode(video=0)) == COUNT


def test_pictures_of_an_mpo_are_a_film(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mpo", PICTURES[:2], mode="RGB", quality=95)
    shutil.copy(path, tmp_path / "a.jpg")
    for other in (path, tmp_path / "a.jpg"):
        assert np.abs(read(other).astype(int) - PICTURES[:2]).max() < 12


def test_a_film_has_its_own_times(tmp_path: Path) -> None:
    first, *rest = map(Image.fromarray, PICTURES[:4])
    durations = [40, 100, 50, 200]
    for name in ("a.gif", "a.png", "a.webp"):
        path = tmp_path / name
        first.save(path, save_all=True, append_images=rest, duration=durations)
        assert [frame.pts_s for frame in frames_of(open_source(str(path)))] == pytest.approx([0, 0.04, 0.14, 0.19])
    first.save(tmp_path / "hasty.gif", save_all=True, append_images=rest, duration=0)  # as viewers show it
    assert [frame.pts_s for frame in frames_of(open_source(str(tmp_path / "hasty.gif")))][1] == pytest.approx(0.1)


def test_the_stand_in_of_an_animated_png_is_no_frame_of_it(tmp_path: Path) -> None:
    first, *rest = map(Image.fromarray, PICTURES)
    first.save(tmp_path / "a.png", save_all=True, append_images=rest, default_image=True, duration=40)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PICTURES[1:])


def test_imagej_says_its_count_and_its_interval(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURES, imagej=True, metadata={"axes": "TYX", "finterval": 0.05, "unit": "mm"})
    source = open_source(str(path), clock=CLOCK)
    assert source.info.frame_rate_hz == 20
    np.testing.assert_array_equal(pictures_of(source), PICTURES)
    # One page in front of all pixels, as ImageJ writes more than 4 GB.
    description = f"ImageJ=1.54f\nimages={COUNT}\nslices={COUNT}\n"
    tifffile.imwrite(path, PICTURES[0], description=description, metadata=None)
    with pytest.raises(SourceUnreadable, match=f"declares {COUNT} pictures and holds 1"):
        read(path)


def test_channels_in_pages_of_their_own_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([PICTURES, 255 - PICTURES], 1), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(SourceUnreadable, match="has 2 channels"):
        read(path)


def test_the_shape_of_pixels_of_a_gif(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.gif", PICTURES)
    data = bytearray(path.read_bytes())
    data[12] = 113
    path.write_bytes(data)
    assert {frame.pixel_aspect for frame in frames_of(open_source(str(path)))} == {2.0}
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2


def test_thumbnails_of_a_tiff_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for picture in PICTURES:
            tiff.write(picture, photometric="minisblack")
            tiff.write(picture[::2, ::2], photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(read(path), PICTURES)


def test_a_film_among_the_pictures_of_a_folder_is_played_in_its_place(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", PICTURES[:3])
    write_film(folder / "image1.png", PICTURES[1:])
    source = ImageFolderSource(folder, clock=CLOCK)
    assert source.info.frame_count == COUNT + 1
    np.testing.assert_array_equal(pictures_of(source), [PICTURES[0], *PICTURES[1:], PICTURES[2]])


def test_pictures_under_every_name_are_read(tmp_path: Path) -> None:
    for index, name in enumerate(("1.jpg", "2.jfif", "3.jpe", "4.JPEG", "5.jp2", "6.unknown")):
        Image.fromarray(PICTURES[index]).save(tmp_path / name, "JPEG2000" if name == "5.jp2" else "JPEG", quality=95)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    source = ImageFolderSource(tmp_path, clock=CLOCK)
    assert "not played" not in source.info.note
    assert np.abs(pictures_of(source).astype(int) - PICTURES).max() < 12


def test_recordings_beside_pictures_are_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", PICTURES[:2])
    write_waves(folder / "clip.mp4", 2)
    write_waves(folder / "clip.bin", 2, container="matroska")
    (folder / "masks").mkdir()
    with ImageFolderSource(folder, clock=CLOCK) as source:
        assert source.info.note == "not played, of this folder: 1 .bin, 1 .mp4, 1 folder; 25 frames/s assumed"
    (folder / "masks").rmdir()
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(SourceUnreadable, match=r"without images; it holds 1 \.bin, 1 \.mp4: give one of them"):
        ImageFolderSource(folder, clock=CLOCK)


TIFFS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "black is zero, 8 bits": (bars(), {"photometric": "minisblack"}),
    "white is zero, 8 bits": (255 - bars(), {"photometric": "miniswhite"}),
    "black is zero, 16 bits": (bars().astype("<u2") * 257, {"photometric": "minisblack"}),
    "white is zero, 16 bits": (65535 - bars().astype("<u2") * 257, {"photometric": "miniswhite"}),
    "big endian": (bars().astype(">u2") * 257, {"photometric": "minisblack", "byteorder": ">"}),
    "colour by pixel": (np.stack([bars()] * 3, -1), {"photometric": "rgb"}),
    "colour by pixel, 16 bits": (np.stack([bars().astype("<u2") * 257] * 3, -1), {"photometric": "rgb"}),
    "colour by plane": (np.stack([bars()] * 3), {"photometric": "rgb", "planarconfig": "separate"}),
    "deflated": (bars(), {"photometric": "minisblack", "compression": "zlib", "predictor": True}),
    "tiled": (bars(), {"photometric": "minisblack", "tile": (32, 32)}),
    "palette": (
        255 - bars(),
        {"photometric": "palette", "colormap": np.stack([np.arange(255, -1, -1, dtype=np.uint16) * 257] * 3)},
    ),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_levels_of_a_tiff(tmp_path: Path, kind: str) -> None:
    stored, options = TIFFS[kind]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, **options)
    assert np.abs(grey(path) - bars()).max() <= 1
    np.testing.assert_array_equal(read_grey(path), read(path)[0])


UNTURNED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda upright: np.rot90(upright, 2).T,
    8: lambda upright: np.rot90(upright, -1),
}
"""What is stored under each EXIF orientation."""


@pytest.mark.parametrize("orientation", UNTURNED)
def test_a_tiff_is_turned_by_its_orientation(tmp_path: Path, orientation: int) -> None:
    turned = UNTURNED[orientation](PICTURES[0])
    tags = [(274, "H", 1, orientation, False)]
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(turned), photometric="minisblack", extratags=tags)
    np.testing.assert_array_equal(grey(tmp_path / "a.tif"), PICTURES[0])


@pytest.mark.parametrize(
    ("stored", "options", "words"),
    [
        (np.zeros((3, 8, 9), np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, "16 bits in planes"),
        (np.zeros((8, 9), np.int16), {"photometric": "minisblack"}, "signed or floating point"),
        (np.zeros((8, 9), np.int8), {"photometric": "minisblack"}, "signed or floating point"),
        (np.zeros((8, 9), np.float32), {"photometric": "minisblack"}, "signed or floating point"),
        (np.zeros((8, 9), ">u2"), {"photometric": "miniswhite", "byteorder": ">"}, "cannot be decoded|not an image"),
        (np.full((8, 9), 70_000, np.uint32), {"photometric": "minisblack"}, "do not fit 16 bits"),
    ],
)
def test_a_tiff_that_would_be_garbled_is_refused(
    tmp_path: Path, stored: NDArray[Any], options: dict[str, Any], words: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    with pytest.raises(SourceUnreadable, match=words):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("maxval", [1, 15, 100, 255, 1000, 4095, 65535])
@pytest.mark.parametrize("magic", ["P2", "P5", "P3", "P6"])
def test_levels_of_a_pnm_run_to_its_own_white(tmp_path: Path, maxval: int, magic: str) -> None:
    levels: NDArray[np.int64] = np.rint(bars() / 255 * maxval).astype(np.int64)
    stored = np.stack([levels] * 3, -1) if magic in ("P3", "P6") else levels
    header = f"{magic}\n# made by a scanner\n{levels.shape[1]} {levels.shape[0]}\n{maxval}\n".encode()
    text = "\n".join(" ".join(map(str, row)) for row in stored.reshape(len(stored), -1)).encode()
    body = text if magic in ("P2", "P3") else stored.astype(">u2" if maxval > 255 else "u1").tobytes()
    path = tmp_path / "a.pgm"
    path.write_bytes(header + body)
    assert np.abs(grey(path) - levels * 255 / maxval).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_files_are_scaled_by_the_bits_in_use(tmp_path: Path, bits: int) -> None:
    levels = (bars().astype(np.float64) / 255 * ((1 << bits) - 1)).astype(np.uint16)
    folder = write_images(tmp_path / "images", [levels // 3, levels])  # the same scale for all
    dark, bright = pictures_of(ImageFolderSource(folder, clock=CLOCK)).astype(int)
    assert np.abs(bright - bars()).max() <= 1
    assert np.abs(dark - bars() / 3).max() <= 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_with_a_hole_is_refused_though_it_ends_as_it_should(
    tmp_path: Path, mode: str, options: dict[str, Any]
) -> None:
    memory = io.BytesIO()
    Image.fromarray(PICTURES[0]).convert(mode).save(memory, "JPEG", **options)
    path, data = tmp_path / "a.jpg", memory.getvalue()
    path.write_bytes(data)
    assert np.abs(grey(path) - PICTURES[0]).max() < 20
    path.write_bytes(data[: len(data) * 2 // 3] + b"\xff\xd9")
    with pytest.raises(SourceUnreadable, match="cut off"):
        read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM"])
def test_a_second_picture_in_a_file_is_not_passed_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(PICTURES[0], kind) + encoded(PICTURES[1], kind))
    with pytest.raises(SourceUnreadable, match="another picture lies behind the first"):
        read(path)
    path.write_bytes(encoded(PICTURES[0], kind) + b"\n")
    assert len(read(path)) == 1


@pytest.mark.parametrize("magic", ["P2", "P3"])
def test_a_second_picture_written_as_text_is_not_passed_over(tmp_path: Path, magic: str) -> None:
    values = bars()[:4, :40]
    levels = np.stack([values] * 3, -1) if magic == "P3" else values
    text = f"{magic}\n# of a scanner\n40 4\n255\n" + "\n".join(" ".join(map(str, row.ravel())) for row in levels)
    (tmp_path / "a.pnm").write_text(text + "\n")
    np.testing.assert_array_equal(grey(tmp_path / "a.pnm"), values)
    (tmp_path / "a.pnm").write_text(f"{text}\n{text}\n")
    with pytest.raises(SourceUnreadable, match="another picture lies behind the first"):
        read(tmp_path / "a.pnm")


@pytest.mark.parametrize(
    ("name", "options", "aspect"),
    [
        ("a.png", {"dpi": (100, 120)}, 1.2),
        ("a.jpg", {"dpi": (120, 100)}, 100 / 120),
        ("a.tif", {"dpi": (100, 120)}, 1.2),
        ("a.bmp", {"dpi": (100, 120)}, 1.2),
        ("a.png", {"dpi": (96, 96)}, 1.0),
        ("a.png", {"dpi": (1, 300)}, None),
        ("a.png", {}, 1.0),
    ],
)
def test_pixels_have_the_shape_that_the_file_declares(
    tmp_path: Path, name: str, options: dict[str, Any], aspect: float | None
) -> None:
    upright, on_its_side = tmp_path / name, tmp_path / f"turned-{name}"
    Image.fromarray(PICTURES[0]).save(upright, **options)
    (frame,) = frames_of(open_source(str(upright), clock=CLOCK))
    assert frame.pixel_aspect == (pytest.approx(aspect, abs=0.005) if aspect else None)
    if name.endswith(("png", "jpg")):
        exif = Image.Exif()
        exif[0x112] = 6
        Image.fromarray(PICTURES[0]).save(on_its_side, exif=exif, **options)
        (frame,) = frames_of(open_source(str(on_its_side), clock=CLOCK))
        assert frame.pixel_aspect == (pytest.approx(1 / aspect, abs=0.005) if aspect else None)


def with_png_size(data: bytes, *, height: int) -> bytes:
    """The same PNG with another height, and the check sum of that."""
    header = data[12:20] + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "I;16", "LA", "RGBA"])
@pytest.mark.parametrize("height", [20, 63, 65, 200])
def test_a_png_of_other_rows_than_it_declares_is_refused(tmp_path: Path, mode: str, height: int) -> None:
    image = Image.fromarray(PICTURES[0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(PICTURES[0])
    memory = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(memory, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(memory.getvalue())
    assert read(path).shape == (1, 64, 96)
    path.write_bytes(with_png_size(memory.getvalue(), height=height))
    with pytest.raises(SourceUnreadable, match="cut off"):
        read(path)


def interlaced(picture: NDArray[np.uint8]) -> bytes:
    """A PNG of grey levels in the seven passes of Adam7."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    passes = [picture[top::down, left::across] for left, top, across, down in starts]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    header = picture.shape[1].to_bytes(4, "big") + picture.shape[0].to_bytes(4, "big") + bytes([8, 0, 0, 0, 1])
    return (
        encoded(picture, "PNG")[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 8), (13, 17), (64, 96)])
def test_rows_of_an_interlaced_png_are_counted_by_pass(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    picture = np.ascontiguousarray(PICTURES[0][:height, :width])
    (tmp_path / "a.png").write_bytes(interlaced(picture))
    np.testing.assert_array_equal(grey(tmp_path / "a.png"), picture)
    assert not png.has_all_rows(with_png_size(interlaced(picture), height=height + 1))


def test_levels_above_the_highest_that_a_pgm_declares_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 96 64 100\n" + PICTURES[0].tobytes())
    with pytest.raises(SourceUnreadable, match=r"has levels up to 24\d, its header says 100"):
        read(path)
    path.write_bytes(b"P5 96 40 255\n" + PICTURES[0].tobytes())
    with pytest.raises(SourceUnreadable, match="2304 bytes lie behind the picture"):
        read(path)


@pytest.mark.parametrize(
    ("marker", "bits", "words"),
    [(0xC1, 12, "a JPEG of 12 bits"), (0xC3, 16, "a lossless JPEG of 16 bits"), (0xC3, 8, "a lossless JPEG of 8 bits")],
)
def test_a_sound_jpeg_that_is_not_decoded_here_is_not_called_damaged(
    tmp_path: Path, marker: int, bits: int, words: str
) -> None:
    data = encoded(PICTURES[0], "JPEG")
    at = data.index(b"\xff\xc0")
    (tmp_path / "a.jpg").write_bytes(
        data[: at + 1] + bytes([marker]) + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :]
    )
    with pytest.raises(SourceUnreadable, match=f"{words}, which cannot be decoded here"):
        read(tmp_path / "a.jpg")


def test_a_hole_in_a_later_picture_of_an_mpo(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mpo", PICTURES[:2], mode="RGB")
    data = path.read_bytes()
    second = data.rindex(b"\xff\xd8\xff")
    path.write_bytes(data[: (second + len(data)) // 2] + b"\xff\xd9")
    frames, error = opened_to_error(path)
    assert len(frames) == 1
    assert isinstance(error, SourceTruncated)


def test_jpegs_in_a_row_are_a_film_under_the_name_of_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    path.write_bytes(b"".join(encoded(picture, "JPEG", quality=95) for picture in PICTURES))
    source = open_source(str(path), clock=CLOCK)
    assert source.info.note == "25 frames/s assumed"  # FFmpeg made it up
    assert np.abs(pictures_of(source).astype(int) - PICTURES).max() < 12


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png"])
def test_a_film_that_is_cut_off_says_so(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 64, 96), dtype=np.uint8)
    path = write_film(tmp_path / name, noise)
    data = path.read_bytes()
    for length in (len(data) * 6 // 10, len(data) - 16):
        path.write_bytes(data[:length])
        frames, error = opened_to_error(path)
        assert isinstance(error, SourceError)
        assert "cut off" in str(error)
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.image, noise[index])
    assert capfd.readouterr() == ("", "")


def test_a_whole_gif_without_its_last_byte_is_cut_off_behind_its_last_picture(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.gif", PICTURES)
    path.write_bytes(path.read_bytes()[:-1])
    frames, error = frames_to_error(ImageFolderSource(path, clock=CLOCK))
    assert isinstance(error, SourceTruncated)
    assert f"after {COUNT} pictures" in str(error)
    assert len(frames) == COUNT


def test_several_pictures_where_one_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=f"holds {COUNT} pictures where one is wanted"):
        read_grey(write_film(tmp_path / "a.tif", PICTURES))


def test_palettes_alpha_and_colour_become_grey_as_opencv_reads_them(tmp_path: Path) -> None:
    colours = cv2.applyColorMap(PICTURES[0], cv2.COLORMAP_JET)
    assert cv2.imwrite(str(tmp_path / "rgb.png"), colours)
    image = Image.open(tmp_path / "rgb.png")
    image.quantize(64).save(tmp_path / "palette.png", transparency=0)
    image.convert("RGBA").save(tmp_path / "rgba.webp", lossless=True)
    image.quantize(200).save(tmp_path / "palette.bmp")
    for path in sorted(tmp_path.iterdir()):
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert expected is not None
        assert np.abs(grey(path) - expected).max() <= 1, path.name


@pytest.mark.parametrize("size", ["60000 60000", "48 524320", "7000 7000"])
def test_a_huge_header_is_refused(tmp_path: Path, size: str) -> None:
    (tmp_path / "a.pgm").write_bytes(f"P5 {size} 255\n".encode())
    with pytest.raises(SourceUnreadable):
        read(tmp_path / "a.pgm")


@pytest.mark.parametrize("name", ["a.webp", "a.tif"])
def test_pictures_in_a_row_in_one_file_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    assert opened_to_error(path)[1] is None
    path.write_bytes(whole * 3)
    frames, error = opened_to_error(path)
    assert not frames
    assert isinstance(error, SourceUnreadable)
    assert "lies behind the first" in str(error)
