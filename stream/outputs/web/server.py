"""HTTP and WebSocket server of the web page, in a thread off the pipeline's path.

    GET /           the page, and its files below /static/
    WS  /stream     what is to be shown, see `stream.outputs.web.broadcast`; ?feed=2 for the second of several streams
    GET /metrics    Prometheus
    GET /healthz    200 while the server runs and feeds its viewers
    GET /readyz     200 while results are fresh, else 503

Each viewer gets the newest picture when it has taken the one before: a slow one sees fewer, and slows nobody.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from stream.common.errors import OutputError
from stream.outputs.marks import MarkKind
from stream.outputs.web.access import Access
from stream.outputs.web.broadcast import LONGEST_MESSAGE, MOST_MESSAGES_HZ, MOST_VIEWERS, TOO_MUCH, TRY_LATER, Broadcast
from stream.outputs.web.jpeg import LONGEST_SIDE_PX, encode_picture
from stream.outputs.web.settings import REQUEST_TIMEOUT_S, WebSettings, is_loopback, parse_address
from stream.outputs.web.state import DisplayState, display_state

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from stream.outputs.web.board import Board

__all__ = ["LONGEST_SIDE_PX", "WebServer", "encode_picture", "is_loopback", "parse_address"]

READY = frozenset(
    {DisplayState.LIVE, DisplayState.REPLAY, DisplayState.HOLD, DisplayState.NO_PLANE, DisplayState.FROZEN}
)
"""States in which results are fresh."""
PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class WebServer:
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
        SourceUnavailable: the packages it needs are not installed.
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
        self.settings = settings or WebSettings.checked(
            host, port, token=token, allow_hosts=allow_hosts, tls_cert=tls_cert, tls_key=tls_key
        )
        self._boards, self._listening = boards, listening
        self._port = self.settings.port
        self._broadcasts: list[Broadcast] = []
        self._feeding: list[asyncio.Task[None]] = []
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._server = self._make()
        self._thread = threading.Thread(target=self._run, name="partum-web")

    @property
    def token(self) -> str | None:
        """What viewers must bring; None where only this machine can look."""
        return self.settings.token

    @property
    def address(self) -> str:
        """What to open in a browser, token included."""
        scheme = "https" if self.settings.tls else "http"
        token = f"?token={quote(self.token, safe='')}" if self.token else ""
        return f"{scheme}://{self.settings.reachable_at}:{self._port}/{token}"

    def __enter__(self) -> Self:
        self._listening = self._listening or self.settings.listen()
        self._port = self._listening.getsockname()[1]
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise OutputError(f"the web page cannot be served ({self._error})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _make(self) -> Any:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute

        from stream.outputs.web.transport import HttpConnection, WebSocketConnection

        routes = [
            Route("/", self._page),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/static/{name}", self._static),
            WebSocketRoute("/stream", self._stream),
        ]
        settings = self.settings
        config = uvicorn.Config(
            Access(Starlette(routes=routes), names=settings.names, token=settings.token),
            log_config=None,
            log_level="critical",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            http=HttpConnection,
            ws=WebSocketConnection,
            ws_max_size=LONGEST_MESSAGE,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = settings.tls
        return uvicorn.Server(config)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by `__enter__`
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        assert self._listening is not None
        self._broadcasts = [Broadcast(board, self._boards) for board in self._boards]
        self._feeding = [asyncio.create_task(broadcast.run()) for broadcast in self._broadcasts]
        if self.settings.tls:
            loop: Any = asyncio.get_running_loop()
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=REQUEST_TIMEOUT_S)
        self._ready.set()
        try:
            await self._server.serve(sockets=[self._listening])
        finally:
            for task in self._feeding:
                task.cancel()
            self._listening.close()

    async def _page(self, request: Any) -> Any:
        return _file("index.html")

    async def _static(self, request: Any) -> Any:
        return _file(request.path_params["name"])

    async def _metrics(self, request: Any) -> Any:
        from starlette.responses import Response

        from stream.outputs.web.metrics import metrics_answer

        text, form = metrics_answer(self._boards, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": form})

    async def _healthz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if any(task.done() for task in self._feeding):
            return PlainTextResponse("a stream is not sent to its viewers any more", 500)
        return PlainTextResponse("ok")

    async def _readyz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        states = [display_state(board.snapshot())[0] for board in self._boards]
        return PlainTextResponse(", ".join(states), 200 if READY.issuperset(states) else 503)

    async def _stream(self, websocket: Any) -> None:
        from starlette.websockets import WebSocketDisconnect

        await websocket.accept()
        if sum(len(each.viewers) for each in self._broadcasts) >= MOST_VIEWERS:
            await websocket.close(TRY_LATER, "too many viewers")
            return
        broadcast = self._chosen(websocket.query_params.get("feed", "1"))
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

    def _chosen(self, number: str) -> Broadcast:
        """The stream of that number, counted from 1; the first where there is none."""
        index = int(number) - 1 if number.isascii() and number.isdigit() and len(number) < 5 else 0
        return self._broadcasts[index if 0 <= index < len(self._broadcasts) else 0]


def _file(name: str) -> Any:
    """A file of the page, by its name; there are no others, whatever the name."""
    from starlette.responses import Response

    if name not in (each.name for each in PAGE.iterdir()):
        return Response("there is no such page", 404, media_type="text/plain")
    return Response((PAGE / name).read_bytes(), media_type=TYPES[Path(name).suffix])


async def _listen_to(websocket: Any, board: Board) -> None:
    """Takes a viewer's marks, until it has gone; one that talks too much is let go."""
    from starlette.websockets import WebSocketDisconnect

    second, count = 0.0, 0
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await websocket.receive()
            if message["type"] != "websocket.receive":
                return
            now = time.monotonic()
            second, count = (now, 1) if now - second > 1.0 else (second, count + 1)
            if count > MOST_MESSAGES_HZ:
                await websocket.close(TOO_MUCH, "too many messages")
                return
            if mark := _mark_in(message.get("text")):
                await asyncio.to_thread(board.mark, *mark)


def _mark_in(text: str | None) -> tuple[MarkKind, str] | None:
    """The mark that a viewer sets, `mark` or `{"mark": "push_start", "note": "..."}`; None where it says else."""
    if text == MarkKind.MARK:
        return MarkKind.MARK, ""
    try:
        said = json.loads(text or "")
        return MarkKind(said["mark"]), str(said.get("note") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
