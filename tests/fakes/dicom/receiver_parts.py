"""Parts of a receiver by clocks that are set: its answers, and what measures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stream.batch.backlog import JobBacklog
from stream.batch.reporting.progress import BatchProgress
from stream.batch.store import ResultStore
from stream.common.clock import ManualClock
from stream.receiver.intake import QueueIntake, recording_key
from stream.receiver.outbox import Outbox
from stream.receiver.peers import Peer
from stream.receiver.queue import ReceivedQueue
from stream.receiver.run import MOST_CRASHES, answerer
from tests.fakes.dicom.archive import answers

if TYPE_CHECKING:
    from pathlib import Path

    from stream.batch.recordings import Recording
    from stream.batch.summary import Row

KEEP_H = 72


class Times:
    """The time on the wall and the clock of tries, which go on together."""

    def __init__(self) -> None:
        self.clock, self.wall = ManualClock(), datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.wall

    def advance(self, hours: float) -> None:
        self.clock.advance(round(hours * 3600e9))
        self.wall += timedelta(hours=hours)


def queue_in(folder: Path, times: Times, hours: float = KEEP_H) -> ReceivedQueue:
    return ReceivedQueue(folder / "out", keep_s=3600 * hours, now=times.now, clock=times.clock)


def names(queue: ReceivedQueue, folder: str) -> list[str]:
    found = queue.root / folder
    return sorted(path.name for path in found.iterdir()) if found.is_dir() else []


class Answering:
    """An outbox of two answers of one object, and what it said."""

    def __init__(self, queue: ReceivedQueue, times: Times, results: Path, port: int) -> None:
        self.told: list[str] = []
        self.noted: list[tuple[str, str]] = []
        self.queue, self.times = queue, times
        self.outbox = Outbox(
            queue,
            to=Peer("ARCHIVE", "127.0.0.1", port),
            title="PARTUM",
            build=answers,
            told=self.told.append,
            clock=times.clock,
            noted=lambda key, words: self.noted.append((key, words)),
        )
        self.key = queue.put([b"object"])
        self.outbox.add(self.key, results)
        self.outbox.step()

    def goes_on(self, hours: float) -> None:
        self.times.advance(hours)
        self.outbox.step()

    def assert_is_given_up(self, why: str) -> None:
        assert [key for key, _ in self.noted] == [self.key]
        assert why in self.noted[0][1]
        (line,) = [line for line in self.told if "given up" in line]
        assert line.startswith(f"received {self.key[:16]}: ")
        assert [names(self.queue, each) for each in ("received", "outbox", "failing")] == [[], [], []]
        assert names(self.queue, "done") == [self.key]


class Measuring:
    """A backlog of a queue of one object, as the receiver has it."""

    def __init__(self, folder: Path, queue: ReceivedQueue, times: Times) -> None:
        self.store, self.queue = ResultStore(folder / "out", asked={}, resume=True), queue
        self.published: list[Row] = []
        answer = answerer(queue, None, lambda line: None)

        def published(recording: Recording, row: Row, folder: Path) -> None:
            self.published.append(row)
            answer(recording, row, folder)

        self.backlog = JobBacklog(
            self.store,
            BatchProgress(clock=times.clock),
            clock=times.clock,
            goes_on=True,
            ended=lambda recording: None,
            published=published,
            given_up=lambda each, crashes: crashes >= MOST_CRASHES or queue.is_overdue(recording_key(each)),
            tried_again=lambda each: queue.comes_again(recording_key(each)),
        )

    def begin(self) -> None:
        self.backlog.add(QueueIntake(self.queue).poll().recordings)
