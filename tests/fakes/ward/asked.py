"""Requests to the wall of a ward, as a browser or a script sends them."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from stream.ward.wall.server import WallServer


@dataclass
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """What a browser would send back."""
        return self.headers.get("set-cookie", "").partition(";")[0]


def ask(
    server: WallServer,
    path: str,
    *,
    token: str = "",
    cookie: str = "",
    method: str = "GET",
    body: str = "",
    tls: ssl.SSLContext | None = None,
    **more: str,
) -> Answer:
    """One request, which follows no redirect."""
    connection = (
        http.client.HTTPSConnection("127.0.0.1", server._port, timeout=10, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", server._port, timeout=10)
    )
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Cookie": cookie} if cookie else {}
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return Answer(
            answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
        )
    finally:
        connection.close()


@contextmanager
def line(
    server: WallServer,
    path: str,
    *,
    token: str = "",
    cookie: str = "",
    origin: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[ClientConnection]:
    """A WebSocket of a viewer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Cookie": cookie} if cookie else {}
    headers |= {"Origin": origin} if origin else {}
    address = f"{'wss' if tls else 'ws'}://127.0.0.1:{server._port}{path}"
    with connect(address, additional_headers=headers, proxy=None, max_size=1 << 24, ssl=tls) as connection:
        yield connection


def line_status(server: WallServer, path: str, *, token: str = "", cookie: str = "", origin: str | None = None) -> int:
    """101 where a WebSocket is opened, else why not."""
    try:
        with line(server, path, token=token, cookie=cookie, origin=origin):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code
