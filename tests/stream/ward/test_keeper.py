"""A process is started again with pauses that grow, and replaced where it hangs, grows or ends; on our own clock."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from stream.common.clock import ManualClock
from stream.ward.keeper import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOST_S, STARTING_S, STOPPING_S, Keeper, KeeperLimits
from stream.ward.processes.link import BEAT, FAILED, NOTE, READY, STOP
from stream.ward.view import ProcessState


class ToldChild:
    """A process that says what the test says."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.commands: list[bytes] = []
        self.code: int | None = None
        self.is_there = True
        self.is_killed = False
        self.pid = 1
        self.waited = 0.0

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        found, self.said = self.said, []
        return found, self.is_there and self.code is None

    def send(self, command: bytes) -> None:
        self.commands.append(command)

    def exit_code(self) -> int | None:
        return self.code

    def waited_s(self) -> float:
        return self.waited

    def kill(self) -> None:
        self.is_killed = True
        self.code = -signal.SIGKILL if self.code is None else self.code


class Bench:
    """A keeper, its clock, its children and its log."""

    def __init__(self, **more: Any) -> None:
        self.clock = ManualClock()
        self.error: OSError | None = None
        self.children: list[ToldChild] = []
        self.lines: list[str] = []
        self.keeper = Keeper(
            "room-1",
            self.spawn,
            limits=KeeperLimits(stuck_s=10.0, memory_mb=500.0),
            clock=self.clock,
            told=self.lines.append,
            **more,
        )
        self.keeper.begin()

    def spawn(self) -> ToldChild:
        if self.error is not None:
            raise self.error
        self.children.append(ToldChild())
        return self.children[-1]

    def after(self, seconds: float, *messages: dict[str, Any]) -> ProcessState:
        self.clock.advance(round(seconds * 1e9))
        self.children[-1].said += messages
        self.keeper.step()
        return self.keeper.state

    def pass_by(self, seconds: float) -> None:
        """In looks of a second."""
        for _ in range(round(seconds)):
            self.after(1)

    def runs(self) -> None:
        assert self.after(1, {"kind": READY}) is ProcessState.RUNNING


def beat(**facts: Any) -> dict[str, Any]:
    return {"kind": BEAT, "memory_mb": 100.0} | facts


def test_a_process_that_ends_is_started_again_and_says_why() -> None:
    bench = Bench()
    bench.runs()
    bench.after(20, beat())
    bench.children[-1].code = -signal.SIGKILL
    assert bench.after(0.1) is ProcessState.RESTARTING
    assert bench.keeper.reason == "its process ended (killed by SIGKILL, as for want of memory)"
    assert bench.keeper.next_start_s == pytest.approx(FIRST_PAUSE_S)
    assert bench.after(FIRST_PAUSE_S) is ProcessState.STARTING
    assert (len(bench.children), bench.keeper.restarts) == (2, 1)
    assert bench.keeper.reason  # until it works again
    bench.runs()
    assert bench.keeper.reason == ""
    assert bench.lines == [
        "room-1: its process ended (killed by SIGKILL, as for want of memory); started again in 0.5 s"
    ]


def test_its_own_last_words_go_before_its_exit_code() -> None:
    bench = Bench()
    bench.runs()
    bench.children[-1].code = 1
    bench.after(1, {"kind": FAILED, "reason": "rtsp://host/live: refused"})
    assert bench.keeper.reason == "rtsp://host/live: refused"


def test_pauses_grow_to_a_limit_and_begin_anew_once_it_worked() -> None:
    bench = Bench()
    pauses = []
    for _ in range(9):
        bench.children[-1].code = 1
        bench.after(0.1)
        pauses.append(bench.keeper.next_start_s)
        assert pauses[-1] is not None
        bench.after(pauses[-1])
    assert pauses[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)
    bench.runs()
    bench.after(6, beat())
    bench.children[-1].code = 1
    bench.after(0.1)
    assert bench.keeper.next_start_s == pytest.approx(FIRST_PAUSE_S)


def test_one_that_gives_no_sign_is_killed() -> None:
    bench = Bench()
    bench.runs()
    bench.after(9.9, beat())
    bench.pass_by(10)
    assert bench.keeper.state is ProcessState.RUNNING
    assert bench.after(0.2) is ProcessState.RESTARTING
    assert bench.children[0].is_killed
    assert "no sign of life for 10 s" in bench.keeper.reason


def test_one_that_starts_has_longer() -> None:
    bench = Bench()
    bench.pass_by(STARTING_S)
    assert bench.keeper.state is ProcessState.STARTING
    assert bench.after(1) is ProcessState.RESTARTING


