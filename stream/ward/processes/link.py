"""The line between a ward and a process of it: messages up, commands down; it ends with either of them.

Messages are JSON: what a process says that a broken video has taken over must not run in the ward.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

LONGEST_MESSAGE = 1 << 16
"""Bytes; a process that says more at once is broken."""
BEAT_S = 0.25
"""A process gives a sign of life so often."""
READY, BEAT, FAILED, NOTE = "ready", "beat", "failed", "note"
"""Kinds of messages: it works; a sign of life with its state; why it ends; a line for the log."""
STOP, HOLD, WRITE = b"stop", b"hold", b"write"
"""Commands: end in good order; write nothing; write again."""


class ParentLink:
    """The process's end.

    Args:
        connection: to the ward.
        commands: what is called, in a thread, when a command comes.
    """

    def __init__(self, connection: Connection[Any, Any], commands: Mapping[bytes, Callable[[], None]]) -> None:
        self._connection, self._commands = connection, commands
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="partum-link", daemon=True).start()

    def tell(self, kind: str, **facts: object) -> None:
        """Sends a message; a ward that has gone is no error, for this process goes too."""
        with self._lock, suppress(OSError):
            self._connection.send_bytes(json.dumps({"kind": kind} | facts).encode())

    def _listen(self) -> None:
        while True:
            try:
                command = self._connection.recv_bytes(64)
            except (EOFError, OSError):
                os._exit(1)  # nobody is left to look after what this process does
            if command in self._commands:
                self._commands[command]()


def read_message(connection: Connection[Any, Any]) -> dict[str, Any]:
    """The next message of a process.

    Raises:
        EOFError, OSError: it has ended, or is broken.
    """
    data = connection.recv_bytes(LONGEST_MESSAGE)
    try:
        message = json.loads(data)
    except ValueError as error:
        raise EOFError from error
    if not isinstance(message, dict):
        raise EOFError
    return message
