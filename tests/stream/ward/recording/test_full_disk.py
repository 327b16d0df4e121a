"""Feeds that record on a disk that is full, really: nothing stops but the writing, and what was written can be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engines.errors import PartumError
from stream.app.options.session_options import SessionOptions
from stream.common.clock import ManualClock
from stream.exports.verification import verify_run
from stream.labour.recorded_run import RecordedRun
from stream.outputs.run_log import LOG_NAME
from stream.pipeline.pipeline import Pipeline
from stream.sources import open_source
from stream.ward.processes.parts import ON, RETRY_S, PartWriter
from stream.ward.processes.run_part import PartOptions, RunPart
from stream.ward.recording.retention import Retention
from stream.ward.recording.unfinished import CUT_OFF
from stream.ward.tables import RecordingTable
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.stream.ward.running import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.pipeline.record import Measurement

MB = 1_000_000
SIZE = 4 << 20
SESSION = SessionOptions(source="rtsp://nurse:secret@host/live", live=True)


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(20), GreyLevelEngine()) as pipeline:
        return list(pipeline)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        is_small = not subprocess.run(words, capture_output=True, check=False).returncode
    except OSError:
        is_small = False
    if not is_small:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Somebody else's file, or more of it."""
    path = disk / "others"
    with path.open("ab", buffering=0) as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return path


class Feed:
    """A feed that writes parts with pictures, on our clock."""

    def __init__(self, folder: Path, *, longest_s: float = 1e6, most_bytes: int = 10**9) -> None:
        self.folder, self.clock = folder, ManualClock()
        options = PartOptions(folder=folder, pictures=True, longest_s=longest_s, most_bytes=most_bytes)
        self.writer = PartWriter(
            options,
            lambda: RunPart(options, SESSION, source=DrawnSource(1), engine=GreyLevelEngine()),
            clock=self.clock,
        )

    def write(self, measurements: list[Measurement]) -> None:
        pause = threading.Event()
        for each in measurements:
            self.writer.write(each)
            while self.writer.waiting:
                pause.wait(0.001)
            self.clock.advance(10**9)

    @property
    def parts(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.exists() else []

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads((part / "run.json").read_bytes()) for part in self.parts]


def pictures_in(part: Path) -> int:
    """Of a part that is being written, by a thread of its own."""
    try:
        with open_source(part / "recording") as again:
            return len(list(again))
    except PartumError:
        return 0


def check_readable(part: Path, *, is_whole: bool = True) -> int:
    """Frames of a part, which report, review and replay read, and `verify` finds unchanged."""
    run = RecordedRun(part)
    with open_source(part / "recording") as again:
        count = len(list(again))
    if is_whole:
        assert not verify_run(part).faults
    assert count <= len(run)
    return count


def test_a_full_disk_ends_the_part_with_what_was_written_and_leaves_no_ruins(
    measurements: list[Measurement], disk: Path
) -> None:
    feed = Feed(disk / "room-1")
    feed.write(measurements[:4])
    until(lambda: pictures_in(feed.parts[0]) >= 4, what="four pictures on the disk")
    others = fill(disk)
    feed.write(measurements * 6)
    assert "No space left" in feed.writer.state
    for _ in range(5):  # tried again and again
        feed.clock.advance(round(RETRY_S * 1e9))
        feed.write(measurements[:1])
    assert "No space left" in feed.writer.state
    assert len(feed.parts) == 1
    others.unlink()
    feed.clock.advance(round(RETRY_S * 1e9))
    feed.write(measurements[:4])
    assert feed.writer.state == ON
    feed.writer.close()
    assert [run["status"] for run in feed.runs()] == ["failed", "complete"]
    assert "No space left" in feed.runs()[0]["error"]
    assert check_readable(feed.parts[0], is_whole=False) >= 4
    assert check_readable(feed.parts[1]) == 4


def test_a_part_that_is_removed_while_it_is_written_is_missed_and_another_begins(
    measurements: list[Measurement], tmp_path: Path
) -> None:
    feed = Feed(tmp_path / "kept" / "room-1")
    feed.write(measurements[:4])
    shutil.rmtree(tmp_path / "kept")
    feed.write(measurements[:2])
    assert "was removed while it was written" in feed.writer.state
    feed.clock.advance(round(RETRY_S * 1e9))
    feed.write(measurements[:4])
    assert feed.writer.state == ON
    feed.writer.close()
    (part,) = feed.parts
    assert check_readable(part) == 4


