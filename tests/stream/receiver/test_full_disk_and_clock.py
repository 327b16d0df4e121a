"""A full disk stops what needs it and not the receiver; a clock that is set anew makes nothing older."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from stream.app.options.session_options import SessionOptions
from stream.batch.reporting.progress import BatchProgress
from stream.batch.run import Batch
from stream.batch.store import ResultStore
from stream.batch.workers import Ready
from stream.common.clock import ManualClock
from stream.common.errors import OutputError
from stream.exports.dicom import export
from stream.receiver.intake import QueueIntake
from stream.receiver.queue import AHEAD_S, ReceivedQueue
from tests.fakes.dicom.receiver_parts import KEEP_H, Times, names, queue_in

if TYPE_CHECKING:
    from pathlib import Path


class Room:
    """A pool with a worker that waits."""

    has_room = True

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def submit(self, job: Any) -> None:
        self.jobs.append(job)
        self.has_room = False


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_cannot_note_its_model_hands_out_nothing_until_it_can(
    goes_on: bool, queue: ReceivedQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    queue.put([b"object"])
    intake = QueueIntake(queue)
    monkeypatch.setattr(QueueIntake, "is_endless", goes_on)
    clock = ManualClock()

    def full(*_: Any) -> None:
        raise OutputError("batch.json: cannot be written (No space left on device)")

    with ResultStore(tmp_path / "out", asked={}, resume=True) as store, BatchProgress(clock=clock) as progress:
        batch = Batch(intake, store, progress, SessionOptions(source="", out=tmp_path), clock=clock)
        batch._take_in()
        pool: Any = Room()
        with monkeypatch.context() as patched:
            patched.setattr(ResultStore, "begin", full)
            if not goes_on:
                with pytest.raises(OutputError):
                    batch._take(Ready("engine", "model", "00"))
                return
            batch._take(Ready("engine", "model", "00"))
            for _ in range(3):
                batch._begin()
                batch._hand_out(pool)
            assert not pool.jobs
        batch._begin()
        batch._hand_out(pool)
        assert len(pool.jobs) == 1
        assert (tmp_path / "out" / "batch.json").is_file()
    assert capsys.readouterr().err.count("No space left") == 1, "it is told once"


def test_a_full_disk_is_told_in_the_words_of_the_system_where_an_answer_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(file: Any, dataset: Any, **_: Any) -> None:
        file.write(b"answer")

    monkeypatch.setattr(export, "dcmwrite", written)
    writing: Any = SimpleNamespace(out=tmp_path / "none", done=None)
    with pytest.raises(OutputError, match=r"report\.dcm: cannot be written \(No such file or directory\)") as caught:
        export._Writing._save(writing, None, "report.dcm")  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno


def test_a_clock_that_is_put_forward_gives_nothing_up(tmp_path: Path, times: Times) -> None:
    queue = queue_in(tmp_path, times)
    key = queue.put([b"object"])
    assert not queue.is_overdue(key)
    times.wall = times.wall.replace(year=times.wall.year + 50)
    assert not queue.is_overdue(key), "no time has passed"
    times.advance(KEEP_H + 1)
    assert queue.is_overdue(key)


def test_a_clock_that_is_put_back_keeps_no_identifier_for_years(tmp_path: Path, times: Times) -> None:
    queue = queue_in(tmp_path, times)
    times.wall = times.wall.replace(year=times.wall.year + 50)
    queue.finish(queue.put([b"object"]))
    failing = queue.put([b"another"])
    queue.is_overdue(failing)
    times.wall = times.wall.replace(year=times.wall.year - 50)
    queue = queue_in(tmp_path, times)
    assert queue.empty() == 0
    assert not queue.is_overdue(failing)
    times.advance(KEEP_H + AHEAD_S / 3600)
    assert queue.empty() == 1
    assert queue.is_overdue(failing)
    assert names(queue, "received") == [f"{failing}.dcm"]
