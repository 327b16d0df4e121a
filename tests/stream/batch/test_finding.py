"""Which recordings inputs name, and what becomes of inputs that name none."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from stream.batch.content import content_files, hash_of, stamp_of
from stream.batch.finding import Finder, Found
from stream.batch.intake import InputIntake, WatchingIntake
from stream.batch.recordings import Form
from stream.common.clock import ManualClock
from stream.common.errors import OutputError
from tests.samples.dicom_files import native, smooth
from tests.samples.source_files import waves, write_images, write_waves

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 1_000_000_000


def find(*inputs: str | Path, stills: bool = False, leave_out: Path | None = None) -> Found:
    return Finder(stills=stills, leave_out=leave_out).find([str(each) for each in inputs])


def names(found: Found, below: Path) -> list[str]:
    return [each.source.replace(f"{below}/", "") for each in found.recordings]


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    folder = tmp_path / "exams"
    (folder / "deep" / "deeper").mkdir(parents=True)
    write_waves(folder / "loop10.mp4", 3)
    write_waves(folder / "loop2.mp4", 4)
    write_waves(folder / "deep" / "deeper" / "other.avi", 3, codec="mpeg4")
    write_images(folder / "film", waves(3))
    (folder / "letter.txt").write_text("no recording")
    (folder / ".hidden.mp4").write_bytes(b"never looked at")
    return folder


def test_folders_are_searched_below_in_natural_order(exams: Path) -> None:
    found = find(exams)
    assert names(found, exams) == ["loop2.mp4", "loop10.mp4", "deep/deeper/other.avi", "film"]
    assert found.recordings[-1].form is Form.IMAGES
    assert not found.bad
    assert dict(found.passed_over) == {".txt": 1}


def test_stills_are_recordings_of_their_own(exams: Path) -> None:
    found = find(exams / "film", stills=True)
    assert names(found, exams) == ["film/image0.png", "film/image1.png", "film/image2.png"]


def test_globs_lists_and_overlaps_name_each_recording_once(exams: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# of today\nexams/loop2.mp4\n\nphantom:?seed=2&duration=1\n")
    found = find(f"{exams}/*.mp4", f"@{listed}", exams / "loop2.mp4")
    assert names(found, exams) == ["loop2.mp4", "loop10.mp4", "phantom:?seed=2&duration=1"]
    (exams / "out").mkdir()
    found = find(f"{exams}/*o*", leave_out=exams / "out")
    assert (len(found.recordings), found.bad) == (2, []), "a pattern names the folder of the results too"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere.mp4", "no such file or folder"),
        ("nothing/*.mp4", "names no file"),
        ("@nolist.txt", "a list that cannot be read"),
        ("rtsp://user:secret@host/live", "partum attach"),
    ],
)
def test_what_names_nothing_is_told_and_the_rest_is_found(exams: Path, given: str, said: str) -> None:
    found = find(given, exams / "loop2.mp4")
    assert len(found.recordings) == 1
    (bad,) = found.bad
    assert said in bad.error
    assert "secret" not in bad.source + bad.error


def test_what_may_not_be_read_costs_itself() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("closed", "locked"):
            (folder / each).mkdir()
            write_waves(folder / each / "inside.mp4", 1)
        write_waves(folder / "loop.mp4", 1)
        (folder / "circle").symlink_to("circle")
        os.mkfifo(folder / "pipe.mp4")
        folder.chmod(0o755)
        (folder / "closed").chmod(0o000)
        (folder / "locked").chmod(0o444)
        is_root = os.geteuid() == 0
        try:
            if is_root:
                os.seteuid(65534)
            found = find(folder)
        finally:
            if is_root:
                os.seteuid(0)
            (folder / "closed").chmod(0o755)
            (folder / "locked").chmod(0o755)
    assert names(found, folder) == ["loop.mp4"]
    assert {Path(bad.source).name: bad.error.partition(": ")[2].partition(";")[0] for bad in found.bad} == {
        "circle": "a link that leads nowhere",
        "closed": "cannot be listed (Permission denied)",
        "inside.mp4": "cannot be read (Permission denied)",
    }
    assert found.passed_over == {"pipes and devices": 1}


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (bad,) = find(tmp_path).bad
    assert "without recordings" in bad.error


def test_results_of_earlier_runs_are_no_recordings_but_what_they_recorded_is(tmp_path: Path) -> None:
    run = tmp_path / "exams" / "run"
    (run / "recording").mkdir(parents=True)
    for name in ("run.json", "measurements.jsonl", "recording/frames.jsonl"):
        (run / name).write_text("{}\n")
    write_waves(run / "overlay.mp4", 2)
    batch = tmp_path / "exams" / "batch"
    batch.mkdir()
    (batch / "batch.json").write_text("{}")
    write_waves(batch / "overlay.mp4", 2)
    out = tmp_path / "exams" / "out"
    write_images(out, waves(2))
    assert names(find(tmp_path / "exams", leave_out=out), run) == ["recording"]


def test_loops_and_series_of_a_dicom_folder(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    series = {"SeriesInstanceUID": "1.2.3"}
    for number in range(3):
        native(folder / f"still{number}", smooth(1, 16, 16, seed=number), InstanceNumber=number, **series)
    native(folder / "loop1", smooth(4, 16, 16, seed=7))
    native(folder / "loop2", smooth(4, 16, 16, seed=8))
    (folder / "cut.dcm").write_bytes((folder / "loop1").read_bytes()[:200])
    found = find(folder)
    forms = {each.source.replace(f"{folder}/", ""): each.form for each in found.recordings}
    assert forms == {
        "cut.dcm": Form.SINGLE,
        "loop1": Form.SINGLE,
        "loop2": Form.SINGLE,
        "still0 (series)": Form.DICOM_SERIES,
    }
    with found.recordings[-1].open(clock=ManualClock(), spacing=None) as source:
        assert len(list(source)) == 3
    assert len(find(folder, stills=True).recordings) == 6
    native(folder / "of no series", smooth(1, 16, 16, seed=9))
    native(folder / "of none too", smooth(1, 16, 16, seed=10))
    assert {"of no series", "of none too"} < set(names(find(folder), folder)), "nothing says that they belong together"


def test_a_stack_and_the_file_of_its_data_are_one_recording(tmp_path: Path) -> None:
    pixels = waves(3)
    (tmp_path / "scan.img").write_bytes(pixels.tobytes())
    header = tmp_path / "scan.mhd"
    header.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 96 64 3\nElementType = MET_UCHAR\nElementDataFile = scan.img\n"
    )
    (found,) = find(tmp_path).recordings
    assert found.source == str(header)
    before = hash_of(found)
    assert len(content_files(found)) == 2
    (tmp_path / "scan.img").write_bytes(pixels[::-1].tobytes())
    assert hash_of(found) != before


def test_content_counts_and_not_the_name(exams: Path) -> None:
    shutil.copy(exams / "loop2.mp4", exams / "copy.mp4")
    shutil.copytree(exams / "film", exams / "film again")
    hashes = {each.source.removeprefix(f"{exams}/"): hash_of(each) for each in find(exams).recordings}
    assert hashes["copy.mp4"] == hashes["loop2.mp4"]
    assert hashes["film again"] == hashes["film"]
    assert len(set(hashes.values())) == 4


def folders_in(tmp_path: Path) -> Callable[[str], Path]:
    def new_folder(name: str) -> Path:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
        return tmp_path / name

    return new_folder


def unpacking(tmp_path: Path, *inputs: Path) -> InputIntake:
    return InputIntake([str(each) for each in inputs], Finder(), folders_in(tmp_path))


def test_an_archive_is_searched_as_a_folder_is(exams: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in exams.rglob("*.*"):
            file.write(path, path.relative_to(exams))
        file.writestr("inner.zip", b"PK\x05\x06" + bytes(18))
    intake = unpacking(tmp_path, archive)
    found = intake.poll()
    assert names(found, archive) == ["loop2.mp4", "loop10.mp4", "deep/deeper/other.avi", "film"]
    assert [each.error for each in found.bad] == [f"{archive}/inner.zip: an archive in an archive; unpack it by hand"]
    with found.recordings[0].open(clock=ManualClock(), spacing=None) as source:
        assert source.info.uri == f"{archive}/loop2.mp4"
    for recording in found.recordings:
        assert (tmp_path / "archive-1").exists()
        intake.ended(recording)
    assert not (tmp_path / "archive-1").exists()


def test_a_broken_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(b"PK\x03\x04 and no more")
    found = unpacking(tmp_path, tmp_path / "study.zip").poll()
    assert not found.recordings
    assert "cannot be unpacked" in found.bad[0].error


def test_an_archive_that_finds_no_room_is_not_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, clock = tmp_path / "study.zip", ManualClock()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("loop.mp4", b"moving")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(OutputError, match="No space left"):
        unpacking(tmp_path, archive).poll()
    intake = WatchingIntake([str(archive)], Finder(), folders_in(tmp_path), clock=clock, settle_s=1)

    def look(times: int) -> Found:
        found = Found()
        for _ in range(times):
            clock.advance(SECOND)
            found.add(intake.poll())
        return found

    assert ["No space left" in each.error for each in look(9).bad] == [True], "it is told once"
    monkeypatch.undo()
    assert len(look(5).recordings) == 1


def test_a_watched_recording_is_handed_on_when_it_has_stopped_growing_once(tmp_path: Path) -> None:
    clock, folder = ManualClock(), tmp_path / "inbox"
    folder.mkdir()
    intake = WatchingIntake([str(folder)], Finder(), lambda name: tmp_path / name, clock=clock, settle_s=10)
    assert not intake.poll().bad, "an empty folder will be filled"
    picture = np.zeros((8, 8), np.uint8)
    handed = []
    for step in range(40):
        if step < 10:
            Image.fromarray(picture).save(folder / f"{step}.png")
        clock.advance(SECOND)
        handed += [(step, len(each.files)) for each in intake.poll().recordings]
    assert len(handed) == 1
    assert handed[0][1] == 10
    assert 19 <= handed[0][0] <= 24
    (folder / "5.png").write_bytes(b"changed later")
    for _ in range(30):
        clock.advance(SECOND)
        handed += [(99, len(each.files)) for each in intake.poll().recordings]
    assert handed[1:] == [(99, 10)]


def test_a_watched_file_that_went_and_came_back_is_handed_on_again(tmp_path: Path) -> None:
    clock, folder = ManualClock(), tmp_path / "inbox"
    folder.mkdir()
    (folder / "link.mp4").symlink_to("nowhere")
    (folder / "loop.mp4").write_bytes(b"moving")
    intake = WatchingIntake([str(folder)], Finder(), lambda name: tmp_path / name, clock=clock, settle_s=1)

    def look() -> Found:
        found = Found()
        for _ in range(4):
            clock.advance(SECOND)
            found.add(intake.poll())
        return found

    first = look()
    assert (names(first, folder), [each.source for each in first.bad]) == (["loop.mp4"], [f"{folder}/link.mp4"])
    again = look()
    assert (again.recordings, again.bad) == ([], []), "what is told is told once"
    (folder / "loop.mp4").rename(tmp_path / "away.mp4")
    (folder / "link.mp4").unlink()
    assert look().gone == [f"{folder}/loop.mp4", f"{folder}/link.mp4"]
    (tmp_path / "away.mp4").rename(folder / "loop.mp4")
    assert names(look(), folder) == ["loop.mp4"], "with the same stamp, as nobody measured it yet"


def test_a_stamp_says_whether_files_were_written_to(exams: Path) -> None:
    (recording,) = find(exams / "loop2.mp4").recordings
    before = stamp_of(recording)
    assert stamp_of(recording) == before
    with (exams / "loop2.mp4").open("ab") as file:
        file.write(b"more")
    assert stamp_of(recording) != before
