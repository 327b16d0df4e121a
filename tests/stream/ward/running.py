"""A ward that runs in a thread, or as the command; tests wait for states, and for no fixed time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.experiments.ward import rig
from stream.ward.view import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.ward.view import FeedView, WardView

LONGEST_S = 60.0
ANALYSIS = '[analysis]\nbackend = "openvino"\nprecision = "fp32"\n'
"""An engine of which nothing must be tried first."""


def until(holds: Callable[[], object], *, what: str, seconds: float = LONGEST_S) -> None:
    """Waits until something holds; fails with `what` was waited for."""
    give_up_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_s, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)


class RunningWard(rig.RunningWard):
    """That of the benchmarks, with what tests ask of it; it waits as tests do."""

    def feed(self, name: str) -> FeedView:
        return next(feed for feed in self.view.feeds if feed.name == name)

    def pid(self, name: str) -> int:
        """Of a feed's process, or the engine's."""
        return self.ward.pids()[name]

    def until(self, holds: Callable[[WardView], object], *, what: str) -> None:
        try:
            until(lambda: holds(self.view), what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.view}\n" + "\n".join(self.lines)) from None

    def until_all_show(self, *shown: str) -> None:
        self.until(lambda view: all(feed.shown in shown for feed in view.feeds), what=f"feeds that show {shown}")

    def until_engine_is(self, state: ProcessState) -> None:
        self.until(lambda view: view.engine.state is state, what=f"an engine that is {state}")
