"""The wall of a ward for as long as it runs: one server, and another in its place where a reload changes its address.

The new one listens before the old one ends. At the same address and port they share a socket, so that no viewer who
comes meanwhile is turned away; one who is there is let go, and his browser connects again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from stream.ward.wall.roles import WrongTokens
from stream.ward.wall.server import WallServer
from stream.ward.wall.settings import WallSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

    from stream.outputs.web.settings import WebSettings
    from stream.ward.config import WardConfig
    from stream.ward.view import WardStatus


class ServedWall:
    """A context manager.

    Args:
        ward: what is shown.
        settings: of the page, checked.
        listening: a socket that listens already.
        told: takes lines for the log.

    Raises:
        OutputError: the page cannot be served.
    """

    def __init__(
        self, ward: WardStatus, settings: WallSettings, *, listening: socket.socket, told: Callable[[str], None]
    ) -> None:
        self._ward, self._told, self._listening = ward, told, listening
        self._wrong = WrongTokens(time.monotonic)
        self._server = self._made(settings, listening)
        self._ending: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)
        for each in self._ending:
            each.join()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return self._server.address

    @property
    def is_well(self) -> bool:
        """Whether it answers."""
        return self._server.is_well

    def take(self, config: WardConfig) -> None:
        """Takes what was read again: tokens and certificate, and another address, names, or TLS.

        Raises:
            OptionError: a name or the certificate is not right; then nothing is taken.
            OutputError: the address cannot be listened on; likewise.
        """
        settings = WallSettings.checked(config)
        if settings.web.place_and_names == self._server.settings.place_and_names:
            self._server.reload(settings)
            return
        listening = self._socket_for(settings.web)
        server = self._made(settings, listening)
        try:
            server.__enter__()
        except BaseException:
            listening.close()
            raise
        before, self._server, self._listening = self._server, server, listening
        ending = threading.Thread(target=before.__exit__, args=(None, None, None), name="partum-old-wall")
        self._ending = [*(each for each in self._ending if each.is_alive()), ending]
        ending.start()
        self._told(f"wall: {self.address}")

    def _made(self, settings: WallSettings, listening: socket.socket) -> WallServer:
        return WallServer(self._ward, settings, listening=listening, wrong=self._wrong)

    def _socket_for(self, web: WebSettings) -> socket.socket:
        now = self._server.settings
        if (web.host, web.port) == (now.host, now.port):
            return self._listening.dup()
        return web.listen(beside=self._listening)
