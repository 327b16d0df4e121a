"""A proxy before an object store, which the test lets answer, deny, keep silent, or be slow."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

_WORDS = b"<Error><Code>ExpiredToken</Code><Message>the token has expired</Message></Error>"
DENIED = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
SLOW_BYTES, SLOW_S = 4096, 0.02


class FailingStore:
    """Passes connections on to a server as long as `mode` says so; from any thread.

    Args:
        port: of the server, on this machine.

    Attributes:
        mode: `answers`, `denies`, `hangs` or `slow`.
        url: of the proxy.
    """

    def __init__(self, port: int) -> None:
        self.mode = "answers"
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, mode: str) -> None:
        """From now on; what is under way is cut."""
        self.mode = mode
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it."""
        self._listener.close()
        self.fail("hangs")
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self.mode == "denies":
                client.recv(1 << 16)
                client.sendall(DENIED % (len(_WORDS), _WORDS))
                client.close()
            elif self.mode != "hangs":
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open.append(server)
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
                self._pass_on(server, client)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(SLOW_BYTES if self.mode == "slow" else 1 << 16):
                if self.mode == "slow":
                    time.sleep(SLOW_S)
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)
