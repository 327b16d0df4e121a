"""What the web page is told of a stream: nothing that a viewer does holds up the stream."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from stream.common.clock import MonotonicClock
from stream.outputs.marks import MarkKind
from stream.outputs.web.board import Board
from stream.pipeline.pipeline import Pipeline
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement


class HangingDisk:
    """Takes marks when it is let."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        self.entered.set()
        assert self.go.wait(20)

    def close(self) -> None:
        pass


def test_a_mark_on_a_disk_that_hangs_holds_up_no_measurement() -> None:
    with Pipeline(DrawnSource(2), GreyLevelEngine()) as pipeline:
        first, second = pipeline
    disk = HangingDisk()
    board = Board(clock=MonotonicClock(), marks=disk)
    board.write(first)
    marking = threading.Thread(target=board.mark)
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
    assert (board.mark_tries, board.mark_error) == (1, "")
