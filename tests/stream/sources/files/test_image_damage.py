"""Image files that are not whole, or hold more than they declare: refused and said."""

from __future__ import annotations

import io
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import tifffile
from PIL import Image

from stream.common.errors import SourceError, SourceTruncated, SourceUnreadable
from stream.sources import open_source
from stream.sources.decoding import png
from stream.sources.files.images.source import ImageFolderSource
from tests.samples.source_files import (
    CLOCK,
    bars,
    frames_of,
    frames_to_error,
    pictures_of,
    write_film,
)
from tests.stream.sources.files.test_image_files import COUNT, PICTURES, grey, read

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.frames.frame import Frame


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
