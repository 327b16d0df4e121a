"""`partum replay` as a user meets it: the demonstration clip, bad input, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import jsonschema
import numpy as np
import pytest

from partum import main
from stream.common.errors import OutputError, RunUnreadable
from stream.labour.recorded_run import RecordedRun
from stream.outputs.results_folder import RESULTS, check_folder, own_folder
from stream.pipeline.record_fields import CLOCK_FIELDS
from stream.sources.demo import DEMO_CLIP
from tests.conftest import REPOSITORY
from tests.fakes.doubles import picture

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_ON_DEMAND = {"recording", "smoothed.csv", "masks.jsonl", "marks.jsonl", "edits.jsonl"}
"""Results that a replay of the demonstration clip does not have."""


def partum(*arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "partum", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@dataclass
class Ended:
    """How a command ended, and what it said."""

    code: object
    out: str
    err: str


@pytest.fixture
def replay_here(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`partum replay` in this process, which starts no other one."""

    def run(*words: str | Path) -> Ended:
        capfd.readouterr()
        code: object = 0
        try:
            main(["replay", *map(str, words)])
        except SystemExit as end:
            code = end.code
        return Ended(code, *capfd.readouterr())

    return run


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def course() -> list[dict[str, str]]:
    with DEMO_CLIP.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = partum("replay", "--out", folder)
    assert result.returncode == 0, result.stderr
    for word in ("frames in", "measured", "refused", "dropped", "AoP", "HSD", "p50", "Research use only"):
        assert word in result.stdout
    return folder


