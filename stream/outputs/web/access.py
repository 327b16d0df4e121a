"""Access control of the web page: host names, origins, token, security headers.

A page of another site in a viewer's browser must not reach a server of this machine or ward: it may send requests by
itself, and it may point a name of its own at this address (DNS rebinding), which makes it of the same origin. So the
name in `Host` must be one of ours, and `Origin`, where there is one, must be the same.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from stream.outputs.web.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, MutableMapping
    from typing import Any

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?")
WITHOUT_TOKEN = ("/healthz", "/readyz", "/static/")
"""Paths that say nothing of the stream: probes, and the page's own files."""
NOT_SERVED = "This page does not answer to that name. Open it by its address, or start it with --allow-host NAME."
OTHER_SITE = "This page shows itself only: no page of another site may read it."
NO_TOKEN = "This page needs the token of its address (?token=..., or the header Authorization: Bearer ...)."


class Access:
    """An ASGI application around another: refuses with 403, and gives every answer the security headers it lacks.

    Args:
        app: what is served.
        names: by which this server may be called, beside loopback and the address of the connection.
        token: that viewers must bring; None asks for none.
    """

    def __init__(self, app: App, *, names: Collection[str], token: str | None) -> None:
        self._app, self._names, self._token = app, frozenset(names), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope)
        host = _values(scope, b"host")

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                said = list(message.get("headers", ()))
                names = {name.lower() for name, _ in said}
                added = [each for each in security_headers("" if refusal else host[0]) if each[0] not in names]
                message["headers"] = [*said, *added]
            await send(message)

        if not refusal:
            await self._app(scope, receive, send_with_headers)
            return
        kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
        body = refusal.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if scope["type"] == "http":  # of a refused WebSocket the server writes it
            headers.append((b"content-length", str(len(body)).encode()))
        await send_with_headers({"type": f"{kind}.start", "status": 403, "headers": headers})
        await send({"type": f"{kind}.body", "body": body})

    def refusal(self, scope: Scope) -> str:
        """Why a request is not answered, for people; empty where it is."""
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0], scope):
            return NOT_SERVED
        if any(
            _without_default_port(origin) != hosts[0].lower().removesuffix(":80").removesuffix(":443")
            for origin in origins
        ):
            return OTHER_SITE
        if self._token is None or scope["path"].startswith(WITHOUT_TOKEN):
            return ""
        return "" if any(_same(token, self._token) for token in _tokens(scope)) else NO_TOKEN

    def _is_ours(self, host: str, scope: Scope) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").rstrip(".").lower()
        return is_loopback(name) or name in self._names or _address(name) in self._addresses(scope)

    def _addresses(self, scope: Scope) -> set[str | None]:
        """Those that were listened on, and that of this very connection."""
        server = (scope.get("server") or ("",))[0]
        return {_address(name) for name in (*self._names, server)} - {None}


def security_headers(host: str) -> list[tuple[bytes, bytes]]:
    """What every answer tells the browser: run and fetch nothing but this server's own, in no frame, keep nothing."""
    own = f"'self' ws://{host} wss://{host}" if host else "'self'"  # older browsers do not count WebSockets to 'self'
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src {own}; img-src 'self' blob: data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _without_default_port(origin: str) -> str:
    scheme, _, netloc = origin.lower().partition("://")
    return netloc.removesuffix(":80").removesuffix(":443") if scheme in ("http", "https") else f"not ours: {origin}"


def _tokens(scope: Scope) -> list[str]:
    given = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True).get("token", [])
    for value in _values(scope, b"authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
    return given


def _same(given: str, token: str) -> bool:
    """In time that does not depend on how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
