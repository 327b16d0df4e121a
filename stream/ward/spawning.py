"""Processes of a ward: fresh ones, that have nothing of it but their task and the line to it.

What they are to do goes to them by a pipe: an address with a password stands in no command line and no environment.
"""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream.ward.processes.link import read_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

KILL_S = 1.0
"""A process that was killed is waited for no longer: one that a driver holds in the kernel does not end, and the others
must not wait for it."""
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
    def connection(self) -> Connection[Any, Any]:
        """Ready to be read when there is something to hear, also that the process has ended."""
        return self._connection

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        try:
            while len(found) < MOST_AT_ONCE and self._connection.poll():
                found.append(read_message(self._connection))
        except (EOFError, OSError):
            return found, False
        return found, True

    def send(self, command: bytes) -> None:
        with suppress(OSError):
            self._connection.send_bytes(command)

    def exit_code(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        if self._process.exitcode is None:
            self._process.join(0.2)  # one that is at its end has its own code
        self._process.kill()
        self._process.join(KILL_S)
        self._connection.close()
