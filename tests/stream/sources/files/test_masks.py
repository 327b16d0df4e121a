"""Masks from elsewhere: three codings, three containers, and one clear error for everything else."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import PartumError
from stream.common.errors import MaskError
from stream.sources.files.masks import CODINGS, mask_paths, pictures_in, read_mask, recode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = np.zeros((20, 30), np.uint8)
LABELS[2:8, 3:12] = 1
LABELS[10:18, 8:28] = 2


def coded(coding: tuple[int, int, int], labels: NDArray[np.uint8] = LABELS) -> NDArray[np.uint8]:
    return np.array(coding, np.uint8)[labels]


def save_png(path: Path, values: NDArray[Any]) -> None:
    assert cv2.imwrite(str(path), values)


def save_palette_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """An 8-bit palette PNG, whose colours have nothing to do with its codes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    height, width = labels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in labels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", bytes(3) + b"\xff\x00\x00" + b"\x00\xff\x00" + bytes(3 * 6))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def save_mha(path: Path, values: NDArray[Any], element: str = "MET_UCHAR") -> None:
    header = (
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = {values.shape[1]} {values.shape[0]}\nElementType = {element}\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + values.tobytes())


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("missing", [None, 1, 2])
def test_every_coding_is_recognised_even_with_a_structure_missing(
    tmp_path: Path, coding: tuple[int, int, int], missing: int | None
) -> None:
    labels = np.where(missing == LABELS, 0, LABELS).astype(np.uint8)
    save_png(tmp_path / "a.png", coded(coding, labels))
    save_mha(tmp_path / "a.mha", coded(coding, labels))
    assert np.array_equal(read_mask(tmp_path / "a.png"), labels)
    assert np.array_equal(read_mask(tmp_path / "a.mha"), labels)


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    assert not read_mask(tmp_path / "a.png").any()


def test_palette_indices_are_the_codes_not_the_colours(tmp_path: Path) -> None:
    save_palette_png(tmp_path / "a.png", coded((0, 7, 8)))
    assert np.array_equal(read_mask(tmp_path / "a.png"), LABELS)


def test_number_types_do_not_matter() -> None:
    for dtype in (np.int16, np.uint16, np.float32, np.float64):
        assert np.array_equal(recode(coded((0, 127, 255)).astype(dtype), origin="x"), LABELS)


@pytest.mark.parametrize("values", [[0, 1, 8], [0, 3], [0, 7, 255], [0, 128, 255], [0.5], [-1, 0], [float("nan")]])
def test_other_codes_are_refused_by_name(values: list[float]) -> None:
    with pytest.raises(MaskError, match=r"case\.png: holds the values .*0/1/2; 0/7/8; 0/127/255"):
        recode(np.array([values]), origin="case.png")


def test_many_values_do_not_flood_the_message() -> None:
    with pytest.raises(MaskError, match=r"0, 1, 2, 3, 4, 5, 6, 7, \.\.\.;"):
        recode(np.arange(256).reshape(16, 16), origin="photo.png")


def _truncated(path: Path) -> None:
    save_png(path, coded((0, 7, 8)))
    path.write_bytes(path.read_bytes()[:-30])


def _damaged(path: Path) -> None:
    save_png(path, coded((0, 7, 8)))
    data = bytearray(path.read_bytes())
    data[50] ^= 0xFF
    path.write_bytes(bytes(data))


def _film(path: Path) -> None:
    first, second = Image.fromarray(coded((0, 7, 8))), Image.fromarray(coded((0, 7, 8))[::-1].copy())
    first.save(path, save_all=True, append_images=[second])


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a picture"),
    "signature only": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"),
    "truncated": _truncated,
    "damaged": _damaged,
    "film": _film,
    "colour": lambda path: save_png(path, np.zeros((8, 8, 3), np.uint8)),
    "16 bits": lambda path: save_png(path, np.zeros((8, 8), np.uint16)),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pngs_raise_one_line_with_the_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "broken.png"
    BROKEN[kind](path)
    with pytest.raises(MaskError) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_metaimages_raise_a_typed_error_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.mha"
    save_mha(path, coded((0, 7, 8)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PartumError, match=r"broken\.mha"):
        read_mask(path)
    path.write_bytes(b"")
    with pytest.raises(PartumError, match=r"broken\.mha"):
        read_mask(path)


def test_folders_are_listed_in_natural_order_without_what_is_no_picture(tmp_path: Path) -> None:
    for name in ("m10.png", "m2.png", "M1.mha", "notes.csv", "golden.json", ".hidden.png", "data.raw"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in mask_paths(tmp_path)] == ["M1.mha", "m2.png", "m10.png"]
    assert mask_paths(tmp_path / "m2.png") == [tmp_path / "m2.png"]


def test_folders_without_masks_or_with_other_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="no such file or folder"):
        mask_paths(tmp_path / "nowhere")
    with pytest.raises(MaskError, match="no masks in it"):
        mask_paths(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "b.jpg").touch()
    with pytest.raises(MaskError, match=r"b\.jpg: not a mask format"):
        mask_paths(tmp_path)


def test_links_to_folders_are_followed_once_and_foreign_pictures_are_found(tmp_path: Path) -> None:
    for name in ("a/cases/1.png", "b/2.pgm"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    names = ["cases/1.png", "other/2.pgm"]
    assert [str(path.relative_to(tmp_path / "a")) for path in pictures_in(tmp_path / "a", folders=True)] == names
