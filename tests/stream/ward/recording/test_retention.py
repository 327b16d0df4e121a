"""What was written goes by age, by size and by what the disk has left: the oldest first, and nobody else's files."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.common.folder_lock import is_locked, locked_folder
from stream.ward.recording.recordings import Recordings
from stream.ward.recording.retention import KeptPart, Retention, parts_to_delete
from stream.ward.tables import RecordingTable

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MB = 1_000_000
OPTIONS = RecordingTable(folder=Path("kept"), keep_hours=10, keep_gb=0.010, reserve_gb=0.003)


def kept(hours_ago: float, size: int = MB, *, is_open: bool = False, feed: str = "a") -> KeptPart:
    ended = NOW - timedelta(hours=hours_ago)
    return KeptPart(Path(feed) / ended.strftime("%Y-%m-%dT%H-%M-%S.%f"), size, ended.timestamp(), is_open)


def gone(parts: list[KeptPart], *, free: int = 100 * MB) -> list[KeptPart]:
    return list(parts_to_delete(parts, OPTIONS, now_s=NOW.timestamp(), free_bytes=free))


def test_what_is_too_old_goes() -> None:
    parts = [kept(1), kept(11), kept(9), kept(30, feed="b")]
    assert gone(parts) == [parts[3], parts[1]]


def test_what_is_too_much_goes_the_oldest_of_all_feeds_first() -> None:
    parts = [kept(3, 5 * MB), kept(1, 4 * MB), kept(2, 4 * MB, feed="b"), kept(4, 2 * MB, feed="b")]
    assert gone(parts) == [parts[3], parts[0]]  # 15 MB, of which 10 may stay


def test_what_the_disk_needs_goes_and_what_is_being_written_stays() -> None:
    parts = [kept(3, is_open=True), kept(2), kept(1)]
    assert gone(parts, free=int(2.5 * MB)) == [parts[1]]
    assert gone(parts, free=0) == parts[1:]


@pytest.mark.parametrize("free", [0, 100 * MB])
def test_nothing_is_deleted_of_an_empty_folder(free: int) -> None:
    assert gone([], free=free) == []


class Disk:
    """A folder of a ward on a disk of a size that the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.size = folder, 100 * MB
        self.lines: list[str] = []
        self.is_held = False
        self.now, self.clock_error_s = NOW, 0.0
        self.retention = Retention(
            replace(OPTIONS, folder=folder),
            hold=self.hold,
            told=self.lines.append,
            free_bytes=lambda folder: self.size - sum(each.stat().st_size for each in folder.rglob("*.nut")),
            now=lambda: self.now,
            elapsed_s=lambda: self.now.timestamp() - self.clock_error_s,
        )

    def hold(self, is_held: bool) -> None:
        self.is_held = is_held

    def part(self, feed: str, hours_ago: float, size: int, status: str = "complete") -> Path:
        ended = NOW - timedelta(hours=hours_ago)
        path = self.folder / feed / ended.strftime("%Y-%m-%dT%H-%M-%S.%f")
        path.mkdir(parents=True)
        (path / "run.json").write_text(f'{{\n  "status": "{status}"\n}}')
        (path / "run-log.jsonl").write_text('{"event": "end"}\n')
        (path / "0000.nut").write_bytes(bytes(size))
        for each in (*path.iterdir(), path):
            os.utime(each, (ended.timestamp(), ended.timestamp()))
        return path


