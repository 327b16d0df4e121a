"""Image files: films in containers for pictures, levels as other readers see them, and what is not whole."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from stream.common.errors import SourceUnreadable
from stream.sources import open_source
from stream.sources.files.images.image_file import read_grey
from stream.sources.files.images.source import ImageFolderSource
from tests.samples.source_files import (
    CLOCK,
    bars,
    frames_of,
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


COUNT = 6
PICTURES = waves(COUNT)


def read(path: Path) -> NDArray[np.uint8]:
    return pictures_of(open_source(str(path), clock=CLOCK))


def grey(path: Path) -> NDArray[np.int64]:
    levels: NDArray[np.int64] = read(path)[0].astype(np.int64)
    return levels


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
