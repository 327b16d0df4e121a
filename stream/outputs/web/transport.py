"""Limits on connections, request time, and clients that do not read.

The web server's own protocols answer whoever comes for as long as he stays. These let go of a client that opens
connections without asking anything, and of a viewer that does not take what it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stream.outputs.web.settings import REQUEST_TIMEOUT_S

if TYPE_CHECKING:
    import asyncio
    from asyncio.transports import BaseTransport

MOST_CONNECTIONS = 200
"""Beyond it connections are closed at once: they must not use up the files that this process may open."""
MOST_OF_ONE = 100
"""Of them of one address, so that it keeps out no other."""
SLOW_VIEWER_S = 10.0
"""A viewer that has taken nothing for so long is let go."""


class HttpConnection(H11Protocol):
    """HTTP with a bound on connections and on the time of a request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        there = [each for each in self.connections if not each.transport.is_closing()]
        address = (self.client or ("",))[0]
        of_one = [each for each in there if isinstance(each, HttpConnection) and (each.client or ("",))[0] == address]
        if len(there) > MOST_CONNECTIONS or len(of_one) > MOST_OF_ONE:
            transport.abort()
        else:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        """No request yet. One that upgraded to a WebSocket has left `connections`; one being answered has a cycle."""
        if self in self.connections and self.cycle is None:
            self.transport.abort()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket that is dropped where its viewer does not read, and read from only while it can be written to."""

    _stuck: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(SLOW_VIEWER_S, self.transport.abort)
        self.transport.pause_reading()  # else answers to pings would pile up

    def resume_writing(self) -> None:
        self._forget()
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)

    def _forget(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