def test_folders_are_deleted_and_other_files_left_alone(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    old, new = disk.part("a", 20, MB), disk.part("a", 1, MB)
    other = tmp_path / "a" / "notes of the ward"
    other.mkdir()
    (tmp_path / "list.txt").write_text("x")
    disk.retention.look()
    assert not old.exists()
    assert new.exists()
    assert other.exists()
    assert (tmp_path / "list.txt").exists()
    view = disk.retention.view
    assert (view.state, view.deleted) == ("on", 1)
    assert MB < view.used_bytes < MB + 1000


def test_the_quota_is_kept_while_parts_come(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    for number in range(30):
        disk.now = NOW + timedelta(minutes=number)
        disk.part("ab"[number % 2], -number / 60, 2 * MB)
        assert sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) <= 10 * MB
        disk.retention.look()
    # It keeps ahead of twice what was written between two looks, though of no more than a quarter of 10 MB: 3 parts.
    assert disk.retention.view.deleted == 27


def test_a_full_disk_stops_writing_in_one_line_and_room_resumes_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    open_part = disk.part("a", 0, MB, "running")
    disk.size = 2 * MB
    with locked_folder(open_part):
        disk.retention.look()
        disk.retention.look()
        assert disk.is_held
        assert open_part.exists()
        assert len(disk.lines) == 1
        assert "recording stopped: 0.0 GB of the disk are free, and reserve_gb = 0.003 stay so" in disk.lines[0]
        disk.size = int(4.2 * MB)  # a little more than the reserve is not enough to go on with
        disk.retention.look()
        assert disk.is_held
        disk.size = 5 * MB
        disk.retention.look()
    assert not disk.is_held
    assert disk.lines[1:] == ["recording goes on"]


def test_what_is_being_written_alone_may_not_be_larger_than_the_quota(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with locked_folder(disk.part("a", 0, 11 * MB, "running")):
        disk.retention.look()
    assert disk.is_held
    assert "larger than keep_gb" in disk.lines[0]


def test_a_part_that_was_cut_off_by_a_kill_goes_like_others_also_the_last_of_its_feed(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    cut_off, last = disk.part("a", 20, MB, "running"), disk.part("gone", 11, MB, "running")
    disk.part("a", 1, MB, "running")
    disk.retention.look()
    assert not cut_off.exists()
    assert not last.exists()


def test_a_part_that_is_written_stays_whatever_the_clock_says(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    written, newer = disk.part("a", 24 * 365, 6 * MB, "running"), disk.part("a", 1, 6 * MB)
    with locked_folder(written):  # the clock was wrong when it began
        disk.retention.look()
        assert written.exists()
        assert not newer.exists()  # both are more than may stay
    disk.retention.look()
    assert not written.exists()


def test_a_clock_that_is_set_deletes_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    parts = [disk.part("a", hours, MB) for hours in (9, 1)]
    disk.retention.look()
    disk.clock_error_s, disk.now = 1e8, NOW + timedelta(seconds=1e8)
    disk.retention.look()
    assert [part.exists() for part in parts] == [True, True]
    assert disk.lines == ["the clock was set: recordings from before count as ended now"]
    disk.now += timedelta(hours=9)
    new = disk.part("a", -1e8 / 3600 - 8, MB)
    disk.retention.look()
    assert all(part.exists() for part in (*parts, new))
    disk.now += timedelta(hours=2)
    disk.retention.look()
    assert [part.exists() for part in (*parts, new)] == [False, False, True]
    assert len(disk.lines) == 1


def test_a_folder_that_was_removed_is_made_again_and_kept_from_other_wards(tmp_path: Path) -> None:
    folder, lines = tmp_path / "kept", list[str]()
    options = replace(OPTIONS, folder=folder)
    recordings = Recordings(RecordingTable(), told=lines.append, changed=lambda: None)
    recordings._folder, recordings._lock = folder, recordings.locked(folder) or ExitStack()
    retention = Retention(options, hold=lambda held: None, told=lines.append, make_again=recordings._make_again)
    folder.rmdir()
    folder.write_text("a file")
    retention.look()
    assert lines == [f"recording stopped: {folder}: cannot be looked after (File exists)"]
    folder.unlink()
    retention.look()
    assert lines[1:] == ["recording goes on"]
    assert is_locked(folder)
    recordings.close()
    assert not is_locked(folder)


def test_what_cannot_be_deleted_is_said_once_and_others_go_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    parts = [disk.part("a", hours, 4 * MB) for hours in (5, 4, 3, 2)]
    real = shutil.rmtree

    def refuse(path: Path) -> None:
        if path == parts[0]:
            raise PermissionError(1, "Operation not permitted")
        real(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    disk.retention.look()
    disk.retention.look()
    assert [part.exists() for part in parts] == [True, False, False, True]
    assert disk.lines == [f"{parts[0]}: cannot be deleted (Operation not permitted)"]
    assert not disk.is_held


def test_a_folder_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path)
    disk.part("a", 1, MB)
    old = disk.part("b", 20, MB)
    real = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "a":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    disk.retention.look()
    assert not old.exists()
