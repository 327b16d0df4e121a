"""A live feed of OpenIGTLink images: `igtl://host:port[/device]`."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from engines.redaction import redact
from stream.common.errors import OptionError, SourceUnreadable
from stream.sources.decoding.checked_decoder import presumed_aspect
from stream.sources.live.base import PICTURE_TIMEOUT_S, LivePicture, LiveSource
from stream.sources.live.igtl.messages import MessageReader
from stream.sources.live.igtl.protocol import STATUS_OK, parse_image, parse_status
from stream.sources.live.sender_clock import SenderClock

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.live.igtl.messages import Message
    from stream.sources.live.igtl.protocol import MessageHeader

_log = logging.getLogger(__name__)

DEFAULT_PORT = 18944
CONNECT_TIMEOUT_S = 1.0
PICTURE_KINDS = frozenset({"IMAGE", "VIDEO"})
MOST_HEARD = 20
"""Names of devices that are remembered."""


def open_igtl(uri: str, *, clock: Clock, spacing: PixelSpacing | None = None) -> LiveSource:
    """A live source of IMAGE messages; a STATUS goes to the log, other messages are passed over.

    Args:
        uri: `igtl://host[:port][/device]`; without a device the first that sends pictures is taken.
        clock: stamps pictures when their message is whole.
        spacing: mm per pixel; takes the place of what the messages say.

    Raises:
        OptionError: the address does not read so.
    """
    shown, example = redact(uri), f"write igtl://host:{DEFAULT_PORT}/device"
    if "@" in uri:
        raise OptionError(f"{shown}: OpenIGTLink knows no user names or passwords; {example}")
    try:
        parts = urlsplit(uri)
        port = DEFAULT_PORT if parts.port is None else parts.port
        if port == 0:
            raise ValueError("port 0")
    except ValueError as error:
        raise OptionError(f"{shown}: host or port cannot be read; {example}") from error
    host, device = parts.hostname, unquote(parts.path.strip("/"))
    if not host:
        raise OptionError(f"{shown}: a host is needed; {example}")
    return LiveSource(
        shown,
        kind="igtl",
        connect=lambda cancelled: IgtlFeed(_connected(host, port), f"igtl://{host}:{port}", device, clock, cancelled),
        clock=clock,
        spacing=spacing,
        address=uri,
    )


def _connected(host: str, port: int) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:  # a name that cannot be encoded is a ValueError
        said = getattr(error, "strerror", None) or error
        raise SourceUnreadable(f"igtl://{host}:{port}: cannot be connected ({said}); check host and port") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class IgtlFeed:
    """One connection to a server.

    Args:
        connection: closed with this.
        name: of the peer, for people.
        device: whose pictures are taken; empty takes the first that sends one.
        clock: stamps pictures.
        cancelled: set when the source is closed.

    Attributes:
        format: the device whose pictures are taken, and their size.
        skipped: messages that could not be read.
    """

    def __init__(
        self, connection: socket.socket, name: str, device: str, clock: Clock, cancelled: threading.Event
    ) -> None:
        self._socket, self._name, self._device, self._clock = connection, name, device, clock
        self._is_closed = cancelled.is_set
        self._messages, self._sender = MessageReader(self._socket, clock), SenderClock()
        self._wanted, self._heard = device, dict[str, None]()
        self._has_pictures, self._asked_ns = False, 0
        self._problem = self._doubt = self._peer_says = ""
        self.format, self.skipped = "", 0

    @property
    def note(self) -> str:
        waiting = "" if self._has_pictures else self._said_of_waiting()
        return "; ".join(filter(None, (waiting, self._peer_says, self._doubt, self._sender.note)))

    def __iter__(self) -> Iterator[LivePicture]:
        picture_ns = self._asked_ns = self._clock.now_ns()
        try:
            while (message := self._messages.read()) is not None:
                now_ns = self._clock.now_ns()
                picture = self._picture(message, now_ns)
                if picture is not None:
                    picture_ns, self._has_pictures = now_ns, True
                    yield picture
                    self._asked_ns = self._clock.now_ns()
                elif now_ns - picture_ns > PICTURE_TIMEOUT_S * 1e9:
                    self._has_pictures = False
                    said = self._said_of_waiting()
                    raise SourceUnreadable(f"{self._name}: no picture came for {PICTURE_TIMEOUT_S:.0f} s; {said}")
        except SourceUnreadable as error:
            said = str(error)
            raise (error if said.startswith(self._name) else SourceUnreadable(f"{self._name}: {said}")) from error
        except OSError as error:
            if self._is_closed():
                return
            said = error.strerror or str(error)
            if isinstance(error, TimeoutError) and not said.startswith("a message"):
                said = "nothing came in time"
            raise SourceUnreadable(f"{self._name}: lost ({said})") from error

    def _picture(self, message: Message, now_ns: int) -> LivePicture | None:
        """The picture in a message; None where there is none, or none that is wanted."""
        header, body = message.header, message.body
        if header.kind == "STATUS" and body is not None:
            self._take_status(header, body)
        if header.kind in PICTURE_KINDS and len(self._heard) < MOST_HEARD:
            self._heard[header.device if header.kind == "IMAGE" else f"{header.device} ({header.kind})"] = None
        if header.kind != "IMAGE" or (self._device and header.device != self._device):
            return None
        if body is None:
            self._skip(message.problem)
            return None
        try:
            found = parse_image(header, body)
        except SourceUnreadable as error:
            self._skip(str(error))
            return None
        self._device = self._device or header.device  # two pictures of different probes must not mix
        height, width = found.image.shape
        self._doubt = found.doubt
        self.format = f"{header.device} {width}x{height}".strip()
        aspect = found.aspect if found.aspect or found.doubt else presumed_aspect(width, height)
        stamp_ns, waited_ns = header.timestamp_ns or None, now_ns - self._asked_ns
        captured_ns = self._sender.captured_ns(stamp_ns, now_ns, reader_waited_ns=waited_ns)
        return LivePicture(
            image=found.image,
            captured_ns=captured_ns,
            spacing=found.spacing,
            spacing_note=found.doubt,
            pixel_aspect=aspect,
        )

    def _take_status(self, header: MessageHeader, body: memoryview) -> None:
        """A peer that says it is not well is noted and logged: its pictures, or their absence, say the rest."""
        try:
            code, name, text = parse_status(header, body)
        except SourceUnreadable as error:
            self._skip(str(error))
            return
        said = "" if code == STATUS_OK else " ".join(f"the peer says {name}: {text} ({code})".split())
        if said and said != self._peer_says:  # once, and not with every picture
            _log.warning("%s: %s", self._name, said)
        self._peer_says = said

    def _skip(self, problem: str) -> None:
        self.skipped += 1
        self._problem = problem
        _log.debug("%s: stepped over: %s", self._name, problem)

    def _said_of_waiting(self) -> str:
        """Why there is no picture yet, as far as the peer's messages tell."""
        heard = ", ".join(sorted(name or "an unnamed one" for name in self._heard))
        if self._problem:
            return f"the last message that could not be read was {self._problem}"
        if self._wanted and heard:
            return f"device {self._wanted!r} sends none; these do: {heard}"
        return f"pictures come as {heard}, which cannot be read" if heard else ""

    def close(self) -> None:
        """Ends a waiting read at once."""
        with suppress(OSError):  # the peer has gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
