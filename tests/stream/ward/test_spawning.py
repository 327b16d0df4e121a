"""A process of a ward that a driver holds in the kernel does not end when it is killed, and holds up nobody."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream.common.clock import ManualClock
from stream.ward.keeper import STOPPING_S, Keeper, KeeperLimits
from stream.ward.spawning import SpawnedChild, wait_for_ends
from stream.ward.view import ProcessState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ward runs on Linux")


def sleep(connection: Connection[Any, Any], task: object) -> None:
    connection.send_bytes(b'{"kind": "ready"}')
    threading.Event().wait(60)


@pytest.fixture
def child() -> Iterator[SpawnedChild]:
    child = SpawnedChild(sleep, None, name="partum-test")
    while not child.messages()[0]:
        assert wait([child.waitable], 30)
    yield child
    child.kill()  # a process that is stopped ends by no other signal
    wait_for_ends([child], 30)


def test_a_process_that_no_signal_ends_is_not_waited_for(child: SpawnedChild, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(type(child._process), "kill", lambda process: None)
        child.kill()
        began_s = time.monotonic()
        wait_for_ends([child], 0.05)
        assert time.monotonic() - began_s < 5
        assert child.exit_code() is None
    os.kill(child.pid, signal.SIGKILL)
    wait_for_ends([child], 30)
    assert child.exit_code() == -signal.SIGKILL


def test_the_end_of_a_process_is_heard_with_its_exit_code(child: SpawnedChild) -> None:
    os.kill(child.pid, signal.SIGKILL)
    while child.exit_code() is None:
        assert wait([child.waitable], 30)
        child.messages()
    assert child.messages() == ([], False)
    assert child.exit_code() == -signal.SIGKILL


def test_a_process_that_is_stopped_waits_for_no_processor(child: SpawnedChild) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    before_s = child.waited_s()
    assert before_s > 0  # so short a life has had to wait already
    time.sleep(0.01)
    assert child.waited_s() == before_s
    child.kill()
    wait_for_ends([child], 30)
    assert child.exit_code() == -signal.SIGKILL
    assert child.waited_s() == 0


def test_processes_that_do_not_end_are_ended_together_and_hold_up_nobody() -> None:
    clock, lines, children = ManualClock(), list[str](), list[SpawnedChild]()

    def spawn() -> SpawnedChild:
        children.append(SpawnedChild(sleep, None, name="partum-test"))
        return children[-1]

    limits = KeeperLimits(stuck_s=10.0, memory_mb=500.0)
    keepers = [Keeper(name, spawn, limits=limits, clock=clock, told=lines.append) for name in "abcd"]
    try:
        for keeper in keepers:
            keeper.begin()
        while not all(keeper.state is ProcessState.RUNNING for keeper in keepers):
            assert wait([child.waitable for child in children], 30)
            for keeper in keepers:
                keeper.step()
        for child in children[::2]:
            os.kill(child.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        for keeper in keepers:
            keeper.stop()  # none of them listens
        clock.advance(round(STOPPING_S * 1e9))
        for keeper in keepers:
            keeper.step()
        assert all(keeper.is_over for keeper in keepers)
        assert time.monotonic() - began_s < 2  # it took more than one each
        assert len(lines) == 4
    finally:
        for keeper in keepers:
            keeper.kill()
        wait_for_ends(children, 30)
    assert [child.exit_code() for child in children] == [-signal.SIGKILL] * 4
