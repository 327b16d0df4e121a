"""A finished run read from its folder: the values written, the pictures measured, and clear refusals of the rest."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from stream.common.errors import RunUnreadable, SourceNotFound
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_pictures import RunPictures
from stream.pipeline.record import FrameState
from tests.fakes.doubles import OTHER_GREY, picture
from tests.samples.finished_runs import SHA256, finished_run, picture_folder, run_of

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT, OFF_PLANE = 12, range(4, 6)
TABLE = "measurements.jsonl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return finished_run(tmp_path_factory.mktemp("made"), COUNT, off_plane=OFF_PLANE)


@pytest.fixture
def copy(made: RecordedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def test_a_run_gives_the_values_that_were_written(made: RecordedRun) -> None:
    lines = [json.loads(line) for line in (made.folder / TABLE).read_text().splitlines()]
    assert len(made) == len(lines) == COUNT
    assert [made.table.record(row) for row in range(COUNT)] == lines
    for column in ("aop_deg", "aop_raw_deg", "hsd_min_mm", "pts_s"):
        written = [math.nan if line[column] is None else line[column] for line in lines]
        np.testing.assert_array_equal(made.table.numbers(column), written)
    assert np.isnan(made.table.numbers("aop_deg")[4])
    assert made.table.words("reason")[3:6] == [None, "not_standard_plane", "not_standard_plane"]
    assert made.table.is_in(FrameState.REFUSED).nonzero()[0].tolist() == [4, 5]
    assert made.table.points("ps_inferior")[0].tolist() == lines[0]["landmarks_px"]["ps_inferior"]
    assert np.isnan(made.table.points("tangent")[5]).all()
    assert made.table.counts("index").tolist() == list(range(COUNT))
    assert (made.status, made.protocol, made.model["sha256"]) == ("complete", "robust", SHA256)


def test_pictures_are_those_that_were_measured_in_any_order(made: RecordedRun) -> None:
    with RunPictures(made) as pictures:
        for index in (7, 2, 11, 0):
            np.testing.assert_array_equal(pictures[index].image, picture(62 + 0.2 * index))
        with pytest.raises(IndexError):
            pictures[COUNT]


def test_pictures_of_a_box_begin_at_its_corner(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        screen = np.full((256, 256), OTHER_GREY, np.uint8)
        screen[32:160, 64:192] = picture(62 + 0.2 * index)
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), screen)
    made = RecordedRun(run_of(tmp_path / "pictures", tmp_path / "run", sector=(64, 32, 128, 128)))
    with RunPictures(made) as pictures:
        assert pictures[1].origin == (64, 32)
        np.testing.assert_array_equal(pictures[1].image, picture(62.2))


def test_pictures_come_from_the_recording_of_the_run_where_there_is_one(tmp_path: Path) -> None:
    made = finished_run(tmp_path, 4, record=True)
    shutil.rmtree(tmp_path / "pictures")
    with RunPictures(made) as pictures:
        np.testing.assert_array_equal(pictures[3].image, picture(62.6))


def test_pictures_of_a_source_that_moved_or_changed_are_refused_until_it_is_named(tmp_path: Path) -> None:
    made = finished_run(tmp_path, 4)
    moved = (tmp_path / "pictures").rename(tmp_path / "moved")
    with pytest.raises(SourceNotFound, match="--source"):
        RunPictures(made)
    with RunPictures(made, source=str(moved)) as pictures:
        np.testing.assert_array_equal(pictures[0].image, picture())
    fewer = picture_folder(tmp_path / "fewer", 2)
    with RunPictures(made, source=str(fewer)) as pictures, pytest.raises(RunUnreadable, match="no frame 2"):
        pictures[3]


def without_end(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"status": "running", "results": None}))
    table = run / TABLE
    table.write_bytes(table.read_bytes()[:-40])


def changed(file: str, before: str, after: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / file).read_text()
        assert before in text
        (run / file).write_text(text.replace(before, after))

    return change


def lines_kept(first: int, last: int | None) -> Callable[[Path], None]:
    def cut(run: Path) -> None:
        lines = (run / TABLE).read_text().splitlines(keepends=True)
        (run / TABLE).write_text("".join(lines[first:last]))

    return cut


def written(file: str, data: bytes) -> Callable[[Path], object]:
    return lambda run: (run / file).write_bytes(data)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda run: (run / "run.json").unlink(), "is not the folder of a run"),
    "no folder": (shutil.rmtree, "does not exist"),
    "no table": (lambda run: (run / TABLE).unlink(), "measurements.jsonl: cannot be read"),
    "never ended": (without_end, "has not ended.*--unfinished"),
    "older records": (changed(TABLE, "partum.measurement/2", "partum.measurement/1"), "measurement/1'.*replay"),
    "older manifest": (changed("run.json", "partum.run/1", "partum.run/0"), "'partum.run/0'"),
    "manifest cut off": (written("run.json", b'{"schema": "par'), "is no manifest"),
    "manifest of another kind": (written("run.json", b"[1]"), "is no object"),
    "first line is gone": (lines_kept(1, None), "line 1 is no record.*index is 1"),
    "last line is gone": (lines_kept(0, -1), "holds 11 frames where run.json counts 12"),
    "cut in mid-line": (lambda run: os.truncate(run / TABLE, 2000), "last line is not whole"),
    "text for a number": (changed(TABLE, '"quality": 0', '"quality": "x", "x": 0'), "text where numbers"),
    "no number": (changed(TABLE, '"latency_ms": ', '"latency_ms": NaN, "x": '), "NaN"),
    "no text at all": (written(TABLE, b"\x00\xff\n"), "line 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_finished_run_is_refused_in_one_line(copy: Path, fault: str) -> None:
    damage, said = FAULTS[fault]
    damage(copy)
    with pytest.raises(RunUnreadable, match=said) as refused:
        RecordedRun(copy)
    assert "\n" not in str(refused.value)
    assert str(copy) in str(refused.value)


def test_a_run_that_was_killed_can_be_read_as_far_as_it_came(copy: Path) -> None:
    without_end(copy)
    assert len(RecordedRun(copy, unfinished=True)) == COUNT - 1


def test_the_folder_above_several_runs_names_one(copy: Path) -> None:
    with pytest.raises(RunUnreadable, match=f"holds 1 runs; name one of them, such as {copy}"):
        RecordedRun(copy.parent)


def test_an_empty_run_has_no_rows(copy: Path) -> None:
    (copy / TABLE).write_bytes(b"")
    manifest = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(manifest | {"results": {"frames_in": 0}}))
    empty = RecordedRun(copy)
    assert len(empty) == 0
    assert empty.table.numbers("aop_deg").shape == (0,)
    assert empty.table.points("tangent").shape == (0, 2)


def test_pictures_of_a_live_run_without_a_recording_are_refused(copy: Path) -> None:
    changed("run.json", '"live": false', '"live": true')(copy)
    with pytest.raises(RunUnreadable, match="--record"):
        RunPictures(RecordedRun(copy))


def test_a_run_over_a_recording_replays_its_pictures(tmp_path: Path) -> None:
    first = finished_run(tmp_path / "a", 3, record=True)
    second = RecordedRun(run_of(first.folder / "recording", tmp_path / "b", spacing=None, sector=None))
    with RunPictures(second) as pictures:
        np.testing.assert_array_equal(pictures[2].image, picture(62.4))
    np.testing.assert_array_equal(second.table.numbers("aop_deg"), first.table.numbers("aop_deg"))
