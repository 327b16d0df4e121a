"""Folders of images: order, grey levels, and images that do not belong."""

from __future__ import annotations

import itertools
import logging
import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stream.common.errors import SourceNotFound, SourceUnreadable
from stream.frames.frame import PixelSpacing, SegmentCause
from stream.frames.reason import Reason
from stream.sources.files.images.source import ImageFolderSource, natural_key
from tests.samples.source_files import CLOCK, bars, frames_of, pictures_of, waves, write_film, write_images

if TYPE_CHECKING:
    from pathlib import Path


def test_images_come_in_natural_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(12))  # image2 before image10
    np.testing.assert_array_equal(pictures_of(ImageFolderSource(folder, clock=CLOCK)), waves(12))


@pytest.mark.parametrize(
    "ordered",
    [
        ["f1", "f9", "f10"],
        ["9", "10", "x"],
        ["a1b2", "a1b10", "a2b1"],
        ["Frame2", "frame10"],
        ["f02", "f2", "f03"],
    ],
)
def test_natural_order_of_names(ordered: list[str]) -> None:
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural_key) == ordered


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_names_have_an_order(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm", ".PNG"])
def test_grey_images_stay_as_they_are(tmp_path: Path, suffix: str) -> None:
    folder = write_images(tmp_path / "images", waves(2), suffix=suffix)
    np.testing.assert_array_equal(pictures_of(ImageFolderSource(folder, clock=CLOCK)), waves(2))


def test_jpeg_is_close(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(2), suffix=".jpg")
    assert np.abs(pictures_of(ImageFolderSource(folder, clock=CLOCK)).astype(int) - waves(2)).max() <= 6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_the_full_range(tmp_path: Path, suffix: str) -> None:
    wide = bars().astype(np.uint16) * 257
    folder = write_images(tmp_path / "images", [wide, wide // 2], suffix=suffix)
    first, second = pictures_of(ImageFolderSource(folder, clock=CLOCK))
    np.testing.assert_array_equal(first, bars())
    assert np.abs(second - bars() / 2).max() <= 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_colour_becomes_grey_by_bt601_and_alpha_is_ignored(tmp_path: Path, depth: type[np.uint8 | np.uint16]) -> None:
    scale = 1 if depth is np.uint8 else 257
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90]])  # red first
    stored = (np.repeat(colours[None, :, ::-1], 8, axis=0) * scale).astype(depth)
    alpha = np.full((*stored.shape[:2], 1), 9, depth)
    folder = write_images(tmp_path / "images", [stored, np.concatenate([stored, alpha], axis=-1)])
    for picture in pictures_of(ImageFolderSource(folder, clock=CLOCK)):
        assert np.abs(picture[4] - colours @ [0.299, 0.587, 0.114]).max() <= 1


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :16] = 255
    folder = write_images(tmp_path / "images", [stored], suffix=".jpg")
    path = folder / "image0.jpg"
    jpeg = path.read_bytes()
    exif = b"Exif\0\0" + struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 0x112, 3, 1, 6, 0)
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    (picture,) = pictures_of(ImageFolderSource(folder, clock=CLOCK))
    assert picture.shape == (64, 32)
    assert np.abs(picture.astype(int) - np.rot90(stored, -1)).mean() < 5


def test_rate_and_spacing_are_the_callers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(3))
    spacing = PixelSpacing(x_mm=0.1, y_mm=0.2)
    source = ImageFolderSource(folder, clock=CLOCK, spacing=spacing, rate_hz=Fraction(30000, 1001))
    assert source.info.frame_rate_hz == Fraction(30000, 1001)
    frames = frames_of(source)
    assert [frame.spacing for frame in frames] == [spacing] * 3
    assert [frame.pts * frame.time_base for frame in frames] == [index * Fraction(1001, 30000) for index in range(3)]


