"""What a ward tells systemd, or whatever else started it with `NOTIFY_SOCKET`: the protocol of sd_notify(3).

    READY=1       the wall answers, and every feed was started or refused, or the engine has said why it does not start
    STATUS=...    one line: feeds that run, and what is wrong
    RELOADING=1   until READY=1 again
    STOPPING=1
    WATCHDOG=1    from the ward's own loop, so that one that is stuck is ended and started again

A datagram each, to a Unix socket that a file or, with `@`, an abstract name stands for.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from stream.ward.view import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from stream.common.clock import Clock
    from stream.ward.view import WardView

LOOK_S = 1.0
"""How often the status is looked at."""
LONGEST_STATUS = 200
"""Letters."""


class ServiceManager:
    """The line to the service manager; where there is none, nothing is said.

    A context manager, which ends with `STOPPING=1`.

    Args:
        environment: of this process. What is read of it is taken out: processes that are started by this one must not
            speak for it.
        clock: tells how often something is said.
        process: id of this process.
    """

    def __init__(self, environment: MutableMapping[str, str], *, clock: Clock, process: int) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        interval, asked = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", str(process))
        self._clock = clock
        self._socket: socket.socket | None = None
        if address[:1] in ("/", "@"):
            self._address = f"\0{address[1:]}" if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        is_watched = interval.isdecimal() and asked == str(process)
        self.watchdog_s = int(interval) / 2e6 if is_watched else None
        """A sign of life is due so often: half of what the service manager waits; None where it does not wait."""
        self._looked_ns = self._alive_ns = clock.now_ns() - 10**15
        self._is_ready = False
        self._status = ""

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def turn(self, view: Callable[[], WardView], *, is_well: Callable[[], bool]) -> None:
        """Once in each turn of the ward's loop: says what is due.

        Args:
            view: the ward as it is now; asked for only where it is looked at.
            is_well: whether the wall answers; without that the ward is not ready, and gives no sign of life.
        """
        if self._socket is None:
            return
        now_ns = self._clock.now_ns()
        if self.watchdog_s is not None and now_ns - self._alive_ns >= self.watchdog_s * 1e9 and is_well():
            self._alive_ns = now_ns
            self._say("WATCHDOG=1")
        if now_ns - self._looked_ns < LOOK_S * 1e9:
            return
        self._looked_ns = now_ns
        found = view()
        is_ready = self._is_ready or (is_settled(found) and is_well())
        status = status_of(found)
        words = ["READY=1"] if is_ready and not self._is_ready else []
        words += [f"STATUS={status}"] if status != self._status else []
        if words and self._say(*words):  # what did not get through is said again
            self._is_ready, self._status = is_ready, status

    def reloading(self) -> None:
        """The configuration is read again; to be followed by `reloaded`, however that went."""
        # Type=notify-reload, of systemd 253, wants the time; Type=notify takes no notice of it.
        if self._is_ready:
            self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        if self._is_ready:
            self._say("READY=1")
        self._looked_ns = self._clock.now_ns() - 10**15

    def stopping(self) -> None:
        self._say("STOPPING=1", "STATUS=stopping: what is under way is written")

    def close(self) -> None:
        """Nothing is said any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, *words: str) -> bool:
        """Whether it got through: a service manager that does not listen must not hold up the ward."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(words).encode(), self._address)
        except OSError:
            return False
        return True


def is_settled(ward: WardView) -> bool:
    """Whether every feed was started or refused, or the engine that they wait for has said why there is none."""
    waits = any(feed.state is ProcessState.STARTING and feed.is_waiting for feed in ward.feeds)
    return not waits or ward.engine.state is ProcessState.RESTARTING or ward.engine.restarts > 0


def status_of(ward: WardView) -> str:
    """A ward in a line: `3 of 4 feeds run; room 2: restarting`."""
    running = sum(feed.state is ProcessState.RUNNING for feed in ward.feeds)
    wrong = [f"{feed.name} {feed.state}" for feed in ward.feeds if feed.state is not ProcessState.RUNNING]
    if ward.engine.state is not ProcessState.RUNNING:
        wrong.append(f"engine {ward.engine.state}")
    if ward.recording.state == "stopped":
        wrong.append("nothing is recorded")
    if ward.reload_error:
        wrong.append("the changed configuration was not taken")
    line = "; ".join([f"{running} of {len(ward.feeds)} feeds run", *([", ".join(wrong)] if wrong else [])])
    return line if len(line) <= LONGEST_STATUS else f"{line[: LONGEST_STATUS - 4]} ..."
