"""Recordings in a .zip."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.common.errors import SourceError, SourceTruncated, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources import open_source
from tests.samples.source_files import (
    CLOCK,
    frames_of,
    frames_to_error,
    pictures_of,
    waves,
    write_images,
    write_metaimage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

PICTURES = waves(4)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where archives are unpacked; empty again when their sources are closed."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def pngs(folder: Path) -> list[tuple[str, bytes]]:
    images = write_images(folder / "images", PICTURES)
    return [(path.name, path.read_bytes()) for path in sorted(images.iterdir())]


def test_a_folder_of_images_below_another_folder(tmp_path: Path, scratch: Path) -> None:
    files = [(f"study/series/{name}", data) for name, data in pngs(tmp_path)]
    path = zipped(tmp_path / "a.zip", [*files, ("__MACOSX/._x.png", b"x"), ("study/.DS_Store", b"x")])
    source = open_source(str(path), clock=CLOCK)
    assert (source.info.uri, source.info.kind, source.info.frame_count) == (str(path), "images", 4)
    np.testing.assert_array_equal(pictures_of(source), PICTURES)
    assert list(scratch.iterdir()) == []


def test_one_recording_under_any_name(tmp_path: Path, scratch: Path) -> None:
    stack = write_metaimage(tmp_path / "a.mha", PICTURES, fields={"ElementSpacing": "0.2 0.3 1"}).read_bytes()
    path = zipped(tmp_path / "a.dat", [("a.mha", stack)])
    (first, *_) = frames = frames_of(open_source(str(path), clock=CLOCK))
    assert (len(frames), first.spacing) == (4, PixelSpacing(0.2, 0.3))
    split = write_metaimage(tmp_path / "b.mhd", PICTURES, data_name="b.raw").read_bytes()
    path = zipped(tmp_path / "b.zip", [("b.mhd", split), ("b.raw", PICTURES.tobytes())])
    np.testing.assert_array_equal(pictures_of(open_source(str(path), clock=CLOCK)), PICTURES)
    assert list(scratch.iterdir()) == []


def test_errors_name_the_archive(tmp_path: Path, scratch: Path) -> None:
    cut = write_metaimage(tmp_path / "a.mha", PICTURES).read_bytes()[:-100]
    path = zipped(tmp_path / "a.zip", [("a.mha", cut)])
    frames, error = frames_to_error(open_source(str(path), clock=CLOCK))
    assert len(frames) == 3
    assert isinstance(error, SourceTruncated)
    assert str(error).startswith(f"{path}/a.mha: ends after 3 of 4 frames")
    assert list(scratch.iterdir()) == []


def test_nothing_is_written_beside_the_folder(tmp_path: Path, scratch: Path) -> None:
    name, data = pngs(tmp_path)[0]
    path = zipped(tmp_path / "a.zip", [(f"../../{name}", data), (f"/etc/partum/{name}", data)])
    assert len(frames_of(open_source(str(path), clock=CLOCK))) in (1, 2)
    assert not (scratch.parent / name).exists()
    assert list(scratch.iterdir()) == []


def bad_archive(folder: Path, kind: str) -> Path:
    name, data = pngs(folder)[0]
    path = folder / "a.zip"
    files: dict[str, list[tuple[str, bytes]]] = {
        "no files": [],
        "no recording": [("a.txt", b"x"), ("b.txt", b"x")],
        "archive in archive": [("b.zip", zipped(folder / "b.zip", [(name, data)]).read_bytes())],
        "recording of our own": [("run/frames.jsonl", b"{}\n"), ("run/0000.nut", b"x")],
        "bomb": [("a.mha", bytes(80 << 20))],
        "several folders": [(f"one/{name}", data), (f"two/{name}", data)],
    }
    if kind == "two files of one name":
        with pytest.warns(UserWarning, match="Duplicate name"):
            zipped(path, [(name, data), (name, data)])
    else:
        zipped(path, files.get(kind, [(name, data)]))
    whole = path.read_bytes()
    if kind == "cut off":
        path.write_bytes(whole[:-30])
    elif kind == "damaged":
        at = whole.index(b"IHDR") if b"IHDR" in whole else len(whole) // 2
        path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
    elif kind == "encrypted":
        flagged = bytearray(whole)
        flagged[6] |= 1
        flagged[whole.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(flagged)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "no files",
            "no recording",
            "archive in archive",
            "recording of our own",
            "bomb",
            "several folders",
            "two files of one name",
        ),
        *("cut off", "damaged", "encrypted"),
    ],
)
def test_what_cannot_be_unpacked_gives_one_line(tmp_path: Path, scratch: Path, kind: str) -> None:
    path = bad_archive(tmp_path, kind)
    with pytest.raises(SourceError) as caught:
        open_source(str(path), clock=CLOCK)
    assert isinstance(caught.value, SourceUnreadable)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_what_lies_beside_the_one_recording_is_passed_over_and_named(tmp_path: Path, scratch: Path) -> None:
    stack = write_metaimage(tmp_path / "a.mha", PICTURES).read_bytes()
    source = open_source(str(zipped(tmp_path / "a.zip", [("readme.txt", b"words"), ("a.mha", stack)])), clock=CLOCK)
    assert "not played, of this archive: 1 .txt" in source.info.note
    np.testing.assert_array_equal(pictures_of(source), PICTURES)
    split = write_metaimage(tmp_path / "b.mhd", PICTURES, data_name="b.raw").read_bytes()
    members = [("b.mhd", split), ("b.raw", PICTURES.tobytes()), ("c.csv", b"1,2")]
    source = open_source(str(zipped(tmp_path / "b.zip", members)), clock=CLOCK)
    assert "not played, of this archive: 1 .csv" in source.info.note
    np.testing.assert_array_equal(pictures_of(source), PICTURES)
    assert list(scratch.iterdir()) == []
