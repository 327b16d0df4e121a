"""HTTP and WebSocket server of the web page, in a thread off the pipeline's path.

    GET /           the page, and its files below /static/
    WS  /stream     what is to be shown, see `stream.outputs.web.broadcast`; ?feed=2 for the second of several streams
    WS  /tile       the same a few times a second with a small picture, for a wall of many streams
    GET /metrics    Prometheus
    GET /healthz    200 while the server runs and feeds its viewers
    GET /readyz     200 while results are fresh, else 503

Each viewer gets the newest picture when it has taken the one before: a slow one sees fewer, and slows nobody.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.outputs.marks import MarkKind
from stream.outputs.web.broadcast import (
    LONGEST_MESSAGE,
    MOST_VIEWERS,
    TILE_RATE_HZ,
    TILE_SIDE_PX,
    TRY_LATER,
    Broadcast,
    texts_from,
)
from stream.outputs.web.jpeg import LONGEST_SIDE_PX, encode_picture
from stream.outputs.web.service import PAGE, WebService, page_file
from stream.outputs.web.settings import WebSettings, is_loopback, parse_address
from stream.outputs.web.state import DisplayState, display_state

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

    from stream.outputs.web.board import Board

__all__ = ["LONGEST_SIDE_PX", "WebServer", "encode_picture", "is_loopback", "parse_address"]

READY = frozenset(
    {DisplayState.LIVE, DisplayState.REPLAY, DisplayState.HOLD, DisplayState.NO_PLANE, DisplayState.FROZEN}
)
"""States in which results are fresh."""
LONGEST_ID = 40
"""Of a viewer's request: what is longer is cut, so that all that are kept stay small."""


class WebServer(WebService):
    """Runs from `__enter__` to `__exit__`.

    Args:
        boards: what is shown: one for each stream.
        host, port: to listen on; port 0 takes a free one. Beyond this machine a token is demanded.
        token: that viewers must bring; None makes one where the address is not of this machine alone.
        allow_hosts: names, beside loopback and the address itself, by which viewers may call this server.
        tls_cert, tls_key: PEM files; with them it serves HTTPS.
        settings: takes the place of all of these where they were checked before.
        listening: a socket that listens already; closed with the server.

    Raises:
        ExtraMissing: the packages it needs are not installed.
        OptionError: a name, the token or a certificate is not right.
        OutputError: the address cannot be listened on.
    """

    def __init__(
        self,
        boards: Sequence[Board],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        allow_hosts: Iterable[str] = (),
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        settings: WebSettings | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._boards = boards
        self._broadcasts: list[Broadcast] = []
        self._tiles: list[Broadcast] = []
        checked = settings or WebSettings.checked(
            host, port, token=token, allow_hosts=allow_hosts, tls_cert=tls_cert, tls_key=tls_key
        )
        super().__init__(checked, listening=listening, longest_message=LONGEST_MESSAGE)

    def routes(self) -> list[Any]:
        from starlette.routing import Route, WebSocketRoute

        return [
            Route("/", self._page),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/static/{name}", self._static),
            WebSocketRoute("/stream", self._stream),
            WebSocketRoute("/tile", self._tile),
        ]

    def background(self) -> list[asyncio.Task[None]]:
        self._broadcasts = [Broadcast(board, self._boards) for board in self._boards]
        self._tiles = [
            Broadcast(board, self._boards, most_rate_hz=TILE_RATE_HZ, longest_side_px=TILE_SIDE_PX)
            for board in self._boards
        ]
        return [asyncio.create_task(broadcast.run()) for broadcast in (*self._broadcasts, *self._tiles)]

    async def _page(self, request: Any) -> Any:
        return page_file("index.html", PAGE)

    async def _static(self, request: Any) -> Any:
        return page_file(request.path_params["name"], PAGE)

    async def _metrics(self, request: Any) -> Any:
        from starlette.responses import Response

        from stream.outputs.web.metrics import metrics_answer

        text, form = metrics_answer(self._boards, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": form})

    async def _healthz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if any(task.done() for task in self._background):
            return PlainTextResponse("a stream is not sent to its viewers any more", 500)
        return PlainTextResponse("ok")

    async def _readyz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        states = [display_state(board.snapshot())[0] for board in self._boards]
        return PlainTextResponse(", ".join(states), 200 if READY.issuperset(states) else 503)

    async def _stream(self, websocket: Any) -> None:
        await self._show(websocket, self._broadcasts)

    async def _tile(self, websocket: Any) -> None:
        await self._show(websocket, self._tiles)

    async def _show(self, websocket: Any, broadcasts: Sequence[Broadcast]) -> None:
        """Sends a viewer what is to be shown, and takes his marks, until he is gone."""
        from starlette.websockets import WebSocketDisconnect

        await websocket.accept()
        if sum(len(each.viewers) for each in (*self._broadcasts, *self._tiles)) >= MOST_VIEWERS:
            await websocket.close(TRY_LATER, "too many viewers")
            return
        broadcast = _chosen(broadcasts, websocket.query_params.get("feed", "1"))
        viewer = broadcast.enter()
        listening = asyncio.create_task(_listen_to(websocket, broadcast.board))
        try:
            await websocket.send_bytes(broadcast.hello(viewer))
            while True:
                newest = asyncio.ensure_future(viewer.newest())
                await asyncio.wait((newest, listening), return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    newest.cancel()
                    return
                await websocket.send_bytes(broadcast.message_for(viewer, *newest.result()))
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the viewer has gone
        finally:
            broadcast.viewers.discard(viewer)
            listening.cancel()


def _chosen(broadcasts: Sequence[Broadcast], number: str) -> Broadcast:
    """The stream of that number, counted from 1; the first where there is none."""
    index = int(number) - 1 if number.isascii() and number.isdigit() and len(number) < 5 else 0
    return broadcasts[index if 0 <= index < len(broadcasts) else 0]


async def _listen_to(websocket: Any, board: Board) -> None:
    """Takes a viewer's marks, until it has gone."""
    async for text in texts_from(websocket):
        if mark := _mark_in(text):
            await asyncio.to_thread(board.mark, *mark)


def _mark_in(text: str) -> tuple[MarkKind, str, str] | None:
    """The mark that a viewer sets, a note and an id, under which he finds the answer; None where he says else.

    As `mark` alone, or as `{"mark": "push_start", "note": "...", "id": "..."}`.
    """
    if text == MarkKind.MARK:
        return MarkKind.MARK, "", ""
    try:
        said = json.loads(text)
        return MarkKind(said["mark"]), str(said.get("note") or ""), str(said.get("id") or "")[:LONGEST_ID]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
