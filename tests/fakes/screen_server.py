"""A screen server on loopback, and requests to it as they go over the wire."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stream.common.clock import MonotonicClock
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def serving(*boards: Board, **options: Any) -> Iterator[WebServer]:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 0, **options}
    with WebServer(boards or [Board(clock=MonotonicClock())], **settings) as server:
        yield server


def port_of(server: WebServer) -> int:
    return server._port


def asked(server: WebServer, *lines: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """The beginning of the answer to a request, byte by byte as it was sent."""
    with socket.create_connection((host, port_of(server)), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = b""
        while len(answer) < 4000:
            try:
                part = connection.recv(4096)
            except (TimeoutError, ConnectionResetError):
                break
            answer += part
            if not part:
                break
    return answer


def status_of(server: WebServer, path: str, host: str, *more: str) -> int:
    upgrade: tuple[str, ...] = ()
    if path.startswith("/stream"):
        upgrade = (
            *("Upgrade: websocket", "Connection: Upgrade"),
            *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"),
        )
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        connection.sendall(
            "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *upgrade, *more, "", ""]).encode("latin-1")
        )
        return int(connection.recv(200).split()[1])
