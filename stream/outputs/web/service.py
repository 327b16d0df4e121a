"""A small web service in a thread of its own: settings, access control and limits that every page shares."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from stream.common.errors import OutputError
from stream.outputs.web.access import Access
from stream.outputs.web.settings import REQUEST_TIMEOUT_S

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from stream.outputs.web.access import App
    from stream.outputs.web.settings import WebSettings

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGE = Path(__file__).parent / "page"
"""Files of the live page; the style sheet and what draws are every page's."""


class WebService(ABC):
    """Runs from `__enter__` to `__exit__`.

    Args:
        settings: checked.
        listening: a socket that listens already; closed with the service. None makes one.
        longest_message: bytes that a viewer may send at once over a WebSocket.

    Raises:
        OutputError: the address cannot be listened on.
    """

    def __init__(
        self, settings: WebSettings, *, listening: socket.socket | None = None, longest_message: int = 1024
    ) -> None:
        self.settings, self._listening, self._longest_message = settings, listening, longest_message
        self._port = settings.port
        self._background: list[asyncio.Task[None]] = []
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

    @property
    def is_well(self) -> bool:
        """Whether it answers, and what runs beside it still does."""
        return bool(self._server.started) and not any(task.done() for task in self._background)

    @abstractmethod
    def routes(self) -> list[Any]:
        """What is served, as Starlette's routes."""

    def application(self) -> App:
        """What answers a request, inside the access control."""
        from starlette.applications import Starlette

        return Starlette(routes=self.routes())

    def background(self) -> list[asyncio.Task[None]]:
        """Tasks that run beside the service; called in its loop."""
        return []

    def _make(self) -> Any:
        import uvicorn

        from stream.outputs.web.transport import HttpConnection, WebSocketConnection

        settings = self.settings
        config = uvicorn.Config(
            Access(self.application(), names=settings.names, token=settings.token),
            log_config=None,
            log_level="critical",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            http=HttpConnection,
            ws=WebSocketConnection,
            ws_max_size=self._longest_message,
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
        self._background = self.background()
        if self.settings.tls:
            loop: Any = asyncio.get_running_loop()
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=REQUEST_TIMEOUT_S)
        self._ready.set()
        try:
            await self._server.serve(sockets=[self._listening])
        finally:
            for task in self._background:
                task.cancel()
            self._listening.close()


def page_file(name: str, *folders: Path) -> Any:
    """A file of a page, by its name in one of its folders; there are no others, whatever the name."""
    from starlette.responses import Response

    for folder in folders:
        if name in (each.name for each in folder.iterdir()) and Path(name).suffix in TYPES:
            return Response((folder / name).read_bytes(), media_type=TYPES[Path(name).suffix])
    return Response("there is no such page", 404, media_type="text/plain")