def test_one_image_is_a_recording_of_one_frame(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(3))
    source = ImageFolderSource(folder / "image1.png", clock=CLOCK)
    assert source.info.frame_count == 1
    np.testing.assert_array_equal(pictures_of(source), waves(3)[1:2])


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(2))
    (folder / "notes.txt").write_text("not an image")
    (folder / "._image0.png").write_bytes(b"what another system leaves behind")
    (folder / "sub.png").mkdir()
    assert len(frames_of(ImageFolderSource(folder, clock=CLOCK))) == 2


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *itertools.product([".png", ".jpg", ".tif"], ["cut short", "cut at the end", "empty", "text"]),
        (".png", "flipped"),  # the others have no check sums
    ],
)
def test_a_broken_image_among_others_is_refused_and_named(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    damage: str,
    suffix: str,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 96), dtype=np.uint8)
    folder = write_images(tmp_path / "images", noise, suffix=suffix)
    path = folder / f"image3{suffix}"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut short": data[:middle],
            "cut at the end": data[:-6],
            "flipped": data[:middle] + bytes(8) + data[middle + 8 :],
            "empty": b"",
            "text": b"not an image",
        }[damage]
    )
    source = ImageFolderSource(folder, clock=CLOCK)
    with caplog.at_level(logging.WARNING):
        frames = frames_of(source)
    assert [frame.refusal for frame in frames] == [None, None, None, Reason.DAMAGED, None]
    assert [frame.pts for frame in frames] == list(range(5))
    assert f"1 images could not be read and were refused; the first: {path}: " in caplog.text
    for alone in (path, folder):
        for other in set(folder.iterdir()) - {path}:
            other.unlink()
        with pytest.raises(SourceUnreadable) as caught:
            ImageFolderSource(alone, clock=CLOCK)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_film_that_is_cut_off_among_pictures_keeps_its_places(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(3))
    path = write_film(folder / "image1.gif", waves(6))
    (folder / "image1.png").unlink()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = ImageFolderSource(folder, clock=CLOCK)
    frames = frames_of(source)
    assert frames[0].refusal is frames[-1].refusal is None
    assert {frame.refusal for frame in frames[1:-1]} >= {Reason.DAMAGED}
    for frame in frames[1:-1]:
        if frame.refusal is None:
            np.testing.assert_array_equal(frame.image, waves(6)[frame.index - 1])


def test_images_of_other_sizes_are_segments_of_their_own(tmp_path: Path) -> None:
    pictures = [*waves(2), waves(1, width=80)[0], *waves(2)]
    folder = write_images(tmp_path / "images", pictures)
    spacing = PixelSpacing(x_mm=0.1, y_mm=0.2)
    frames = frames_of(ImageFolderSource(folder, clock=CLOCK, spacing=spacing))
    for frame, picture in zip(frames, pictures, strict=True):
        np.testing.assert_array_equal(frame.image, picture)
    assert [frame.segment for frame in frames] == [0, 0, 1, 2, 2]
    assert [frame.segment_cause for frame in frames][1:3] == [SegmentCause.START, SegmentCause.SIZE]
    # What was typed holds as long as the size it was typed for; what it is when that comes back, nobody knows.
    assert [frame.spacing for frame in frames] == [spacing, spacing, None, None, None]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    assert cv2.imwrite(str(folder / "a.tif"), np.zeros((8, 8), np.float32))
    with pytest.raises(SourceUnreadable, match="floating point"):
        ImageFolderSource(folder, clock=CLOCK)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(SourceUnreadable, match="a folder without images"):
        ImageFolderSource(tmp_path, clock=CLOCK)
    with pytest.raises(SourceNotFound, match="no such folder"):
        ImageFolderSource(tmp_path / "gone", clock=CLOCK)


def test_images_of_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "1.png")
    for name in ("2.tga", "3.heic", "4.exr"):
        (tmp_path / name).write_bytes(b"words")
    (tmp_path / "5.png").symlink_to(tmp_path / "nowhere.png")
    with ImageFolderSource(tmp_path, clock=CLOCK) as source:
        assert source.info.note == "not played, of this folder: 1 .exr, 1 .heic, 1 .tga, 1 broken link"
