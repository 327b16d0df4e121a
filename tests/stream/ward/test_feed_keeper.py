"""What the wall is told of a feed: no number of a process that is silent, and what a frame takes of the processor."""

from __future__ import annotations

from typing import Any

import pytest

from stream.app.options.session_options import SessionOptions
from stream.common.clock import ManualClock
from stream.ward.config import FeedConfig
from stream.ward.feed_keeper import FeedKeeper
from stream.ward.processes.link import BEAT, READY
from stream.ward.tables import LimitsTable
from stream.ward.view import FeedView, ProcessState
from tests.stream.ward.test_keeper import ToldChild

CONFIG = FeedConfig(
    name="room-1",
    label="Room 1",
    options=SessionOptions(source="rtsp://host/live", live=True),
    rate_hz=30.0,
    force=False,
)
AOP = {"value": 121.0, "low": 116.0, "high": 126.0, "interval": "absolute", "is_fresh": True, "age_s": 0.1}
READY_SAID = {"kind": READY, "host": "127.0.0.1", "port": 4321, "token": "hidden"}


class Feed:
    """A feed's keeper, its clock and its process."""

    def __init__(self) -> None:
        self.clock, self.child = ManualClock(), ToldChild()
        self.lines: list[str] = []
        self.keeper = FeedKeeper(
            CONFIG, lambda: self.child, limits=LimitsTable(), clock=self.clock, told=self.lines.append
        )
        self.keeper.begin()

    def after(self, seconds: float, *messages: dict[str, Any]) -> FeedView:
        self.clock.advance(round(seconds * 1e9))
        self.child.said += messages
        self.keeper.step()
        return self.keeper.view(CONFIG)


def beat(**facts: Any) -> dict[str, Any]:
    said = {"shown": "live", "reason": "", "aop": AOP, "hsd": None, "age_s": 0.1, "is_there": True, "cpu_s": 0.0}
    counts = {"measured": 0, "refused": 0, "dropped": 0}
    return {"kind": BEAT, "memory_mb": 100.0, "recording": "on", "frames": counts} | said | facts


def test_what_a_feed_says_is_shown_with_its_page() -> None:
    feed = Feed()
    starting = feed.keeper.view(CONFIG)
    assert (starting.state, starting.shown, starting.page, starting.aop) == (ProcessState.STARTING, "", None, None)
    view = feed.after(1.0, READY_SAID, beat())
    assert (view.state, view.shown, view.label) == (ProcessState.RUNNING, "live", "Room 1")
    assert view.aop is not None
    assert (view.aop.value, view.aop.low, view.aop.high) == (121.0, 116.0, 126.0)
    assert view.page is not None
    assert view.page.url == "http://127.0.0.1:4321/"
    assert "hidden" not in repr(view)


@pytest.mark.parametrize(
    ("silent_s", "has_number", "shown"), [(0.5, True, "live"), (0.95, False, "live"), (1.1, False, "delayed")]
)
def test_a_silent_feed_shows_no_number(silent_s: float, has_number: bool, shown: str) -> None:
    """A tenth of a second old when it was said: it may be shown for nine tenths more."""
    feed = Feed()
    feed.after(1.0, READY_SAID, beat())
    view = feed.after(silent_s)
    assert (view.aop is not None, view.shown) == (has_number, shown)
    assert view.age_s == pytest.approx(0.1 + silent_s)


def test_a_feed_that_ended_shows_nothing_of_before() -> None:
    feed = Feed()
    feed.after(1.0, READY_SAID, beat())
    feed.child.code = -9
    view = feed.after(0.1)
    assert (view.state, view.shown, view.aop, view.age_s, view.page) == (ProcessState.RESTARTING, "", None, None, None)
    assert "killed by SIGKILL" in view.reason


def test_what_a_frame_takes_is_that_of_the_last_seconds() -> None:
    feed = Feed()
    feed.after(1.0, READY_SAID, beat())
    assert feed.keeper.load(CONFIG).cpu_s is None  # not known yet
    for second in range(1, 31):
        cost_s = 0.004 if second <= 10 else 0.010
        done, spent_s = 30 * second, 30 * (0.004 * min(second, 10) + cost_s * max(0, second - 10))
        counts = {"measured": done - 5, "refused": 5, "dropped": 100 * second}
        feed.after(1.0, beat(cpu_s=spent_s, frames=counts))
    assert feed.keeper.load(CONFIG).cpu_s == pytest.approx(0.010)
    assert feed.keeper.view(CONFIG).cores == pytest.approx(0.3, rel=0.01)


def test_a_feed_that_waits_for_a_server_is_not_replaced_for_it() -> None:
    feed = Feed()
    feed.after(1.0, READY_SAID, beat())
    for _ in range(30):
        assert feed.after(1.0, beat(is_engine_away=True)).state is ProcessState.RUNNING
    assert feed.keeper.is_engine_away
    for _ in range(9):
        assert feed.after(1.0, beat()).state is ProcessState.RUNNING
    for _ in range(3):
        feed.after(1.0, beat())
    assert not feed.keeper.is_engine_away
    assert "finished no frame for 10 s" in feed.keeper.reason


def test_it_is_said_once_that_nothing_is_recorded_and_once_that_it_goes_on() -> None:
    feed = Feed()
    feed.after(1.0, READY_SAID, beat())
    for said in ("x: cannot be written", "x: cannot be written", "the disk has no room", "on", "on"):
        feed.after(0.2, beat(recording=said))
    assert feed.lines == ["room-1: nothing is recorded: x: cannot be written", "room-1: recording goes on"]