def test_one_that_waits_for_a_processor_is_not_stuck() -> None:
    bench = Bench(progress=lambda beat: beat["frames"])
    bench.runs()
    seconds = 0
    while bench.keeper.state is ProcessState.RUNNING:
        seconds += 1
        bench.children[-1].waited += 0.8
        bench.after(1, beat(frames=7))
    # Its first frame, three seconds in full until it was in doubt, and a fifth of each later one.
    assert seconds == pytest.approx(1 + 3 + 7 / 0.2, abs=1)
    assert "finished no frame for 10 s" in bench.keeper.reason


def test_one_of_which_some_threads_wait_while_it_hangs_is_replaced_some_time() -> None:
    bench = Bench()
    bench.runs()
    seconds = 0
    while bench.keeper.state is ProcessState.RUNNING:
        seconds += 1
        bench.children[-1].waited += 20.0
        bench.after(1)
    assert seconds == pytest.approx(3 + 7 / 0.1, abs=1)


def test_a_ward_that_did_not_run_blames_no_process() -> None:
    bench = Bench()
    bench.runs()
    assert bench.after(3600) is ProcessState.RUNNING
    assert bench.after(8) is ProcessState.RUNNING
    assert bench.after(0.1, beat()) is ProcessState.RUNNING


def test_one_whose_line_broke_has_a_moment_for_its_exit_code() -> None:
    bench = Bench()
    bench.runs()
    bench.children[-1].is_there = False
    assert bench.after(LOST_S / 2) is ProcessState.RUNNING
    bench.children[-1].code = 3
    assert bench.after(0.1) is ProcessState.RESTARTING
    assert bench.keeper.reason == "its process ended (exit code 3)"
    bench.after(FIRST_PAUSE_S)
    bench.runs()
    bench.children[-1].is_there = False
    bench.after(0.1)
    assert bench.after(LOST_S) is ProcessState.RESTARTING
    assert bench.children[-1].is_killed
    assert bench.keeper.reason == "its process broke its line to the ward"


def test_one_that_beats_but_does_not_get_on_is_killed() -> None:
    bench = Bench(progress=lambda beat: beat["frames"])
    bench.runs()
    for second in range(20):
        assert bench.after(1, beat(frames=second)) is ProcessState.RUNNING
    for _ in range(10):
        bench.after(1, beat(frames=19))
    assert bench.after(1, beat(frames=19)) is ProcessState.RESTARTING
    assert "finished no frame" in bench.keeper.reason


def test_one_whose_source_is_away_or_that_waits_for_another_is_left_alone() -> None:
    bench = Bench(progress=lambda beat: beat["frames"])
    bench.runs()
    for _ in range(30):
        assert bench.after(1, beat(frames=None)) is ProcessState.RUNNING
    for _ in range(30):
        bench.keeper.excuse()
        assert bench.after(1, beat(frames=3)) is ProcessState.RUNNING


def test_one_that_holds_too_much_memory_is_killed() -> None:
    bench = Bench()
    bench.runs()
    assert bench.after(1, beat(memory_mb=499)) is ProcessState.RUNNING
    assert bench.after(1, beat(memory_mb=501)) is ProcessState.RESTARTING
    assert bench.keeper.reason == "holds 501 MB, more than 500"


def test_one_that_is_asked_to_end_has_time_and_no_longer() -> None:
    bench = Bench()
    bench.runs()
    bench.keeper.stop()
    assert bench.children[0].commands == [STOP]
    assert bench.after(STOPPING_S - 1, beat(), {"kind": NOTE, "line": "closing"}) is ProcessState.RUNNING
    assert bench.lines == ["room-1: closing"]
    bench.children[0].code = 0
    assert bench.after(0.5) is ProcessState.STOPPED
    assert not bench.keeper.restarts

    slow = Bench()
    slow.runs()
    slow.keeper.stop()
    assert slow.after(STOPPING_S + 0.1, beat()) is ProcessState.STOPPED
    assert slow.children[0].is_killed


def test_one_that_is_asked_to_end_before_it_is_ready_is_killed_for_it_may_not_hear() -> None:
    bench = Bench()
    bench.keeper.stop()
    assert (bench.keeper.state, bench.children[0].is_killed) == (ProcessState.STOPPED, True)


def test_a_machine_that_has_no_process_left_is_asked_again() -> None:
    bench = Bench()
    bench.runs()
    bench.children[-1].code, bench.error = 1, OSError(11, "Resource temporarily unavailable")
    bench.after(0.1)
    assert bench.after(FIRST_PAUSE_S) is ProcessState.RESTARTING
    assert bench.keeper.reason == "no process can be started (Resource temporarily unavailable)"
    bench.error = None
    assert bench.after(2 * FIRST_PAUSE_S) is ProcessState.STARTING
    bench.runs()
