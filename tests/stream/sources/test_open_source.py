"""`open_source`: kinds told apart by content and suffix, lazily, with errors that help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.common.clock import ManualClock
from stream.common.errors import OptionError, SourceError, SourceNotFound, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.sources import open_source
from tests.conftest import REPOSITORY
from tests.samples.source_files import waves, write_images, write_metaimage, write_nrrd, write_waves

if TYPE_CHECKING:
    from collections.abc import Callable

SPACING = PixelSpacing(x_mm=0.11, y_mm=0.22)


def write_dicom(path: Path) -> Path:
    pytest.importorskip("pydicom")
    from tests.samples.dicom_files import native

    return native(path, waves(4))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "video": lambda path: write_waves(path.with_suffix(".mp4")).rename(path),
    "dicom": write_dicom,
    "stack": lambda path: write_metaimage(path, waves(4)),
    "stack nrrd": lambda path: write_nrrd(path, waves(4)),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["recording", "recording.bin"])
def test_content_tells_the_kind_where_the_name_does_not(tmp_path: Path, kind: str, name: str) -> None:
    with open_source(str(WRITERS[kind](tmp_path / name))) as source:
        assert source.info.kind == kind.removesuffix(" nrrd")
        assert next(iter(source)).image.shape == (64, 96)


def test_content_goes_before_suffix(tmp_path: Path) -> None:
    with open_source(str(write_dicom(tmp_path / "a.mp4"))) as source:
        assert source.info.kind == "dicom"


def test_folders_and_single_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", waves(3))
    for path, count in ((folder, 3), (folder / "image1.png", 1)):
        with open_source(str(path)) as source:
            assert (source.info.kind, source.info.frame_count) == ("images", count)


@pytest.mark.parametrize("kind", ["video", "dicom", "stack", "images", "phantom"])
def test_the_users_spacing_takes_the_place_of_the_sources(tmp_path: Path, kind: str) -> None:
    if kind == "phantom":
        uri = "phantom:?size=128&duration=0.1"
    elif kind == "images":
        uri = str(write_images(tmp_path / "images", waves(2)))
    else:
        uri = str(WRITERS[kind](tmp_path / "recording"))
    with open_source(uri, spacing=SPACING) as source:
        assert source.info.spacing == SPACING
        assert {frame.spacing for frame in source} == {SPACING}


def test_the_clock_given_stamps_the_frames(tmp_path: Path) -> None:
    with open_source(str(write_waves(tmp_path / "a.mp4")), clock=ManualClock(42)) as source:
        assert {frame.captured_ns for frame in source} == {42}
    with open_source(str(tmp_path / "a.mp4")) as source:
        stamps = [frame.captured_ns for frame in source]
    assert stamps == sorted(stamps)
    assert stamps[-1] > stamps[0]


@pytest.mark.parametrize("name", ["a.mp4", "no/such/folder", "x" * 400, "a:b.mp4", "bad\0name"])
def test_what_is_not_there_is_named(name: str) -> None:
    with pytest.raises((SourceNotFound, SourceUnreadable)) as caught:
        open_source(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_path_is_not_the_folder_one_stands_in() -> None:
    with pytest.raises(SourceNotFound, match="empty"):
        open_source("")


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://user:secret@host/stream",
        "v4l2:/dev/video0",
        "udp://@:5000",
        "igtl://host:18944",
        "HTTP://host/a.mp4",
        "/dev/null",
    ],
)
def test_live_feeds_are_not_there_yet(uri: str) -> None:
    with pytest.raises(OptionError, match=r"live feed|is a device") as caught:
        open_source(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["notes.txt", "notes", "table.csv", "paper.pdf"])
def test_unknown_kinds_learn_what_is_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("This is a text file, not a recording.\n" * 40)
    with pytest.raises(SourceUnreadable, match=r"DICOM \(\.dcm\), MetaImage") as caught:
        open_source(str(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["a.mp4", "a.dcm", "a.mha", "a.nrrd", "a.png", "a", "a.txt"])
@pytest.mark.parametrize("content", [b"", b"text, and nothing else\n" * 30])
def test_bad_files_give_one_line_each(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    if name == "a.dcm":
        pytest.importorskip("pydicom")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    with pytest.raises(SourceUnreadable, match="not a regular one"):
        open_source(str(path))


def test_a_name_with_percent_signs_is_a_name(tmp_path: Path) -> None:
    path = write_waves(tmp_path / "a.mp4").rename(tmp_path / "100%03d #1.mp4")
    with open_source(str(path)) as source:
        assert len(list(source)) == 12


def test_the_package_imports_no_reader() -> None:
    probe = "import sys, stream.sources; print([name for name in ('av', 'pydicom', 'cv2') if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_real_clips_by_kind(shared_data: Path) -> None:
    pytest.importorskip("pydicom")
    clips = shared_data / "clips"
    found = {}
    for path in sorted(clips.iterdir()):
        with open_source(str(path)) as source:
            found[path.name] = (source.info.kind, next(iter(source)).image.ndim, source.info.frame_count)
    assert found == {
        "BoneUltrasound_L14.igs.mha": ("stack", 2, 21),
        "butterfly-ocular-phantom.mp4": ("video", 2, 369),
        "clarius-ocular-short.mp4": ("video", 2, 50),
        "pydicom_examples_ybr_color_US30frames.dcm": ("dicom", 2, 30),
    }