def test_four_feeds_stay_within_the_quota_and_the_reserve(measurements: list[Measurement], disk: Path) -> None:
    feeds = [Feed(disk / f"room-{number}", longest_s=5) for number in range(4)]
    held: list[bool] = []
    lines: list[str] = []
    options = RecordingTable(folder=disk, keep_gb=2.5e-3, reserve_gb=0.5e-3)

    def hold(is_held: bool) -> None:
        held.append(is_held)
        for feed in feeds:
            feed.writer.hold() if is_held else feed.writer.resume()

    retention = Retention(options, hold=hold, told=lines.append)
    for turn in range(12):
        if 4 <= turn < 8:  # somebody else takes what there is, again and again
            fill(disk, leave=MB // 10)
        elif turn == 8:
            (disk / "others").unlink()
        for feed in feeds:
            feed.write(measurements[:5])
        retention.look()
        assert retention.view.used_bytes <= 2.5 * MB
    assert retention.view.deleted > 0
    assert True in held
    assert held[-1] is False
    assert len([line for line in lines if "recording stopped" in line]) == 1
    for feed in feeds:
        feed.writer.close()
        assert feed.writer.state == ON
        assert feed.parts
        for part in feed.parts:
            check_readable(part)


def test_a_quota_smaller_than_a_part_is_kept_and_said(measurements: list[Measurement], tmp_path: Path) -> None:
    feed, lines = Feed(tmp_path / "kept" / "room-1"), list[str]()
    options = RecordingTable(folder=tmp_path / "kept", keep_gb=1e-4, reserve_gb=0)
    retention = Retention(
        options, hold=lambda held: feed.writer.hold() if held else feed.writer.resume(), told=lines.append
    )
    for _ in range(6):
        feed.write(measurements)
        retention.look()
    feed.writer.close()
    assert any("larger than keep_gb = 0.0001" in line for line in lines)
    assert any("goes on" in line for line in lines)
    assert retention.view.deleted > 0


def test_a_part_that_was_cut_off_is_finished_and_can_be_read(measurements: list[Measurement], tmp_path: Path) -> None:
    options = PartOptions(folder=tmp_path / "room-1", pictures=True, longest_s=1e6, most_bytes=10**9)
    part = RunPart(options, SESSION, source=DrawnSource(1), engine=GreyLevelEngine())
    for each in measurements:
        part.write(each)
    lines: list[str] = []
    retention = Retention(RecordingTable(folder=tmp_path), hold=lambda held: None, told=lines.append)
    retention.look()
    assert RecordedRun(part.folder, unfinished=True).status == "running"  # it is being written
    part._sinks.__exit__(None, None, None)
    part._lock.close()  # as a kill does
    with (part.folder / "measurements.jsonl").open("ab") as file:
        file.write(b'{"schema": "partum.fra')  # a disk that had no time for the last line
    retention.look()
    retention.look()
    assert lines == [f"{part.folder}: was cut off by a kill; it is finished as far as it was written"]
    run = RecordedRun(part.folder)
    assert (run.status, run.manifest["error"], len(run)) == ("interrupted", CUT_OFF, len(measurements))
    assert check_readable(part.folder) == len(measurements)


def test_a_part_that_had_no_time_for_its_hashes_gets_them(measurements: list[Measurement], tmp_path: Path) -> None:
    options = PartOptions(folder=tmp_path / "room-1", pictures=False, longest_s=1e6, most_bytes=10**9)
    part = RunPart(options, SESSION, source=DrawnSource(1), engine=GreyLevelEngine())
    part.write(measurements[0])
    part.finish("complete", None)
    part._lock.close()
    assert verify_run(part.folder).faults
    lines: list[str] = []
    Retention(RecordingTable(folder=tmp_path), hold=lambda held: None, told=lines.append).look()
    assert not verify_run(part.folder).faults
    assert (RecordedRun(part.folder).status, lines) == ("complete", [])
    log = (part.folder / LOG_NAME).read_bytes()
    Retention(RecordingTable(folder=tmp_path), hold=lambda held: None, told=lines.append).look()
    assert (part.folder / LOG_NAME).read_bytes() == log


def test_a_part_ends_in_time_though_no_frame_comes(measurements: list[Measurement], tmp_path: Path) -> None:
    feed = Feed(tmp_path / "room-1", longest_s=60)
    feed.write(measurements[:2])
    feed.writer.tick()
    assert feed.runs()[0]["status"] == "running"
    feed.clock.advance(60 * 10**9)
    feed.writer.tick()
    feed.writer.close()
    assert [run["status"] for run in feed.runs()] == ["complete"]
    assert feed.runs()[0]["results"]["frames_in"] == 2
