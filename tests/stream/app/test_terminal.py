"""What the terminal says of a feed: the page's own words in a line, a line a change in a log, and what would help."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from stream.app.options.session_options import SessionOptions
from stream.app.remedies import suggest_remedies
from stream.app.terminal import ChangeLog, show_progress, state_line
from stream.common.clock import ManualClock
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.outputs.web.board import Board
from stream.pipeline.record import FrameState, Measurement
from stream.pipeline.throughput import Throughput, ThroughputMeter, overload_message
from stream.sources.live.base import LinkState, LinkStatus

if TYPE_CHECKING:
    pass

NAME = "rtsp://***@10.0.0.7/live"


class Source:
    """A live source whose link the test sets."""

    def __init__(self) -> None:
        self.status = LinkStatus(
            link=LinkState.CONNECTING, reason="", connections=0, frames=0, lost=0, last_frame_ns=None
        )

    def now(self, link: LinkState, reason: str = "") -> None:
        self.status = replace(self.status, link=link, reason=reason)


def board_of(source: Source, clock: ManualClock) -> Board:
    return Board(clock=clock, source=source, name=NAME, remedies=["--early-exit", "fewer feeds"])  # type: ignore[arg-type]


def measurement(index: int, clock: ManualClock, **changes: Any) -> Measurement:
    frame = Frame(
        image=np.zeros((4, 4), np.uint8),
        index=index,
        pts=index,
        time_base=Fraction(1, 25),
        captured_ns=clock.now_ns() - 60_000_000,
    )
    settings: dict[str, Any] = {"state": FrameState.MEASURED, "latency_ms": 60.0, "protocol": "robust", **changes}
    return Measurement(frame=frame, **settings)


def feed(board: Board, clock: ManualClock, *, every: int) -> None:
    """Five seconds at 25 Hz, of which every n-th frame is measured."""
    for index in range(125):
        is_dropped = index % every
        changes = {"state": FrameState.DROPPED, "reason": Reason.OVERLOAD} if is_dropped else {}
        board.write(measurement(index, clock, **changes))
        clock.advance(40_000_000)


def test_the_line_of_a_feed_says_state_frames_rate_age_and_drops() -> None:
    clock, source = ManualClock(), Source()
    board = board_of(source, clock)
    assert state_line(board) == "connecting  0 frames  measured 0 of 0/s  age -  0 dropped"
    source.now(LinkState.CONNECTING, f"{NAME}: cannot be opened (Connection refused)")
    assert state_line(board).endswith("0 dropped  rtsp://***@10.0.0.7/live: cannot be opened (Connection refused)")
    source.now(LinkState.LIVE)
    feed(board, clock, every=1)
    assert state_line(board) == "live  125 frames  measured 25 of 25/s  age 0.10 s  0 dropped"
    board.write(measurement(125, clock, state=FrameState.REFUSED, reason=Reason.NO_PS))
    assert state_line(board).startswith("no plane  126 frames  measured 25 of 25/s  age 0.06 s  0 dropped  no pubic")


def test_a_machine_that_does_not_keep_up_says_so_and_what_would_help() -> None:
    clock, source = ManualClock(), Source()
    board = board_of(source, clock)
    source.now(LinkState.LIVE)
    feed(board, clock, every=8)
    words = "this machine measures 3 of 25 frames a second; what helps: --early-exit, fewer feeds"
    assert words in state_line(board)
    log = ChangeLog(board)
    assert log.changes() == [f"{NAME}: live", f"{NAME}: {words}"]
    assert log.changes() == []


def test_a_run_ends_with_what_the_machine_did_not_manage() -> None:
    clock = ManualClock()
    board = board_of(Source(), clock)
    feed(board, clock, every=8)
    words = "this machine measured 16 of 125 frames; what helps: --early-exit"
    assert overload_message(board.statistics, ["--early-exit"]) == words
    kept_up = board_of(Source(), clock)
    feed(kept_up, clock, every=1)
    assert overload_message(kept_up.statistics, ["--early-exit"]) == ""


def test_a_log_gets_a_line_for_each_change_and_none_for_seconds_that_pass() -> None:
    clock, source = ManualClock(), Source()
    board = board_of(source, clock)
    log = ChangeLog(board)
    board.write(measurement(0, clock))
    lines = []
    for link, reason in (
        (LinkState.CONNECTING, ""),
        (LinkState.CONNECTING, f"{NAME}: cannot be opened (Connection refused)"),
        (LinkState.LIVE, ""),
        (LinkState.NO_SIGNAL, "no picture for 1 s"),
        (LinkState.NO_SIGNAL, "no picture for 2 s"),
        (LinkState.RECONNECTING, f"{NAME}: lost (End of file)"),
        (LinkState.LIVE, ""),
        (LinkState.CLOSED, ""),
    ):
        source.now(link, reason)
        lines += log.changes()
    assert lines == [
        f"{NAME}: connecting",
        f"{NAME}: connecting (cannot be opened (Connection refused))",
        f"{NAME}: live",
        f"{NAME}: no signal (no picture for 1 s)",
        f"{NAME}: reconnecting (lost (End of file))",
        f"{NAME}: live",
    ]
    source.now(LinkState.LIVE)
    clock.advance(1_500_000_000)
    assert log.changes() == [f"{NAME}: delayed (the newest result is 2 s old: its picture came late)"]
    board.write(measurement(1, clock, state=FrameState.REFUSED, reason=Reason.NO_PS))
    assert log.changes() == [f"{NAME}: live"]
    board.write(measurement(2, clock))
    assert log.changes() == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_feed_is_followed_on_a_terminal_and_in_a_log(is_terminal: bool) -> None:
    clock, source = ManualClock(), Source()
    source.now(LinkState.CONNECTING, f"{NAME}: cannot be opened (Connection refused)")
    run: Any = SimpleNamespace(board=board_of(source, clock), options=SessionOptions(live=True), total=None)
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=60)
    with show_progress([run], console) as advances:
        advances[0]()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "connecting" in written
    assert "Connection refused" in " ".join(written.split())
    assert ("\x1b[" in written) == is_terminal


def test_no_rate_is_made_up_of_too_little() -> None:
    clock = ManualClock()
    meter = ThroughputMeter()
    assert meter.at(0) == Throughput()
    meter.add(measurement(0, clock), 0)
    assert meter.at(10**9) == Throughput()
    meter.add(measurement(1, clock), 0)
    assert meter.at(0) == Throughput()
    assert meter.at(10**9).measured_hz == pytest.approx(1.0)
    assert meter.at(10**10) == Throughput()


@pytest.mark.parametrize(
    ("options", "feeds", "expected"),
    [
        (
            {"source": "screen:", "live": True},
            1,
            ["--no-overlay", "--early-exit", "a region of the screen, screen:WxH+X+Y"],
        ),
        (
            {"source": "v4l2:/dev/video0", "live": True, "overlay": False, "record": True, "backend": "torch"},
            1,
            ["no --record", "--early-exit", "--backend auto", "a smaller ?size= or ?rate= of the device"],
        ),
        (
            {"source": "rtsp://a/b", "live": True, "overlay": False, "early_exit": True},
            3,
            ["fewer feeds on one machine", "a lower frame rate at the sender"],
        ),
    ],
)
def test_only_what_is_true_for_a_run_is_said_to_help(options: dict[str, Any], feeds: int, expected: list[str]) -> None:
    *found, last = suggest_remedies(SessionOptions(**options), feeds=feeds)
    assert found == expected
    assert last == "a faster machine (see: partum bench stream)"


def test_of_a_ward_the_keys_of_its_file_are_said_to_help() -> None:
    options = SessionOptions(source="rtsp://a/b", live=True, overlay=False, backend="torch")
    assert list(suggest_remedies(options, is_ward=True))[:3] == [
        "fewer feeds on one machine",
        "early-exit = true in [analysis]",
        'backend = "auto" in [analysis]',
    ]
