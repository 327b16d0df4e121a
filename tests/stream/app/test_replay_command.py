"""`partum replay` as a user meets it: the demonstration clip, bad input, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest

from stream.outputs.results_folder import RESULTS
from stream.pipeline.record_fields import CLOCK_FIELDS
from stream.sources.demo import DEMO_CLIP
from tests.conftest import REPOSITORY
from tests.fakes.doubles import picture

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
def test_a_second_run_gives_the_same_bytes_apart_from_the_clock_and_keeps_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        result = partum("replay", "phantom:?duration=1", "--no-overlay", "--out", out)
        assert result.returncode == 0, result.stderr
    assert not (out / "overlay.mp4").exists()

    def timeless(folder: Path) -> str:
        return "\n".join(
            json.dumps({name: value for name, value in line.items() if name not in CLOCK_FIELDS})
            for line in records(folder)
        )

    assert sum(line["state"] == "measured" for line in records(out)) > 20
    assert timeless(out) == timeless(out / "earlier-1")


@pytest.mark.slow
def test_spacing_and_protocol_reach_the_records(tmp_path: Path) -> None:
    clip = small_clip(tmp_path / "clip.mp4", 4)
    out = tmp_path / "out"
    result = partum("replay", clip, "--spacing", "0.3,0.3", "--protocol", "iugc2024", "--no-overlay", "--out", out)
    assert result.returncode == 0, result.stderr
    assert all(line["spacing_mm"] == [0.3, 0.3] and line["protocol"] == "iugc2024" for line in records(out))


@pytest.mark.slow
def test_without_a_folder_each_run_makes_a_new_one(tmp_path: Path) -> None:
    clip = small_clip(tmp_path / "clip.mp4", 3)
    for number in ("001", "002"):
        assert partum("replay", clip, "--no-overlay", cwd=tmp_path).returncode == 0
        assert len(records(tmp_path / "partum-runs" / number)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_an_interruption_leaves_what_was_measured(tmp_path: Path, number: signal.Signals, code: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever started the tests had this signal ignored, as nohup does, and so does the program")
    out = tmp_path / "out"
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
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["status"] == "interrupted"
    assert manifest["results"]["frames_in"] == len(records(out)) > 20
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(records(out))


def test_an_empty_out_is_refused(tmp_path: Path) -> None:
    result = partum("replay", small_clip(tmp_path / "clip.mp4", 3), "--out", "", cwd=tmp_path)
    assert result.returncode == 2
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
    clip = small_clip(folder / "whole.mp4", 60)
    return {
        "missing file": ["replay", folder / "missing.mp4"],
        "empty file": ["replay", folder / "empty.mp4"],
        "text file": ["replay", folder / "text.mp4"],
        "folder without pictures": ["replay", folder / "no_pictures"],
        "not a model": ["replay", clip, "--model", folder / "model.onnx"],
        "missing model": ["replay", clip, "--model", folder / "missing.onnx"],
        "unwritable folder": ["replay", clip, "--out", folder / "occupied" / "out"],
        "wrong phantom option": ["replay", "phantom:?colour=red"],
    }


@pytest.mark.slow
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
def test_bad_input_gives_one_line_and_no_results(case: str, tmp_path: Path) -> None:
    arguments = broken_inputs(tmp_path)[case]
    out = tmp_path / "out"
    if "--out" not in arguments:
        arguments += ["--out", out]
    result = partum(*arguments)
    assert result.returncode == (2 if case == "wrong phantom option" else 1)
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not out.exists()


@pytest.mark.slow
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
def test_a_wrong_command_line_exits_with_2_and_one_line(arguments: list[str], tmp_path: Path) -> None:
    result = partum("replay", *arguments, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
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