@pytest.mark.slow
def test_all_results_are_there_and_the_manifest_says_complete(demo_run: Path) -> None:
    assert sorted(path.name for path in demo_run.iterdir()) == sorted(set(RESULTS) - KEPT_ON_DEMAND)
    manifest = json.loads((demo_run / "run.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["results"]["frames_in"] == len(course())
    assert len(manifest["model"]["sha256"]) == 64
    assert "Research use only" in manifest["notice"]
    assert "ANIMATED STILL" in manifest["source"]["note"]


def test_every_line_is_valid_and_every_frame_has_one(demo_run: Path) -> None:
    schema = json.loads((REPOSITORY / "stream" / "measurement.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    lines = records(demo_run)
    for line in lines:
        validator.validate(line)
    assert [line["index"] for line in lines] == list(range(len(course())))


def test_the_known_course_is_followed_and_the_other_plane_refused(demo_run: Path) -> None:
    lines, truth = records(demo_run), course()
    errors, verdicts = [], {"yes": [], "no": []}  # type: tuple[list[float], dict[str, list[bool]]]
    for line, given in zip(lines, truth, strict=True):
        if given["standard_plane"] in verdicts:
            verdicts[given["standard_plane"]].append(line["state"] == "measured")
        if given["standard_plane"] == "yes" and isinstance(line["aop_deg"], float):
            errors.append(line["aop_deg"] - float(given["aop_deg"]))
    assert np.mean(verdicts["yes"]) > 0.95
    assert np.mean(verdicts["no"]) < 0.05
    # The network's outline is not the annotator's: a bias of a few degrees is its error, the rest is the filter's.
    assert abs(np.median(errors)) < 6.0
    assert np.std(errors) < 3.0
    shown = [line["aop_deg"] for line, given in zip(lines, truth, strict=True) if given["standard_plane"] == "no"]
    assert shown[-1] is None


def test_the_film_can_be_played_and_has_every_frame(demo_run: Path) -> None:
    with av.open(str(demo_run / "overlay.mp4")) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert container.duration is not None
        assert container.duration / av.time_base > 10
    assert len(pictures) == len(course())
    assert np.std(pictures[60][:600, :600]) > 10


def test_the_trend_is_a_picture(demo_run: Path) -> None:
    image = cv2.imread(str(demo_run / "trend.png"))
    assert image is not None
    assert image.shape[0] > 400


@pytest.mark.slow
@pytest.mark.usefixtures("no_loading")
def test_a_second_run_gives_the_same_bytes_apart_from_the_clock_and_keeps_the_first(
    tmp_path: Path, replay_here: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        result = replay_here("phantom:?duration=1", "--no-overlay", "--out", out)
        assert result.code == 0, result.err
    assert not (out / "overlay.mp4").exists()

    def timeless(folder: Path) -> str:
        return "\n".join(
            json.dumps({name: value for name, value in line.items() if name not in CLOCK_FIELDS})
            for line in records(folder)
        )

    assert sum(line["state"] == "measured" for line in records(out)) > 20
    assert timeless(out) == timeless(out / "earlier-1")


@pytest.mark.usefixtures("no_loading")
def test_spacing_and_protocol_reach_the_records(tmp_path: Path, replay_here: Callable[..., Ended]) -> None:
    clip = small_clip(tmp_path / "clip.mp4", 4)
    out = tmp_path / "out"
    result = replay_here(clip, "--spacing", "0.3,0.3", "--protocol", "iugc2024", "--no-overlay", "--out", out)
    assert result.code == 0, result.err
    assert all(line["spacing_mm"] == [0.3, 0.3] and line["protocol"] == "iugc2024" for line in records(out))


@pytest.mark.usefixtures("no_loading")
def test_without_a_folder_each_run_makes_a_new_one(
    tmp_path: Path, replay_here: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = small_clip(tmp_path / "clip.mp4", 3)
    monkeypatch.chdir(tmp_path)
    for number in ("001", "002"):
        assert replay_here(clip, "--no-overlay").code == 0
        assert len(records(tmp_path / "partum-runs" / number)) == 3


def endless_run(out: Path) -> subprocess.Popen[str]:
    """A replay that has no end, when it has measured some frames."""
    process = subprocess.Popen(
        [sys.executable, "-m", "partum", "replay", "--loop", "--pace", "realtime", "--out", str(out)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    lines = out / "measurements.jsonl"
    while not (lines.exists() and lines.read_text().count("\n") > 20):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_an_interruption_leaves_what_was_measured(tmp_path: Path, number: signal.Signals, code: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever started the tests had this signal ignored, as nohup does, and so does the program")
    out = tmp_path / "out"
    process = endless_run(out)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["status"] == "interrupted"
    assert manifest["results"]["frames_in"] == len(records(out)) > 20
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(records(out))


@pytest.mark.slow
def test_a_run_keeps_its_folder_to_itself_and_leaves_whole_lines_when_it_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    process = endless_run(out)
    try:
        with pytest.raises(OutputError, match="out: another run writes to it; wait for its end, or choose another"):
            check_folder(out, source=DEMO_CLIP)
    finally:
        process.kill()
        process.communicate(timeout=60)
    killed = records(out)
    assert [line["index"] for line in killed] == list(range(len(killed)))
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert not (out / "overlay.mp4").exists()
    with pytest.raises(RunUnreadable, match=r"was killed before its end; .* or give --unfinished"):
        RecordedRun(out)
    assert len(RecordedRun(out, unfinished=True)) == len(killed)
    with own_folder(out, source=DEMO_CLIP) as again:
        assert [path.name for path in again.iterdir()] == ["earlier-1"]
    assert caplog.messages == [f"{out}: held results of an earlier run; they are kept in {out / 'earlier-1'}"]
    assert records(out / "earlier-1") == killed


def test_an_empty_out_is_refused(
    tmp_path: Path, replay_here: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert replay_here(small_clip(tmp_path / "clip.mp4", 3), "--out", "").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def small_clip(path: Path, count: int) -> Path:
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        track = container.add_stream("libx264", rate=Fraction(25))
        track.width = track.height = 128
        track.pix_fmt = "yuv420p"
        for _ in range(count):
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture(), format="gray")))
        container.mux(track.encode())
    return path


def broken_inputs(folder: Path) -> dict[str, list[str | Path]]:
    """Command lines that must fail with one clear line; files are made in `folder`."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is a letter, not a film\n" * 50)
    (folder / "no_pictures").mkdir()
    (folder / "model.onnx").write_text("not a model")
    (folder / "occupied").write_text("a file")
    clip = small_clip(folder / "whole.mp4", 3)
    return {
        "missing file": [folder / "missing.mp4"],
        "empty file": [folder / "empty.mp4"],
        "text file": [folder / "text.mp4"],
        "folder without pictures": [folder / "no_pictures"],
        "not a model": [clip, "--model", folder / "model.onnx"],
        "missing model": [clip, "--model", folder / "missing.onnx"],
        "unwritable folder": [clip, "--out", folder / "occupied" / "out"],
        "wrong phantom option": ["phantom:?colour=red"],
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing file",
        "empty file",
        "text file",
        "folder without pictures",
        "not a model",
        "missing model",
        "unwritable folder",
        "wrong phantom option",
    ],
)
def test_bad_input_gives_one_line_and_no_results(case: str, tmp_path: Path, replay_here: Callable[..., Ended]) -> None:
    arguments = broken_inputs(tmp_path)[case]
    out = tmp_path / "out"
    if "--out" not in arguments:
        arguments += ["--out", out]
    result = replay_here(*arguments)
    assert result.code == (2 if case == "wrong phantom option" else 1)
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert not out.exists()


@pytest.mark.slow
def test_a_process_that_fails_says_one_line_and_has_the_code(tmp_path: Path) -> None:
    result = partum("replay", tmp_path / "missing.mp4")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"partum: {tmp_path / 'missing.mp4'}: no such file or folder; check the path\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pace", "fast"],
        ["--pace", "x0"],
        ["--spacing", "0.3"],
        ["--spacing", "0,-1"],
        ["--protocol", "guess"],
        ["--backend", "magic"],
        ["--no-such-option"],
        ["--protocol", "iugc2024", "--orientation", "mirrored"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2_and_one_line(
    arguments: list[str], tmp_path: Path, replay_here: Callable[..., Ended]
) -> None:
    result = replay_here(*arguments, "--out", tmp_path / "out")
    assert result.code == 2
    assert result.err.count("\n") == 1, result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_truncated_film_keeps_what_was_measured(tmp_path: Path) -> None:
    whole = small_clip(tmp_path / "whole.mp4", 200)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    out = tmp_path / "out"
    result = partum("replay", cut, "--out", out)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "cut.mp4" in result.stderr.splitlines()[-1]
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["status"] == "failed"
    assert "cut.mp4" in manifest["error"]
    assert 0 < len(records(out)) < 200


@pytest.mark.slow
def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    result = partum("replay", tmp_path / "missing.mp4", "-v")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
