"""Every state of an object ends, and what identifies its patient goes with it: by clocks that are set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engines.errors import InferenceError
from stream.batch.store import ResultStore
from stream.batch.summary import Row, read_summary, write_summary
from stream.batch.workers import Failed, WorkerLost
from stream.receiver.queue import ReceivedQueue
from stream.receiver.run import MOST_CRASHES
from tests.fakes.dicom.archive import CommittingArchive, loop
from tests.fakes.dicom.dcmtk import free_port
from tests.fakes.dicom.receiver_parts import KEEP_H, Answering, Measuring, Times, names, queue_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def queue(tmp_path: Path, times: Times) -> ReceivedQueue:
    return queue_in(tmp_path, times)


def test_what_is_done_goes_after_its_time_and_is_still_known(queue: ReceivedQueue, times: Times) -> None:
    key = queue.put([b"object"])
    times.advance(KEEP_H * 2)
    assert queue.empty() == 0, "it waits for a process that measures it"
    queue.finish(key)
    times.advance(KEEP_H - 1)
    assert queue.empty() == 0
    times.advance(2)
    assert queue.empty() == 1
    assert names(queue, "received") == []
    assert names(queue, "done") == [key]
    assert queue.put([b"object"]) == key
    assert not queue.waiting()


def test_what_is_kept_for_no_time_goes_at_once(tmp_path: Path, times: Times) -> None:
    queue = queue_in(tmp_path, times, 0)
    queue.finish(queue.put([b"object"]))
    times.advance(0.001)
    assert queue.empty() == 1


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122, 0x0124])
def test_an_answer_that_is_refused_for_good_is_given_up(
    status: int, queue: ReceivedQueue, times: Times, results: Path, archive: CommittingArchive
) -> None:
    archive.status = status
    answering = Answering(queue, times, results, archive.port)
    answering.goes_on(KEEP_H - 1)
    assert not answering.noted
    assert names(queue, "received")
    answering.goes_on(2)
    answering.assert_is_given_up(f"status {status:04X}")


def test_a_kind_that_the_archive_does_not_take_is_given_up(
    queue: ReceivedQueue, times: Times, results: Path, archive: CommittingArchive
) -> None:
    for file in results.iterdir():
        loop(results, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33").rename(file)
    answering = Answering(queue, times, results, archive.port)
    answering.goes_on(KEEP_H + 1)
    answering.assert_is_given_up("does not take this kind of object")


def test_an_archive_that_is_away_is_given_up_though_the_receiver_was_killed_in_between(
    tmp_path: Path, times: Times, queue: ReceivedQueue, results: Path
) -> None:
    first = Answering(queue, times, results, free_port())
    first.goes_on(KEEP_H / 2)
    second = Answering(queue_in(tmp_path, times), times, results, free_port())
    second.goes_on(KEEP_H / 2 - 1)
    assert not [*first.noted, *second.noted]
    second.goes_on(2)
    second.assert_is_given_up("does not answer")


@pytest.mark.parametrize("reports", [False, True])
def test_a_commitment_that_never_comes_is_given_up(
    reports: bool, tmp_path: Path, times: Times, results: Path, archive: CommittingArchive
) -> None:
    hours = 6
    answering = Answering(queue_in(tmp_path, times, hours), times, results, archive.port)
    assert len(archive.asked) == 1
    for _ in range(hours + 4):
        if reports:
            report = archive.asked[-1]
            report.FailedSOPSequence = [report.ReferencedSOPSequence[0]]
            answering.outbox.committed(report)
        answering.goes_on(1)
    assert len(archive.asked) > hours / 2, "it was asked for again"
    answering.assert_is_given_up("did not commit")


def test_a_commitment_whose_report_came_while_nobody_listened_is_asked_for_again_soon(
    tmp_path: Path, times: Times, queue: ReceivedQueue, results: Path, archive: CommittingArchive
) -> None:
    Answering(queue, times, results, archive.port)
    restarted = Answering(queue_in(tmp_path, times), times, results, archive.port)
    restarted.goes_on(0.5 / 60)
    assert len(archive.asked) == 1
    restarted.goes_on(1 / 60)
    assert [len(each.ReferencedSOPSequence) for each in archive.asked] == [2, 2]
    assert len(archive.stored) == 2, "what it has is not sent again"
    restarted.outbox.committed(archive.asked[-1])
    restarted.goes_on(0.01)
    assert names(restarted.queue, "done") == [restarted.key]


def test_an_answer_gets_a_minute_however_short_objects_are_kept(tmp_path: Path, times: Times, results: Path) -> None:
    answering = Answering(queue_in(tmp_path, times, 0), times, results, free_port())
    answering.goes_on(0.01)
    assert not answering.noted
    answering.goes_on(0.01)
    answering.assert_is_given_up("does not answer")


def test_what_fails_for_want_of_the_machine_is_given_up_and_has_a_row_for_ever(
    tmp_path: Path, times: Times, queue: ReceivedQueue
) -> None:
    key = queue.put([b"object"])
    measuring = Measuring(tmp_path, queue, times)
    with measuring.store:
        measuring.begin()
        for hours in (0, KEEP_H - 1, 2):
            times.advance(hours)
            assert not measuring.published
            job = measuring.backlog.next_job()
            assert job is not None
            measuring.backlog.take(Failed(job, InferenceError("the network ran out of memory")))
        assert measuring.backlog.unfinished == 0
        (row,) = measuring.published
        assert (row["state"], row["error"]) == ("failed", "the network ran out of memory; given up")
    assert (names(queue, "received"), names(queue, "done")) == ([], [key])
    with ResultStore(tmp_path / "out", asked={}, resume=True) as store:
        assert [each["error"] for each in store.rows()] == [row["error"]]


def test_what_crashes_its_process_again_and_again_is_given_up(
    tmp_path: Path, times: Times, queue: ReceivedQueue
) -> None:
    queue.put([b"object"])
    measuring = Measuring(tmp_path, queue, times)
    with measuring.store:
        measuring.begin()
        for _ in range(MOST_CRASHES):
            assert not measuring.published
            times.advance(0.25)
            job = measuring.backlog.next_job()
            assert job is not None
            measuring.backlog.take(Failed(job, WorkerLost("its process ended"), has_crashed=True))
        assert measuring.published
        assert measuring.backlog.next_job() is None
    assert names(queue, "received"), "it was not tried for so long: it is there to be looked at"
    times.advance(KEEP_H + 1)
    assert queue.empty() == 1


def test_what_becomes_of_an_answer_is_noted_with_its_result(tmp_path: Path) -> None:
    row: Row = {"state": "complete", "sha256": "ab", "note": "25 frames/s assumed"}
    with ResultStore(tmp_path, asked={}, resume=True) as store:
        work = store.work_folder("ab")
        write_summary(work, row, [[0.0, 101.5, 99.0, 104.0]])
        store.note_input("received ab", "stamp", "ab")
        folder = store.publish(work, "received ab", row)
        store.note("ab", "its answer was given up")
        store.note("unknown", "nothing")
        assert [each["note"] for each in store.rows()] == ["25 frames/s assumed; its answer was given up"]
    facts = read_summary(folder)
    assert facts is not None
    assert facts["course"] == [[0.0, 101.5, 99.0, 104.0]]
    with ResultStore(tmp_path, asked={}, resume=True) as store:
        assert [each["note"] for each in store.rows()] == ["25 frames/s assumed; its answer was given up"]
