"""What the web page is told of a stream: nothing that a viewer does holds up the stream."""

from __future__ import annotations

import threading

from stream.common.clock import MonotonicClock
from stream.outputs.web.board import MOST_ANSWERS, MOST_MARKS, Board
from stream.pipeline.pipeline import Pipeline
from tests.fakes.doubles import DrawnSource, GreyLevelEngine, HangingDisk


class AnnouncedLock:
    """A lock that tells who comes to it, before he has it."""

    def __init__(self) -> None:
        self.came, self._lock = threading.Semaphore(0), threading.Lock()

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_mark_on_a_disk_that_hangs_holds_up_no_measurement() -> None:
    with Pipeline(DrawnSource(2), GreyLevelEngine()) as pipeline:
        first, second = pipeline
    disk = HangingDisk()
    board = Board(clock=MonotonicClock(), marks=disk)
    board.write(first)
    marking = threading.Thread(target=board.mark, kwargs={"request": "mine"})
    marking.start()
    assert disk.entered.wait(20)
    writing = threading.Thread(target=board.write, args=(second,))
    writing.start()
    writing.join(20)
    assert not writing.is_alive()
    assert board.snapshot().measurement is second
    assert board.marks_s == []
    disk.go.set()
    marking.join(20)
    assert board.marks_s == [0.0]
    assert board.mark_answers == {"mine": 1}


def test_a_mark_is_of_the_moment_when_it_was_set_and_answered_to_who_set_it() -> None:
    with Pipeline(DrawnSource(2), GreyLevelEngine()) as pipeline:
        first, second = pipeline
    disk = HangingDisk()
    board = Board(clock=MonotonicClock(), marks=disk)
    board.mark(request="too soon")
    assert "no picture" in str(board.mark_answers["too soon"])
    board.write(first)
    lock = board._marking = AnnouncedLock()  # type: ignore[assignment]
    marking = [threading.Thread(target=board.mark, kwargs={"request": name}) for name in ("a", "b")]
    for each in marking:
        each.start()
    assert disk.entered.wait(20)
    assert lock.came.acquire(timeout=20)
    assert lock.came.acquire(timeout=20)
    assert board.mark_answers.keys() == {"too soon"}
    board.write(second)
    disk.go.set()
    for each in marking:
        each.join(20)
    assert disk.marked == [first, first]
    answers = board.mark_answers
    assert {answers["a"], answers["b"]} == {1, 2}


def test_answers_to_marks_do_not_pile_up() -> None:
    with Pipeline(DrawnSource(1), GreyLevelEngine()) as pipeline:
        (only,) = pipeline
    board = Board(clock=MonotonicClock())
    board.write(only)
    for number in range(MOST_MARKS + 1):
        board.mark(request=str(number))
    answers = board.mark_answers
    assert len(answers) == MOST_ANSWERS
    assert answers[str(MOST_MARKS - 1)] == MOST_MARKS
    assert "marks already" in str(answers[str(MOST_MARKS)])
