"""`partum verify`: one changed byte in any file of a run is found, and a recording replays to the same numbers."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stream.app.commands.exports.verify_command import verify_command
from stream.common.errors import OptionError, RunUnreadable
from stream.exports.replay_check import replay_differences
from stream.exports.trace import trace_frame
from stream.exports.verification import read_log, verify_run
from stream.labour import run_network
from stream.labour.edits import EditKind, add_edit
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_marks import TypedMark, add_marks
from stream.labour.run_masks import RunMasks
from stream.labour.time_axis import time_axis
from stream.outputs.run_log import LOG_NAME, RunLog, log_file_change, source_sha256
from tests.fakes.doubles import GreyLevelEngine
from tests.samples.finished_runs import SHA256, finished_run, picture_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return finished_run(tmp_path_factory.mktemp("made"), 6, overlay=True, record=True)


@pytest.fixture
def copy(made: RecordedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_run_is_as_it_was_written_and_so_is_its_source(made: RecordedRun) -> None:
    found = verify_run(made.folder, source=made.folder.parent / "pictures")
    assert (found.faults, found.notes) == ((), ())
    assert found.files == len([each for each in made.folder.rglob("*") if each.is_file()]) - 1


def test_a_byte_flipped_in_any_file_is_found(made: RecordedRun, copy: Path) -> None:
    names = [each.relative_to(copy) for each in copy.rglob("*") if each.is_file()]
    assert {"run.json", "measurements.jsonl", "overlay.mp4", "0000.nut", LOG_NAME} <= {each.name for each in names}
    for name in names:
        size = (copy / name).stat().st_size
        for place in {0, size // 2, size - 1}:
            flip(copy / name, place)
            assert any(fault.startswith(name.as_posix()) for fault in verify_run(copy).faults), (name, place)
            flip(copy / name, place)
    assert not verify_run(copy).faults


def test_a_change_of_any_byte_of_the_log_itself_is_found(copy: Path) -> None:
    path = copy / LOG_NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert read_log(copy)[1], f"byte {place}: {whole[place : place + 20]!r}"


@pytest.mark.parametrize("gone", range(6))
def test_that_an_entry_was_taken_out_of_the_log_is_found(copy: Path, gone: int) -> None:
    path = copy / LOG_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    assert verify_run(copy).faults
    path.write_bytes(b"".join(lines[:-1]))
    assert "says nothing of the run's end" in verify_run(copy).faults[0]


def test_a_file_that_is_gone_or_cut_and_a_source_that_changed_are_told(made: RecordedRun, copy: Path) -> None:
    (copy / "trend.png").unlink()
    with (copy / "measurements.csv").open("ab") as file:
        file.write(b"\n")
    pictures = Path(shutil.copytree(made.folder.parent / "pictures", copy.parent / "pictures"))
    flip(pictures / "0003.png", 60)
    faults = verify_run(copy, source=pictures).faults
    assert [fault.partition(":")[0] for fault in faults] == ["measurements.csv", "trend.png", "source"]
    assert verify_run(copy, source=copy / "gone").notes == ("source: cannot be read (No such file or directory)",)


def test_files_added_later_are_entered_and_others_are_noted(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "edits.jsonl").write_text("{}\n")
    log_file_change(copy, "edits.jsonl")
    assert verify_run(copy).notes == ("notes.txt: is not in the log; added after the run",)
    flip(copy / "edits.jsonl", 0)
    assert verify_run(copy).faults == ("edits.jsonl: was changed after it was written",)
    log_file_change(copy, "edits.jsonl")
    assert not verify_run(copy).faults


def test_edits_and_marks_added_to_a_finished_run_are_entered(copy: Path) -> None:
    run = RecordedRun(copy)
    add_edit(run, 2, EditKind.CONFIRM, by="test", size_px=(128, 128))
    axis = time_axis(run.table.numbers("pts_s"), run.table.counts("segment"))
    add_marks(run, axis, [TypedMark(time_s=0.1)], by="test")
    found = verify_run(copy)
    assert (found.faults, found.notes) == ((), ())
    for name in ("edits.jsonl", "marks.jsonl"):
        flip(copy / name, 30)
        assert verify_run(copy).faults == (f"{name}: was changed after it was written",)
        flip(copy / name, 30)


def test_a_log_cut_in_mid_line_goes_on_and_still_shows_it(copy: Path) -> None:
    path = copy / LOG_NAME
    path.write_bytes(path.read_bytes()[:-20])
    RunLog(copy).add("note")
    assert verify_run(copy).faults


def test_what_has_no_log_is_refused(copy: Path) -> None:
    (copy / LOG_NAME).unlink()
    with pytest.raises(RunUnreadable, match="has no run-log"):
        verify_run(copy)
    log_file_change(copy, "trend.png")
    assert not (copy / LOG_NAME).exists()


def engine_of_runs(sha256: str = SHA256) -> GreyLevelEngine:
    engine = GreyLevelEngine()
    engine.spec = replace(engine.spec, sha256=sha256)
    return engine


def test_a_recording_replays_to_the_same_numbers(made: RecordedRun) -> None:
    assert replay_differences(made, engine=engine_of_runs()) == ()
    pictures = str(made.folder.parent / "pictures")
    assert replay_differences(made, source=pictures, engine=engine_of_runs()) == ()


def test_a_replay_of_other_pictures_differs_and_says_where(made: RecordedRun, tmp_path: Path) -> None:
    other = picture_folder(tmp_path / "other", 6, off_plane=range(2, 4))
    said = replay_differences(made, source=str(other), engine=engine_of_runs())
    assert any(line.startswith("aop_raw_deg: differs in 2 frames, first in frame 2") for line in said)
    assert any(re.match(r"plane_probability: differs .*, by 0\.\d+ at most", line) for line in said)
    fewer = picture_folder(tmp_path / "fewer", 5)
    assert "the recording has 5 frames, where the run has 6" in replay_differences(
        made, source=str(fewer), engine=engine_of_runs()
    )


@pytest.mark.parametrize(("recorded", "taken"), [(3, 3), (None, None), (0, None), ("3", None), (10**9, None)])
def test_the_network_runs_on_as_many_cores_as_it_did(
    made: RecordedRun, monkeypatch: pytest.MonkeyPatch, recorded: object, taken: int | None
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(run_network, "available_cores", lambda: 2)
    monkeypatch.setattr(run_network, "load_judged_engine", lambda *_, **options: asked.update(options))
    monkeypatch.setitem(made.manifest["engine_facts"], "threads", recorded)
    run_network.engine_of_run(made)
    assert asked["threads"] == taken


def test_another_model_is_not_compared(made: RecordedRun) -> None:
    with pytest.raises(RunUnreadable, match=r"5e5e5e5e5e5e.*0a0a0a0a0a0a"):
        replay_differences(made, engine=engine_of_runs("0a" * 32))


def test_the_command_says_what_it_found_and_ends_with_its_code(copy: Path) -> None:
    whole = CliRunner().invoke(verify_command, [str(copy)])
    assert (whole.exit_code, "as they were written" in whole.output) == (0, True)
    flip(copy / "run.json", 0)
    changed = CliRunner().invoke(verify_command, [str(copy)])
    assert (changed.exit_code, changed.output) == (1, "run.json: was changed after it was written\n")


def test_a_frame_s_numbers_lead_back_to_all_that_made_them(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 3, masks=True)
    result = CliRunner().invoke(verify_command, [str(run.folder), "--frame", "1"])
    traced = json.loads(result.output[: result.output.rindex("}") + 1])
    assert traced["record"]["values"] == run.table.record(1)
    assert traced["landmarks_px"] == run.table.record(1)["landmarks_px"]
    labels = RunMasks(run)[1].labels
    assert traced["mask"]["labels_sha256"] == hashlib.sha256(labels.tobytes()).hexdigest()
    assert traced["source_sha256"] == source_sha256(tmp_path / "pictures")
    assert (traced["model"]["sha256"], traced["options"]["protocol"]) == (SHA256, "robust")
    with pytest.raises(OptionError, match="the run has the frames 0 to 2"):
        trace_frame(run, 3)
