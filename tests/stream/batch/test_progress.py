"""What a batch tells of its time: nothing before it is known, then the truth."""

from __future__ import annotations

import io
import re

from rich.console import Console

from stream.batch.reporting.progress import KNOWN_S, SURE_S, BatchProgress
from stream.batch.workers import threads_of
from stream.common.clock import ManualClock

SECOND = 1_000_000_000


class Told:
    """A progress whose lines are kept, with a clock of its own."""

    def __init__(self) -> None:
        self.clock, self._out = ManualClock(), io.StringIO()
        self.progress = BatchProgress(clock=self.clock, console=Console(file=self._out))

    def end(self, source: str, frames: int = 10) -> str:
        self.progress.end(source, {"frames": frames})
        return self._out.getvalue().splitlines()[-1]

    def pass_s(self, seconds: float) -> None:
        self.clock.advance(round(seconds * SECOND))


def seconds_left(line: str) -> float | None:
    found = re.search(r"; (\d+(?:\.\d+)?) (s|min|h) left", line)
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else None


def test_nothing_is_said_before_it_is_known_and_the_start_does_not_count() -> None:
    told = Told()
    for number in range(80):
        told.progress.add(str(number), 1000)
    told.pass_s(30)  # engines start
    said: list[float | None] = []
    for number in range(80):
        told.progress.at(str(number), 1, 10)
        told.pass_s(1)
        said.append(seconds_left(told.end(str(number))))
    assert said[: int(KNOWN_S) - 1] == [None] * (int(KNOWN_S) - 1)
    for number, left in list(enumerate(said))[int(KNOWN_S) : -1]:
        assert left is not None
        assert abs(left - (79 - number)) <= max(1, 0.03 * (79 - number)), "a second each"


def test_recordings_are_weighed_by_their_bytes() -> None:
    told = Told()
    for number in range(10):
        told.progress.add(f"small {number}", 10)
    told.progress.add("large", 700)
    told.progress.at("small 0", 1, 10)
    line = ""
    for number in range(10):
        told.pass_s(1)
        line = told.end(f"small {number}")
    assert 65 <= (seconds_left(line) or 0) <= 75, "700 bytes at ten a second"


def test_what_is_done_already_or_still_packed_counts_for_what_it_is() -> None:
    told = Told()
    for number in range(40):
        told.progress.add(str(number), 100)
    for number in range(20):
        told.progress.skip(str(number))
    told.progress.bytes_to_come = 1000
    told.progress.at("20", 1, 100)
    line = ""
    for number in range(20, 30):
        told.pass_s(1)
        line = told.end(str(number))
    assert 19 <= (seconds_left(line) or 0) <= 22, "ten more, and a thousand bytes"


def test_a_long_batch_says_something_before_its_share_is_done() -> None:
    told = Told()
    for number in range(10_000):
        told.progress.add(str(number), 100)
    told.progress.at("0", 1, 100)
    told.pass_s(SURE_S / 2)
    assert seconds_left(told.end("0")) is None
    told.pass_s(SURE_S / 2)
    assert seconds_left(told.end("1")) is not None


def test_a_pause_between_two_recordings_is_no_work() -> None:
    told = Told()
    told.progress.add("first", 100)
    told.progress.at("first", 1, 2)
    told.pass_s(10)
    told.end("first")
    told.pass_s(3600)
    for number in range(20):
        told.progress.add(str(number), 100)
    told.progress.at("0", 1, 100)
    line = ""
    for number in range(10):
        told.pass_s(1)
        line = told.end(str(number))
    assert 9 <= (seconds_left(line) or 0) <= 11


def test_each_worker_has_a_second_thread_where_there_is_a_second_core() -> None:
    assert [threads_of(jobs, cores=2) for jobs in (1, 2, 5)] == [2, 2, 2]
    assert [threads_of(jobs, cores=16) for jobs in (1, 4, 16)] == [16, 4, 2]
    assert threads_of(1, cores=1) == 1
