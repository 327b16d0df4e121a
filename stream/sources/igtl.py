"""Pictures by OpenIGTLink, from PLUS, 3D Slicer or a scanner: `igtl://host:port[/device]`."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from engines.redaction import redacted
from stream.errors import OptionError, SourceUnreadable
from stream.openigtlink import STATUS_OK, parse_image, parse_status, receive
from stream.sources.live import LiveSource, Picture

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from stream.clock import Clock
    from stream.frame import PixelSpacing

_log = logging.getLogger(__name__)

DEFAULT_PORT = 18944
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 2.0


def open_igtl(uri: str, *, clock: Clock, spacing: PixelSpacing | None = None) -> LiveSource:
    """A live source of IMAGE messages; a STATUS goes to the log, other messages are stepped over.

    Args:
        uri: `igtl://host[:port][/device]`; without a device the first that sends pictures is taken.
        clock: stamps pictures when their message is whole.
        spacing: mm per pixel; takes the place of what the messages say.

    Raises:
        OptionError: the address does not read so.
    """
    shown, example = redacted(uri), f"write igtl://host:{DEFAULT_PORT}/device"
    if "@" in uri:
        raise OptionError(f"{shown}: OpenIGTLink knows no user names or passwords; {example}")
    try:
        parts = urlsplit(uri)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise OptionError(f"{shown}: host or port cannot be read; {example}") from error
    host, device = parts.hostname, unquote(parts.path.strip("/"))
    if not host:
        raise OptionError(f"{shown}: a host is needed; {example}")
    return LiveSource(
        shown,
        kind="igtl",
        connect=lambda cancelled: IgtlFeed(host, port, device, clock, cancelled),
        clock=clock,
        spacing=spacing,
    )


class IgtlFeed:
    """One connection to a server.

    Raises:
        SourceUnreadable: nobody answers there.
    """

    def __init__(self, host: str, port: int, device: str, clock: Clock, cancelled: threading.Event) -> None:
        self._name, self._device, self._clock = f"igtl://{host}:{port}", device, clock
        self._is_closed = cancelled.is_set
        try:
            self._socket = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise SourceUnreadable(f"{self._name}: cannot be connected ({error.strerror or error})") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(READ_TIMEOUT_S)

    def __iter__(self) -> Iterator[Picture]:
        try:
            while (message := receive(self._socket)) is not None:
                header, body = message
                if header.kind == "STATUS":
                    self._note(parse_status(header, body))
                if header.kind != "IMAGE" or (self._device and header.device != self._device):
                    continue
                self._device = self._device or header.device  # two pictures of different probes must not mix
                found = parse_image(header, body)
                yield Picture(image=found.image, captured_ns=self._clock.now_ns(), spacing=found.spacing)
        except OSError as error:
            if self._is_closed():
                return
            said = "nothing came in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise SourceUnreadable(f"{self._name}: lost ({said})") from error

    def _note(self, status: tuple[int, str, str]) -> None:
        """A peer that says it is not well goes to the log: its pictures, or their absence, say the rest."""
        code, name, text = status
        if code != STATUS_OK:
            _log.warning("%s says: %s %s (%d)", self._name, name, text, code)

    def close(self) -> None:
        """Ends a waiting read at once."""
        with suppress(OSError):  # the peer has gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
