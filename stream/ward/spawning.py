"""Processes of a ward: fresh ones, that have nothing of it but their task and the line to it.

What they are to do goes to them by a pipe: an address with a password stands in no command line and no environment.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from stream.common.child_process import processor_wait_s
from stream.ward.processes.link import read_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

KILL_S = 1.0
"""At the end of a ward killed processes are waited for no longer, all together: one held by a driver does not end."""
MOST_AT_ONCE = 64
"""Messages read at a time, so that a process that talks without end holds up no other."""


class SpawnedChild:
    """A `stream.ward.keeper.Child`. To be started by the ward's main thread: Linux ends it with the thread."""

    def __init__(self, run: Callable[[Connection[Any, Any], Any], None], task: object, *, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=run, args=(theirs, task), name=name, daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def waitable(self) -> Connection[Any, Any] | int:
        """For `multiprocessing.connection.wait`: ready when there is something to hear, or when the process ended."""
        return self._process.sentinel if self._connection.closed else self._connection

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        try:
            while len(found) < MOST_AT_ONCE and self._connection.poll():
                found.append(read_message(self._connection))
        except (EOFError, OSError):
            self._connection.close()
            return found, False
        return found, True

    def send(self, command: bytes) -> None:
        with suppress(OSError):
            self._connection.send_bytes(command)

    def exit_code(self) -> int | None:
        return self._process.exitcode

    def waited_s(self) -> float:
        return processor_wait_s(self.pid)

    def kill(self) -> None:
        self._process.kill()
        self._connection.close()


def wait_for_ends(children: Iterable[SpawnedChild], seconds: float = KILL_S) -> None:
    """Waits until processes that were killed have ended, all together no longer than that."""
    give_up_s = time.monotonic() + seconds
    while left := [child.waitable for child in children if child.exit_code() is None]:
        if not wait(left, max(0.0, give_up_s - time.monotonic())):
            return
