"""A disk that fills up in mid-run: the tables are whole, `run.json` says what happened, and the error is one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.common.atomic_file import write_atomic
from stream.common.errors import OutputError
from stream.outputs import manifest as manifest_module
from stream.outputs.group import SinkGroup
from stream.outputs.manifest import RESERVED_BYTES, Manifest
from stream.outputs.pictures.trend_plot import TrendPlot
from stream.outputs.recorder import Recorder
from stream.pipeline.pipeline import Pipeline
from tests.conftest import REPOSITORY
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement


def begun(path: Path) -> Manifest:
    with DrawnSource(1) as source:
        return Manifest(path, source=source.info, engine=GreyLevelEngine(), options={})


def test_a_manifest_is_valid_from_its_first_moment_and_keeps_space_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    manifest = begun(path)
    assert json.loads(path.read_text())["status"] == "running"
    assert path.stat().st_size > RESERVED_BYTES
    manifest.finish("complete", error=None, results={"frames_in": 3})
    assert json.loads(path.read_text())["results"] == {"frames_in": 3}
    assert path.stat().st_size < RESERVED_BYTES
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("size", [10, 2 * RESERVED_BYTES])
def test_a_full_disk_leaves_a_manifest_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "run.json"
    manifest = begun(path)
    reserved = path.stat().st_blocks

    def full(path: Path, data: bytes) -> None:
        raise OutputError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(manifest_module, "write_atomic", full)
    manifest.finish("failed", error="the disk is full", results={"words": "x" * size})
    facts = json.loads(path.read_text())
    assert (facts["status"], facts["error"]) == ("failed", "the disk is full")
    assert facts["results"] == ({"words": "x" * size} if size < RESERVED_BYTES else None)
    assert path.stat().st_blocks <= reserved
    manifest.finish("failed", error="y" * size, results={})
    assert json.loads(path.read_text())["error"].startswith("yyyy")


def test_a_file_written_whole_is_the_new_one_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"first")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"a\.png: cannot be written \(No space left on device\); free space"):
        write_atomic(path, b"second")
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(30), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def test_a_sink_that_fails_in_any_way_is_one_line_and_the_others_are_closed(
    measurements: list[Measurement], tmp_path: Path
) -> None:
    closed: list[str] = []

    class Odd:
        def __init__(self, name: str, error: BaseException | None) -> None:
            self._name, self._error = name, error

        def write(self, measurement: Measurement) -> None: ...

        def close(self) -> None:
            closed.append(self._name)
            if self._error:
                raise self._error

    errors: list[BaseException | None] = [
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates\nnot allowed"),
        OutputError("the second"),
        None,
        MemoryError(),
    ]
    sinks = SinkGroup([partial(Odd, str(number), error) for number, error in enumerate(errors)])
    with pytest.raises(OutputError, match=r"^odd: its file cannot be finished \(UnicodeEncodeError: [^\n]*\)$"):
        sinks.__exit__(None, None, None)
    assert closed == ["0", "1", "2", "3"]
    closed.clear()
    sinks = SinkGroup([partial(Odd, "0", OutputError("x")), partial(Odd, "1", KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        sinks.__exit__(None, None, None)
    assert closed == ["0", "1"]


def test_what_a_sink_raises_at_a_write_is_an_error_of_the_output(measurements: list[Measurement]) -> None:
    class Odd:
        def write(self, measurement: Measurement) -> None:
            raise ValueError("no\nsuch thing")

        def close(self) -> None: ...

    with pytest.raises(OutputError, match=r"^odd: .*ValueError: no such thing"), SinkGroup([Odd]) as sinks:
        sinks.write(measurements[0])


def test_names_that_are_not_utf_8_are_drawn_and_printed(measurements: list[Measurement], tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/o\xfft"))
    folder.mkdir()
    trend = TrendPlot(folder / "trend.png", os.fsdecode(b"cl\xffip.mp4, robust"))
    recorder = Recorder(folder / "recording", note=os.fsdecode(b"\xff"))
    with SinkGroup([lambda: trend, lambda: recorder]) as sinks:
        for measurement in measurements:
            sinks.write(measurement)
    assert (folder / "trend.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "recording" / "0000.nut").stat().st_size > 1000


RUN = """
import sys
from functools import partial
from pathlib import Path
from stream.app.run import SourceRun
from stream.app.options.session_options import SessionOptions
from stream.preprocessing import PreprocessingOptions
from stream.preprocessing.preprocessor import FramePreprocessor
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

out, sink = sys.argv[1:]
options = SessionOptions(out=Path(out), overlay=sink == "film", record=sink == "record")
watch = FramePreprocessor(PreprocessingOptions(sector="whole"), is_live=False)
with SourceRun(options, GreyLevelEngine(), source=DrawnSource(3000), preprocessor=watch) as run:
    try:
        run.run(lambda: None)
    except OSError as error:
        print(type(error).__name__, error)
"""
SMALL_KIB = {"tables": 400, "film": 800, "record": 400}


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["tables", "film", "record"])
def test_a_disk_that_fills_up_in_mid_run(tmp_path: Path, sink: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux)")
    small = tmp_path / "small"
    small.mkdir()
    script = tmp_path / "run.py"
    script.write_text(RUN)
    kept = tmp_path / "kept"
    command = (
        f"mount -t tmpfs -o size={SMALL_KIB[sink]}k tmpfs {small} || exit 77;"
        f" {sys.executable} {script} {small}/out {sink}; cp -r {small}/out {kept}"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be made here without being root: {done.stderr.strip()[-200:]}")
    (line,) = done.stdout.splitlines()
    assert line.startswith("OutputError ")
    assert "No space left on device" in line
    facts = json.loads((kept / "run.json").read_text())
    assert facts["status"] == "failed"
    assert "No space left on device" in facts["error"]
    lines = (kept / "measurements.jsonl").read_text()
    assert lines.endswith("\n")
    assert [json.loads(each)["index"] for each in lines.splitlines()] == list(range(lines.count("\n")))
    assert abs(facts["results"]["frames_in"] - lines.count("\n")) <= 1
    assert (kept / "measurements.csv").read_text().endswith("\n")
    assert not list(kept.glob("*.part"))
    assert "Traceback" not in done.stderr
