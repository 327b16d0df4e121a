"""An object that failed and is sent again is tried once more, from the beginning, without what had succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engines.errors import InferenceError
from stream.batch.store import ResultStore
from stream.batch.summary import COMPLETE, FAILED, Row, write_summary
from stream.batch.workers import Failed, Measured, WorkerLost
from stream.receiver.queue import ObjectOutcome, ReceivedQueue
from stream.receiver.run import MOST_CRASHES
from tests.fakes.dicom.dcmtk import free_port
from tests.fakes.dicom.receiver_parts import KEEP_H, Answering, Measuring, Times, names, queue_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.dicom.archive import CommittingArchive


@pytest.fixture
def queue(tmp_path: Path, times: Times) -> ReceivedQueue:
    return queue_in(tmp_path, times)


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_was_given_up_is_taken_in_again_once(
    is_removed: bool, tmp_path: Path, queue: ReceivedQueue, times: Times
) -> None:
    key = queue.put([b"object"])
    assert list(queue.new()) == [key]
    queue.is_overdue(key)
    queue.finish(key, ObjectOutcome.GIVEN_UP, is_removed=is_removed)
    times.advance(KEEP_H - 1)
    for _ in range(10):
        assert queue.put([b"object"]) == key
    assert list(queue.new()) == [key]
    assert queue.comes_again(key)
    assert not queue.is_overdue(key), "its time begins anew"
    assert list(queue_in(tmp_path, times).waiting()) == [key], "also after a kill"
    times.advance(2)
    assert queue.empty() == 0
    queue.finish(key)
    queue.put([b"object"])
    assert not queue.waiting(), "it was measured and answered"
    assert [names(queue, each) for each in ("again", "failing", "done")] == [[], [], [key]]


def test_what_this_version_found_at_fault_is_tried_by_the_next_one(
    queue: ReceivedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = queue.put([b"object"])
    queue.finish(key, ObjectOutcome.NOT_MEASURABLE)
    queue.put([b"object"])
    assert not queue.waiting()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    queue.put([b"object"])
    assert list(queue.waiting()) == [key]


def test_what_was_measured_without_an_archive_is_answered_once_there_is_one(
    tmp_path: Path, queue: ReceivedQueue, times: Times
) -> None:
    key = queue.put([b"object"])
    queue.finish(key, ObjectOutcome.NOT_ANSWERED)
    queue.put([b"object"])
    assert not queue.waiting()
    answered = ReceivedQueue(tmp_path / "out", is_answered=True, now=times.now)
    answered.put([b"object"])
    assert list(answered.waiting()) == [key]


def test_a_note_of_its_end_that_is_damaged_or_of_an_earlier_version_says_that_it_is_done(queue: ReceivedQueue) -> None:
    for number, content in enumerate((b"", b"{", b"[1]", b'{"outcome": "lost"}')):
        key = queue.put([bytes([number])])
        queue.finish(key, ObjectOutcome.GIVEN_UP)
        (queue.root / "done" / key).write_bytes(content)
        queue.put([bytes([number])])
        assert queue.is_done(key)


def test_a_full_disk_keeps_nothing_from_being_given_up(queue: ReceivedQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    key = queue.put([b"object"])
    noted = ReceivedQueue._note_done

    def full(each: ReceivedQueue, *arguments: str | bytes) -> None:
        if queue.path_of(key).exists():
            raise OSError(28, "No space left on device")
        noted(each, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ReceivedQueue, "_note_done", full)
    queue.finish(key, ObjectOutcome.GIVEN_UP, is_removed=True)
    assert names(queue, "received") == []
    queue.put([b"object"])
    assert queue.comes_again(key)


def fails(measuring: Measuring, times: Times, *, has_crashed: bool) -> None:
    """Lets the object fail until it is given up."""
    error = WorkerLost("its process ended") if has_crashed else InferenceError("the network ran out of memory")
    before = len(measuring.published)
    for _ in range(MOST_CRASHES if has_crashed else 2):
        assert len(measuring.published) == before
        job = measuring.backlog.next_job()
        assert job is not None
        measuring.backlog.take(Failed(job, error, has_crashed=has_crashed))
        times.advance(0.25 if has_crashed else KEEP_H + 1)
    assert len(measuring.published) == before + 1


@pytest.mark.parametrize("has_crashed", [False, True])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_one_that_was_not_measured_has_one_result_of_its_last_try(
    has_crashed: bool, is_restarted: bool, tmp_path: Path, times: Times, queue: ReceivedQueue
) -> None:
    key = queue.put([b"object"])
    measuring = Measuring(tmp_path, queue, times)
    with measuring.store:
        measuring.begin()
        fails(measuring, times, has_crashed=has_crashed)
        queue.put([b"object"])
        measuring.begin()
        fails(measuring, times, has_crashed=has_crashed)
        queue.put([b"object"])
    if is_restarted:
        queue = queue_in(tmp_path, times)
        measuring = Measuring(tmp_path, queue, times)
    with measuring.store:
        measuring.begin()
        job = measuring.backlog.next_job()
        assert job is not None
        row: Row = {"state": COMPLETE, "measured": 4, "sha256": job.sha256}
        write_summary(job.folder, row, [])
        measuring.backlog.take(Measured(job, row))
        assert [each["state"] for each in measuring.store.rows()] == [COMPLETE]
        queue.put([b"object"])
        measuring.begin()
        assert measuring.backlog.next_job() is None, "what was measured is not measured again"
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/summary.json")) == [key[:16]]
    with ResultStore(tmp_path / "out", asked={}, resume=True) as store:
        assert [each["state"] for each in store.rows()] == [COMPLETE]
    assert not queue.waiting()


def test_an_answer_that_was_given_up_is_sent_without_what_the_archive_has(
    queue: ReceivedQueue, times: Times, results: Path, archive: CommittingArchive
) -> None:
    archive.refuses = {"1.2.3.51"}  # the segmentation
    answering = Answering(queue, times, results, archive.port)
    answering.goes_on(KEEP_H + 1)
    answering.assert_is_given_up("C000")
    assert archive.stored == ["1.2.3.50"]
    for _ in range(2):
        queue.put([b"object"])
        answering.outbox.add(answering.key, results)
        answering.goes_on(0.1)
        answering.goes_on(KEEP_H + 1)
    assert archive.stored == ["1.2.3.50"], "the report is there from the first time"
    assert [words for _, words in answering.noted] == [answering.noted[0][1]] * 3
    archive.refuses.clear()
    queue.put([b"object"])
    answering.outbox.add(answering.key, results)
    answering.goes_on(0.1)
    assert archive.stored == ["1.2.3.50", "1.2.3.51"]
    assert len(archive.asked[-1].ReferencedSOPSequence) == 1
    archive.asked[-1].FailedSOPSequence = []
    answering.outbox.committed(archive.asked[-1])
    answering.goes_on(0.1)
    assert answering.noted[-1][1] == "it came again, and the archive has its answer"
    queue.put([b"object"])
    assert not queue.waiting()


def test_an_archive_that_was_away_is_asked_at_once_for_what_comes_again(
    queue: ReceivedQueue, times: Times, results: Path
) -> None:
    answering = Answering(queue, times, results, free_port())
    answering.goes_on(KEEP_H + 1)
    answering.assert_is_given_up("does not answer")
    calls = len(answering.told)
    queue.put([b"object"])
    answering.outbox.add(answering.key, results)
    answering.outbox.step()
    assert len(answering.told) == calls + 1
    assert "does not answer" in answering.told[-1]


def test_a_result_is_noted_once_however_often_it_comes_to_the_same_end(tmp_path: Path) -> None:
    row: Row = {"state": FAILED, "sha256": "ab", "error": "damaged"}
    with ResultStore(tmp_path, asked={}, resume=True) as store:
        work = store.work_folder("ab")
        write_summary(work, row, [])
        store.publish(work, "received ab", row)
        for words in ("not answered", "not answered", "answered"):
            store.note("ab", words)
        assert store.row_of("ab")["note"] == "not answered; answered"


def test_a_result_stays_where_its_successor_cannot_be_put(tmp_path: Path) -> None:
    row: Row = {"state": FAILED, "sha256": "ab"}
    with ResultStore(tmp_path, asked={}, resume=True) as store:
        work = store.work_folder("ab")
        write_summary(work, row, [])
        folder = store.publish(work, "received ab", row)
        with pytest.raises(OSError, match="ab"):
            store.publish(tmp_path / "none", "received ab", row)
        assert (folder / "summary.json").is_file()
