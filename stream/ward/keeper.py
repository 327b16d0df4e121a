"""Keeps one process running: starts it, hears its signs of life, replaces it where it ends or hangs.

    begin --> starting --ready--> running --ended, stuck, too large--> restarting --pause--> starting
                                     '--stop--> stopped

A process that worked for a while is started again at once; one that ends again and again after longer and longer
pauses. Whatever it was, the reason is kept until it works again. Nothing here waits for a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stream.common.child_process import exit_text
from stream.ward.processes.link import BEAT, FAILED, NOTE, READY, STOP
from stream.ward.processes.standstill import DOUBT_S, PassedTime
from stream.ward.view import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.common.clock import Clock

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 5.0
"""A process that has worked for so long is started again after the first pause."""
STARTING_S = 120.0
"""A process that is not ready by then hangs: the first start on a machine tries several engines."""
STOPPING_S = 6.0
"""A process that was asked to end and has not by then is ended."""
STARTED_AGAIN = "; started again in "
"""In the log, between the reason and the pause."""
LOST_S = 0.5
"""A process whose line broke has so long for its exit code, which says more."""


class Child(Protocol):
    """A process and the line to it; see `stream.ward.spawning.SpawnedChild`."""

    @property
    def pid(self) -> int: ...

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """What it has said since, without waiting; and whether its line is still there."""

    def send(self, command: bytes) -> None:
        """One of the commands of `stream.ward.processes.link`; a process that has gone is no error."""

    def exit_code(self) -> int | None:
        """None while it lives."""

    def waited_s(self) -> float:
        """How long its threads have waited for a processor so far."""

    def kill(self) -> None:
        """Ends it without waiting for it: one that a driver holds in the kernel does not end."""


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """From when on a process is replaced.

    Attributes:
        stuck_s: it gave no sign of life, or did not get on, for so long, beside what it waited for a processor.
        memory_mb: it holds more; infinite for no limit.
    """

    stuck_s: float
    memory_mb: float


class Keeper:
    """One process's keeper. All methods are for one thread.

    Args:
        name: of what runs in it, for people.
        spawn: starts it.
        limits: see there.
        clock: tells pauses and silence.
        told: takes lines for the log.
        progress: what of a beat must change while a process gets on; it returns None where it need not.
    """

    def __init__(
        self,
        name: str,
        spawn: Callable[[], Child],
        *,
        limits: KeeperLimits,
        clock: Clock,
        told: Callable[[str], None],
        progress: Callable[[dict[str, Any]], object | None] = lambda beat: None,
    ) -> None:
        self.name, self._spawn, self.limits = name, spawn, limits
        self._clock, self._told, self._progress = clock, told, progress
        self.state, self.reason = ProcessState.STARTING, ""
        self.child: Child | None = None
        self.ready: dict[str, Any] = {}
        """What it said when it began to work."""
        self.beat: dict[str, Any] = {}
        """Its last sign of life; empty unless it runs."""
        self.restarts = 0
        now_ns = clock.now_ns()
        self.since_ns = self._heard_ns = self._started_ns = self._due_ns = now_ns
        self._time = PassedTime(now_ns)
        self._silent_s = self._still_s = 0.0
        self._lost_ns: int | None = None
        self._progressed: object = None
        self._pause_s = FIRST_PAUSE_S
        self._failed = ""
        self._is_stopping = False

    @property
    def next_start_s(self) -> float | None:
        """Seconds until it is started again; None unless it waits for that."""
        if self.state is not ProcessState.RESTARTING:
            return None
        return max(0.0, (self._due_ns - self._clock.now_ns()) / 1e9)

    @property
    def is_over(self) -> bool:
        """Whether it was asked to end, and has."""
        return self.state is ProcessState.STOPPED

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is silent, or does not get on, for longer than one that works."""
        return max(self._silent_s, self._still_s) > DOUBT_S

    def begin(self) -> None:
        """Starts the process."""
        self._started_ns = self._heard_ns = self._clock.now_ns()
        self._time = PassedTime(self._started_ns)
        self._silent_s = self._still_s = 0.0
        self._lost_ns = None
        self._failed, self.beat, self.ready = "", {}, {}
        self._set(ProcessState.STARTING)
        try:
            self.child = self._spawn()
        except OSError as error:  # the machine has no memory, or no process left
            self._restart(f"no process can be started ({error.strerror or error})")

    def refuse(self, reason: str) -> None:
        """Says that it is not started, and why."""
        if (self.state, self.reason) != (ProcessState.REFUSED, reason):
            self.reason = reason
            self._set(ProcessState.REFUSED)

    def stop(self) -> None:
        """Asks it to end in good order; of one that is not ready nothing is under way, and it may not hear."""
        self._is_stopping = True
        self._due_ns = self._clock.now_ns() + round(STOPPING_S * 1e9)
        if self.child is None:
            self._set(ProcessState.STOPPED)
        elif self.state is ProcessState.RUNNING:
            self.child.send(STOP)
        else:
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        self._is_stopping = True
        if self.child is not None:
            self.child.kill()
            self.child = None
        self._set(ProcessState.STOPPED)

    def excuse(self) -> None:
        """What keeps it from getting on is no fault of its own."""
        self._still_s = 0.0

    def step(self) -> None:
        """Hears it, and does what is due."""
        now_ns = self._clock.now_ns()
        if self.child is None:
            if self.state is ProcessState.RESTARTING and now_ns >= self._due_ns:
                self.restarts += 1
                self.begin()
            return
        passed_s = self._time.since_last(now_ns, self.child.waited_s if self.is_in_doubt else None)
        self._silent_s += passed_s
        self._still_s += passed_s
        is_there = self._hear(self.child, now_ns)
        if not is_there and self._lost_ns is None:
            self._lost_ns = now_ns
        if self.child.exit_code() is not None or self._is_lost(now_ns):
            self._ended()
        elif self._is_stopping:
            if now_ns >= self._due_ns:
                self._told(f"{self.name}: did not end within {STOPPING_S:.0f} s; it is killed")
                self.kill()
        elif reason := self._why_replaced():
            self.child.kill()
            self.child = None
            self._restart(reason)

    def _hear(self, child: Child, now_ns: int) -> bool:
        messages, is_there = child.messages()
        for message in messages:
            self._heard_ns, self._silent_s = now_ns, 0.0
            kind = message.get("kind")
            if kind == READY:
                self.ready, self.reason = message, ""
                self._started_ns, self._still_s = now_ns, 0.0
                self._set(ProcessState.RUNNING)
            elif kind == BEAT:
                self.beat = message
                progressed = self._progress(message)
                if progressed is None or progressed != self._progressed:
                    self._progressed, self._still_s = progressed, 0.0
            elif kind == FAILED:
                self._failed = str(message.get("reason", ""))
            elif kind == NOTE:
                self._told(f"{self.name}: {message.get('line', '')}")
        return is_there

    def _is_lost(self, now_ns: int) -> bool:
        return self._lost_ns is not None and now_ns - self._lost_ns >= LOST_S * 1e9

    def _why_replaced(self) -> str:
        stuck_s = self.limits.stuck_s if self.state is ProcessState.RUNNING else max(STARTING_S, self.limits.stuck_s)
        if self._silent_s > stuck_s:
            return f"gave no sign of life for {stuck_s:g} s"
        if self.state is not ProcessState.RUNNING:
            return ""
        if self._still_s > stuck_s:
            return f"finished no frame for {stuck_s:g} s, though its source is there"
        memory_mb = float(self.beat.get("memory_mb", 0.0))
        if memory_mb > self.limits.memory_mb:
            return f"holds {memory_mb:.0f} MB, more than {self.limits.memory_mb:.0f}"
        return ""

    def _ended(self) -> None:
        """It has ended, by itself or by somebody else."""
        assert self.child is not None
        self._hear(self.child, self._clock.now_ns())  # its last words
        code = self.child.exit_code()
        self.child.kill()
        self.child = None
        if self._is_stopping:
            self._set(ProcessState.STOPPED)
        else:
            said = "broke its line to the ward" if code is None else f"ended ({exit_text(code)})"
            self._restart(self._failed or f"its process {said}")

    def _restart(self, reason: str) -> None:
        now_ns = self._clock.now_ns()
        if self.state is ProcessState.RUNNING and now_ns - self._started_ns >= STEADY_S * 1e9:
            self._pause_s = FIRST_PAUSE_S
        self._due_ns = now_ns + round(self._pause_s * 1e9)
        self._told(f"{self.name}: {reason}{STARTED_AGAIN}{self._pause_s:g} s")
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.reason, self.beat, self.ready = reason, {}, {}
        self._set(ProcessState.RESTARTING)

    def _set(self, state: ProcessState) -> None:
        self.state, self.since_ns = state, self._clock.now_ns()
