"""What a ward tells its service manager, heard on real sockets; and signals that come before there is a ward."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stream.common.clock import ManualClock
from stream.ward.service.notify import LONGEST_STATUS, ServiceManager, is_settled, status_of
from stream.ward.service.signals import WardSignals
from stream.ward.view import EngineView, FeedView, ProcessState, RecordingView, WardView
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNING = FeedView(name="a", label="A", state=ProcessState.RUNNING)
WAITING = FeedView(name="b", label="B", state=ProcessState.STARTING, is_waiting=True)
ENGINE = EngineView(state=ProcessState.RUNNING)
pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


class Manager:
    """A service manager, and a ward that talks to it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.clock = ManualClock()
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "HOME": "/"}
        self.line = ServiceManager(self.environment, clock=self.clock, process=7)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found

    def after(self, seconds: float, view: WardView, *, is_well: bool = True) -> list[str]:
        self.clock.advance(round(seconds * 1e9))
        self.line.turn(lambda: view, is_well=lambda: is_well)
        return self.heard()


@pytest.fixture(params=["a file", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "a file" else f"@partum-test-{os.getpid()}")
    yield made
    made.line.close()
    made.socket.close()


def test_the_service_manager_hears_of_start_watchdog_reload_and_end(manager: Manager) -> None:
    assert manager.environment == {"HOME": "/"}  # what the ward starts must not speak for it
    begins = WardView(feeds=(RUNNING, WAITING), engine=EngineView(state=ProcessState.STARTING))
    assert manager.after(0, begins) == ["WATCHDOG=1", "STATUS=1 of 2 feeds run; b starting, engine starting"]
    manager.line.reloading()
    manager.line.reloaded()
    assert manager.heard() == []  # it is not ready yet
    runs = WardView(feeds=(RUNNING, replace(WAITING, is_waiting=False)), engine=ENGINE)
    assert manager.after(1, runs, is_well=False) == ["STATUS=1 of 2 feeds run; b starting"]  # the wall must answer
    assert manager.after(1, runs) == ["READY=1"]
    assert manager.after(5, runs) == []
    assert manager.after(9, runs) == ["WATCHDOG=1"]  # half of what it waits
    assert manager.after(60, runs, is_well=False) == []
    manager.line.reloading()
    reloading = manager.heard()
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].startswith("MONOTONIC_USEC=")
    manager.line.reloaded()
    assert manager.heard() == ["READY=1"]
    manager.line.stopping()
    assert manager.heard()[0] == "STOPPING=1"


def test_a_service_manager_that_hears_nothing_holds_nothing_up(manager: Manager) -> None:
    runs = WardView(feeds=(RUNNING,), engine=ENGINE)
    for _ in range(1000):  # more than a socket takes
        manager.line.stopping()
    manager.line.turn(lambda: runs, is_well=lambda: True)
    manager.heard()
    assert "READY=1" in manager.after(1, runs)  # it did not get through at first
    manager.socket.close()
    manager.line.turn(lambda: runs, is_well=lambda: True)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_service_manager_nothing_is_asked_for(environment: dict[str, str]) -> None:
    line = ServiceManager(environment, clock=ManualClock(), process=7)
    line.turn(lambda: pytest.fail("the ward was asked"), is_well=lambda: True)
    line.stopping()


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    asked = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}
    assert ServiceManager(dict(asked), clock=ManualClock(), process=7).watchdog_s is None
    assert ServiceManager(dict(asked), clock=ManualClock(), process=8).watchdog_s == 0.5


def test_a_ward_is_settled_once_it_is_known_what_becomes_of_each_feed() -> None:
    waits = WardView(feeds=(RUNNING, WAITING))
    assert not is_settled(waits)
    assert is_settled(replace(waits, engine=EngineView(state=ProcessState.RESTARTING, reason="no answer")))
    assert is_settled(replace(waits, engine=EngineView(state=ProcessState.STARTING, restarts=1)))
    refused = replace(WAITING, state=ProcessState.REFUSED)
    restarting = replace(WAITING, state=ProcessState.RESTARTING, is_waiting=False)
    assert is_settled(WardView(feeds=(RUNNING, refused, restarting)))


def test_the_status_is_one_line_of_a_bounded_length() -> None:
    many = tuple(replace(WAITING, name=f"room-{number}", state=ProcessState.REFUSED) for number in range(40))
    ward = WardView(
        feeds=many, engine=ENGINE, recording=RecordingView(state="stopped", reason="full"), reload_error="x\ny"
    )
    assert len(status_of(ward)) <= LONGEST_STATUS
    assert "\n" not in status_of(replace(ward, feeds=(RUNNING,)))
    assert status_of(replace(ward, feeds=(RUNNING,))) == (
        "1 of 1 feeds run; nothing is recorded, the changed configuration was not taken"
    )


class Told:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def stop(self) -> None:
        self.calls.append("stop")

    def reload(self) -> None:
        self.calls.append("reload")


def test_signals_before_there_is_a_ward_are_passed_on() -> None:
    """In a process of its own: signals that are raised in one that has run other tests have crashed it."""
    program = "from tests.stream.ward.test_service import check_signals; check_signals()"
    subprocess.run([sys.executable, "-X", "faulthandler", "-c", program], cwd=REPOSITORY, check=True, timeout=60)


def check_signals() -> None:
    before, ward = signal.getsignal(signal.SIGHUP), Told()
    with WardSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        signals.pass_on(ward)
        assert ward.calls == ["stop", "reload"]
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
    assert ward.calls == ["stop", "reload", "stop", "reload"]
    assert signals.came == [signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGHUP) is before
