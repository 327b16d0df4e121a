"""A disk that hangs, for those who write marks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from stream.outputs.marks import MarkKind

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement


class HangingDisk:
    """Takes marks when it is let."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.marked: list[Measurement] = []

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        self.entered.set()
        assert self.go.wait(60)
        self.marked.append(measurement)

    def close(self) -> None:
        pass
