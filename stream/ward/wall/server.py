"""The web server of a ward: one port, one certificate and one set of tokens for the wall and for each feed's page.

GET  /                       the wall of all feeds, and its files below /static/
WS   /wall                   what is to be shown on it, see `stream.ward.wall.wall`
GET  /feeds/{name}/          a feed's own page
WS   /feeds/{name}/stream    its own page's line, passed on by `stream.ward.wall.relay`
GET  /metrics                Prometheus, of the ward and all feeds
GET  /healthz                200 while the server runs and keeps the tiles
GET  /readyz                 200 while every feed's process answers, else 503
POST /sign-in                a token from the form
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.outputs.web.broadcast import TOO_MUCH, TRY_LATER, texts_from
from stream.outputs.web.service import PAGE, WebService, page_file
from stream.ward.wall.relay import NOT_ALLOWED, relay
from stream.ward.wall.roles import WrongTokens
from stream.ward.wall.sign_in import SignIn, identity_of
from stream.ward.wall.wall import HEARTBEAT_S, MOST_VIEWERS, Wall

if TYPE_CHECKING:
    import socket

    from stream.outputs.web.access import App
    from stream.ward.view import WardStatus
    from stream.ward.wall.settings import WallSettings
    from stream.ward.wall.wall import WallViewer

WALL_PAGE = Path(__file__).parent / "page"
LONGEST_MESSAGE = 2048
"""Bytes that a viewer may send at once: a mark with a note, or that he has got something."""
STUCK_S = 10.0
"""A wall that has not looked at its feeds for so long is stuck."""
MOST_LINES = 128
"""Viewers of single feeds, of all feeds together."""


class WallServer(WebService):
    """Runs from `__enter__` to `__exit__`.

    Args:
        ward: what is shown.
        settings: of the page, checked.
        listening: a socket that listens already; closed with the server.
        wrong: counts wrong tokens; another one by default.

    Raises:
        OutputError: the address cannot be listened on.
    """

    def __init__(
        self,
        ward: WardStatus,
        settings: WallSettings,
        *,
        listening: socket.socket | None = None,
        wrong: WrongTokens | None = None,
    ) -> None:
        self._ward, self._wall_settings = ward, settings
        self._wrong = wrong or WrongTokens(time.monotonic)
        self._sign_in: SignIn | None = None
        self._wall: Wall | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines = 0
        super().__init__(settings.web, listening=listening, longest_message=LONGEST_MESSAGE)

    def reload(self, settings: WallSettings) -> None:
        """Takes other tokens and a renewed certificate, from any thread; address and names stay as they began.

        Whose token is gone is let go within a second.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take, settings)

    def _take(self, settings: WallSettings) -> None:
        self._wall_settings = settings
        assert self._sign_in is not None
        self._sign_in.tokens, self._sign_in.without_token = settings.tokens, settings.without_token
        if self.settings.tls is not None and settings.certificate is not None:
            with suppress(OSError):  # it was there when the settings were checked; else the one before stays
                self.settings.tls.load_cert_chain(*settings.certificate)

    def application(self) -> App:
        self._sign_in = SignIn(
            super().application(),
            tokens=self._wall_settings.tokens,
            wrong=self._wrong,
            is_secure=self.settings.tls is not None,
            without_token=self._wall_settings.without_token,
        )
        return self._sign_in

    def routes(self) -> list[Any]:
        from starlette.routing import Route, WebSocketRoute

        return [
            Route("/", self._page),
            Route("/static/{name}", self._static),
            Route("/feeds/{feed}/", self._feed_page),
            Route("/feeds/{feed}/static/{name}", self._static),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            WebSocketRoute("/wall", self._look),
            WebSocketRoute("/feeds/{feed}/stream", self._line),
        ]

    def background(self) -> list[asyncio.Task[None]]:
        self._loop = asyncio.get_running_loop()
        self._wall = Wall(self._ward, time.monotonic)
        return [asyncio.create_task(self._wall.run())]

    @property
    def is_well(self) -> bool:
        return super().is_well and time.monotonic() - self.wall.looked_s < STUCK_S

    @property
    def wall(self) -> Wall:
        assert self._wall is not None
        return self._wall

    async def _page(self, request: Any) -> Any:
        answer = page_file("wall.html", WALL_PAGE)
        assert self._sign_in is not None
        self._sign_in.renew(identity_of(request.scope), answer)
        return answer

    async def _static(self, request: Any) -> Any:
        return page_file(request.path_params["name"], WALL_PAGE, PAGE)

    async def _feed_page(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if self.wall.tiles.view(request.path_params["feed"]) is None:
            return PlainTextResponse("this ward has no feed of that name\n", 404)
        return page_file("index.html", PAGE)

    async def _metrics(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        from stream.ward.wall.metrics import WallFacts, ward_metrics

        if not self._wall_settings.serves_metrics:
            return PlainTextResponse("this ward serves no metrics: [metrics] serve is false\n", 404)
        facts = WallFacts(
            viewers=len(self.wall.viewers),
            wrong_tokens=self._wrong.count,
            certificate_until=self._wall_settings.certificate_until,
        )
        ward = await asyncio.to_thread(self._ward.view)
        text, form = await ward_metrics(ward, facts, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": form})

    async def _healthz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if any(task.done() for task in self._background):
            return PlainTextResponse("the feeds are not listened to any more", 500)
        return PlainTextResponse("ok")

    async def _readyz(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        answering = [self.wall.tiles.is_answering(name) for name in self.wall.tiles.names()]
        words = f"{sum(answering)} of {len(answering)} feeds answer"
        return PlainTextResponse(words, 200 if answering and all(answering) else 503)

    async def _line(self, websocket: Any) -> None:
        """A viewer of one feed."""
        view = self.wall.tiles.view(websocket.path_params["feed"])
        if view is None or self._lines >= MOST_LINES:
            await websocket.accept()
            await websocket.close(TRY_LATER, "too many viewers" if view else "this ward has no feed of that name")
            return
        self._lines += 1
        identity = identity_of(websocket.scope)
        try:
            await relay(
                websocket, view, may_mark=identity.may_mark, may_stay=lambda: self._wall_settings.tokens.holds(identity)
            )
        finally:
            self._lines -= 1

    async def _look(self, websocket: Any) -> None:
        """A viewer of the wall."""
        await websocket.accept()
        if len(self.wall.viewers) >= MOST_VIEWERS:
            await websocket.close(TRY_LATER, "too many viewers")
            return
        viewer = self.wall.enter()
        listening = asyncio.create_task(self._hear(websocket, viewer))
        sending = asyncio.create_task(self._send(websocket, viewer))
        try:
            await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.wall.viewers.discard(viewer)
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)

    async def _send(self, websocket: Any, viewer: WallViewer) -> None:
        """Sends a viewer what is new, until he has gone or may not look any more."""
        from starlette.websockets import WebSocketDisconnect

        identity = identity_of(websocket.scope)
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await websocket.send_bytes(self.wall.hello())
            while self._wall_settings.tokens.holds(identity):
                with suppress(TimeoutError):
                    name = await asyncio.wait_for(viewer.next_name(), HEARTBEAT_S)
                    if (packed := self.wall.message(viewer, name)) is not None:
                        await websocket.send_bytes(packed)
            await websocket.close(TOO_MUCH, NOT_ALLOWED)

    async def _hear(self, websocket: Any, viewer: WallViewer) -> None:
        """Takes a viewer's word that he has got something."""
        async for text in texts_from(websocket):
            with suppress(ValueError):
                self.wall.answered(viewer, float(text))
