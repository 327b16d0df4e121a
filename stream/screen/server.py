"""Serves the page over HTTP and the stream over a WebSocket, in a thread of its own, off the pipeline's path.

    GET /           the page
    WS  /stream     one binary message a picture: length of the JSON (4 bytes, big-endian), the JSON, a JPEG;
                    ?feed=2 for the second of several streams
    GET /metrics    Prometheus
    GET /healthz    200 while the server runs
    GET /readyz     200 while results are fresh, else 503

Each viewer gets the newest picture when it has taken the one before: a slow one sees fewer, and slows nobody.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import secrets
import struct
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import cv2

from engines.redaction import redacted
from stream.errors import OptionError, OutputError, SourceUnavailable
from stream.screen.metrics import metrics_text
from stream.screen.shown import Shown, message_of, state_of
from stream.sinks.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from stream.screen.board import Board
    from stream.watch.watch import Seen

LONGEST_SIDE_PX = 720
"""Pictures are shrunk to this on their way to the page."""
JPEG_QUALITY = 80
MOST_RATE_HZ = 30.0
READY = frozenset({Shown.LIVE, Shown.REPLAY, Shown.HOLD, Shown.NO_PLANE, Shown.FROZEN})
"""States in which results are fresh."""
HEARTBEAT_S = 0.4
"""A page hears from the server at least so often: one that does not turns its number off by itself."""
HEADER = struct.Struct(">I")


_HOST = re.compile(r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])")


def parse_address(text: str) -> tuple[str, int]:
    """Reads `host:port` or `port`.

    Raises:
        OptionError: it does not read so.
    """
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if not is_port or not _HOST.fullmatch(host):
        shown = redacted(text if "://" in text else f"tcp://{text}").removeprefix("tcp://")
        raise OptionError(f"--serve {shown}: give HOST:PORT, for example 127.0.0.1:8400")
    return host.strip("[]") or "127.0.0.1", int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ScreenServer:
    """Runs from `__enter__` to `__exit__`.

    Args:
        boards: what is shown: one for each stream.
        host, port: to listen on; port 0 takes a free one. Beyond this machine a token is demanded.
        token: that viewers must bring; None makes one where the address is not of this machine alone.

    Raises:
        SourceUnavailable: the packages it needs are not installed.
        OutputError: the address cannot be listened on.
    """

    def __init__(self, boards: Sequence[Board], *, host: str, port: int, token: str | None = None) -> None:
        self._boards, self._host, self._port = boards, host, port
        self.token = token or (None if is_loopback(host) else secrets.token_urlsafe(16))
        self._pictures = [_Pictures(board) for board in boards]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._server = self._make()
        self._thread = threading.Thread(target=self._run, name="partum-screen")

    @property
    def address(self) -> str:
        """What to open in a browser, token included."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/" + (f"?token={self.token}" if self.token else "")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise OutputError(f"--serve {self._host}:{self._port}: cannot listen there ({self._error}); choose another")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.should_exit = True
        self._thread.join()

    def _make(self) -> Any:
        try:
            import uvicorn
            from starlette.applications import Starlette
            from starlette.routing import Route, WebSocketRoute
        except ImportError as error:
            raise SourceUnavailable(f"--serve needs more packages ({error}); pip install 'partum[serve]'") from error
        routes = [
            Route("/", self._page),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            WebSocketRoute("/stream", self._stream),
        ]
        app = Starlette(routes=routes)
        config = uvicorn.Config(
            app,
            host=self._host,
            port=self._port,
            log_level="critical",
            lifespan="off",
            server_header=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        return uvicorn.Server(config)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by `__enter__`
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        socket = _listen(self._host, self._port)
        self._port = socket.getsockname()[1]
        self._server.install_signal_handlers = lambda: None  # signals are the pipeline's
        self._ready.set()
        await self._server.serve(sockets=[socket])

    def _allowed(self, connection: Any) -> bool:
        """Whether a viewer brings the token, and comes from a page of this very server."""
        origin = connection.headers.get("origin")
        if origin and urlsplit(origin).netloc != connection.headers.get("host"):
            return False
        if self.token is None:
            return True
        given = connection.query_params.get("token", "")
        return hmac.compare_digest(given.encode(), self.token.encode())

    async def _page(self, request: Any) -> Any:
        from starlette.responses import HTMLResponse, PlainTextResponse

        if not self._allowed(request):
            return PlainTextResponse("This screen needs the token of its address.", 403)
        page = (files("stream.screen") / "page.html").read_text(encoding="utf-8")
        return HTMLResponse(page, headers=HEADERS)

    async def _metrics(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if not self._allowed(request):
            return PlainTextResponse("", 403)
        return PlainTextResponse(metrics_text(self._boards), media_type="text/plain; version=0.0.4")

    async def _healthz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        return PlainTextResponse("ok")

    async def _readyz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        states = [state_of(board.moment())[0] for board in self._boards]
        return PlainTextResponse(", ".join(states), 200 if READY.issuperset(states) else 503)

    async def _stream(self, websocket: Any) -> None:
        from starlette.websockets import WebSocketDisconnect

        if not self._allowed(websocket):
            await websocket.close(4403)
            return
        await websocket.accept()
        board, pictures = self._chosen(websocket.query_params.get("feed", "1"))
        listening = asyncio.create_task(self._listen_to(websocket, board))
        try:
            hello = {
                "facts": board.facts,
                "notice": NOTICE,
                "trend": board.trend,
                "marks": board.marks_s,
                "feeds": [each.name for each in self._boards],
            }
            await websocket.send_bytes(_packed(hello, b""))
            version = -1
            while not self._stopping.is_set():
                newer = await asyncio.to_thread(board.wait_beyond, version, HEARTBEAT_S)
                is_new, version = newer > version, newer
                await websocket.send_bytes(await asyncio.to_thread(pictures.message, is_new))
                await asyncio.sleep(1 / MOST_RATE_HZ)
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the viewer has gone
        finally:
            listening.cancel()

    def _chosen(self, number: str) -> tuple[Board, _Pictures]:
        """The stream of that number, counted from 1; the first where there is none."""
        index = int(number) - 1 if number.isascii() and number.isdigit() else 0
        index = index if 0 <= index < len(self._boards) else 0
        return self._boards[index], self._pictures[index]

    async def _listen_to(self, websocket: Any, board: Board) -> None:
        """Takes a viewer's marks; whatever else it says is not looked at."""
        from starlette.websockets import WebSocketDisconnect

        try:
            while True:
                if await websocket.receive_text() == "mark":
                    board.mark()
        except (WebSocketDisconnect, RuntimeError, KeyError):
            return


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " connect-src 'self' ws: wss:; img-src blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Pictures:
    """Messages to the page; a picture is encoded once for all viewers."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._encoded: tuple[int, bytes] = (-1, b"")

    def message(self, is_new: bool) -> bytes:
        """The newest state, with its picture where it is new to the viewer."""
        moment = self._board.moment()
        content = message_of(moment)
        statistics = self._board.statistics
        content |= {
            "dropped": dict(statistics.drops),
            "frames": statistics.frames_in,
            "marks": self._board.marks_s,
            "mark_error": self._board.mark_error or None,
            **_seen(self._board.seen),
        }
        picture = b""
        if is_new and moment.measurement is not None:
            picture = self._jpeg(moment.measurement)
        return _packed(content, picture)

    def _jpeg(self, measurement: Any) -> bytes:
        with self._lock:
            index, encoded = self._encoded
            if index != measurement.frame.index:
                encoded = encode_picture(measurement.frame.image)
                self._encoded = (measurement.frame.index, encoded)
            return encoded


def encode_picture(image: Any) -> bytes:
    """A grey picture as JPEG, shrunk to `LONGEST_SIDE_PX`."""
    height, width = image.shape
    scale = min(1.0, LONGEST_SIDE_PX / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale > 0.5 else cv2.INTER_LINEAR)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def _seen(seen: Seen) -> dict[str, str]:
    """Where the picture was found, and where its scale comes from, in words."""
    sector = f"{seen.sector} ({seen.confidence:.2f})" if seen.confidence is not None else seen.sector
    masked = f", {seen.masked} lines masked" if seen.masked else ""
    return {"sector": f"{sector}{masked}", "calibration": seen.scale}


def _packed(content: dict[str, Any], picture: bytes) -> bytes:
    text = json.dumps(content, allow_nan=False).encode()
    return HEADER.pack(len(text)) + text + picture


def _listen(host: str, port: int) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening
