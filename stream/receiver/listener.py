"""The listening side of pynetdicom, made to bear strangers.

pynetdicom starts two threads for each connection, before a byte has come, reads whatever length a stranger announces,
and waits for each byte as long as it takes. Here a connection is looked at before it costs a thread: it is let in when
its request for an association is whole and names a known peer. One that says nothing is closed after a while, the
oldest first where there are many; one that is let in has so long for each message, of at most so many bytes.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import ThreadedAssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_ASSOCIATIONS = 64
MOST_WAITING = 128
"""Connections that have not asked for an association yet; beyond, the oldest are closed."""
_ROOM = 16
"""Where others knock, room is made for so many."""
ASK_S = 10.0
"""Within so long after it was opened a connection asks for an association."""
PDU_S = 30.0
"""Within so long after its first byte a message (PDU) is whole."""
MOST_PDU_BYTES = 1 << 20
LEAVE_S = 2.0
"""A rejected peer may take so long to read that it is."""
TICK_S = 0.1

Rejection = tuple[int, int, int]
"""Result, source and reason of PS3.8 9.3.4."""
LOCAL_LIMIT: Rejection = (0x02, 0x03, 0x02)
"""Rejected for now, by the service provider: local limit exceeded."""
_REQUEST, _REJECT = 0x01, 0x03
_HEAD_BYTES = 6
_ENOUGH_BYTES = 1 << 15
"""Of a request that is longer; the system's buffer may not hold it whole."""
_TITLES_END = 42
"""Of a request, PS3.8 9.3.2: 10 bytes, the called title of 16, the calling title of 16."""


class Connection(socket.socket):
    """An accepted connection that a message neither fills nor holds open for ever."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._head, self._left, self._due_s = b"", 0, 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receives as any socket does, in pieces that do not reach over the end of a message.

        Raises:
            TimeoutError: the message is not whole in time.
            ConnectionAbortedError: it is too long.
        """
        if flags:
            return super().recv(size, flags)
        try:
            now_s, is_begun = time.monotonic(), bool(self._head or self._left)
            self._due_s = self._due_s if is_begun else now_s + PDU_S
            if now_s >= self._due_s:
                raise TimeoutError("a message was not whole in time")
            self.settimeout(self._due_s - now_s)
            data = super().recv(min(size, self._left or _HEAD_BYTES - len(self._head)))
            self._count(data)
            self.settimeout(PDU_S)  # of an answer
        except OSError:
            with suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)  # pynetdicom does that only when its threads end
            raise
        return data

    def _count(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
            return
        self._head += data
        if len(self._head) == _HEAD_BYTES:
            self._left, self._head = int.from_bytes(self._head[2:], "big"), b""
            if self._left > MOST_PDU_BYTES:
                raise ConnectionAbortedError("a message is too long")


@dataclass(slots=True)
class _Caller:
    """A connection that is not let in.

    Attributes:
        connection: not blocking.
        address: of the peer, as its socket says it.
        until_s: it is closed then.
        is_leaving: it was rejected, and is to read that.
    """

    connection: Connection
    address: Any
    until_s: float
    is_leaving: bool = False


class Listener(ThreadedAssociationServer):
    """A server of `pynetdicom.AE.make_server`, which takes one more argument.

    Args:
        admits: asked with the calling title and the address; None lets in, else it is rejected so. It must not block.
    """

    request_queue_size = 128

    def __init__(self, *arguments: Any, admits: Callable[[str, str], Rejection | None], **options: Any) -> None:
        self._admits = admits
        self._callers: list[_Caller] = []
        self._is_ended = threading.Event()
        super().__init__(*arguments, **options)
        self._listening.setblocking(False)
        self._thread = threading.Thread(target=self.serve_forever, name="partum-listener", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Binds `::` to addresses of IPv4 too, whatever the system's default."""
        if self.address_family == socket.AF_INET6 and self.server_address[0] == "::":
            with suppress(OSError):
                self._listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def serve_forever(self, poll_interval: float = TICK_S) -> None:
        """Lets callers in until `shutdown`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._is_ended.is_set():
                heard = {key.fileobj for key, _ in selector.select(poll_interval)}
                if self.socket in heard:
                    self._accept(selector)
                self._look(selector, heard)
                self.service_actions()

    def shutdown(self) -> None:
        """Closes the socket, and what is not let in. Associations go on."""
        self._is_ended.set()
        self._thread.join()
        for caller in self._callers:
            caller.connection.close()
        self.server_close()

    @property
    def _listening(self) -> socket.socket:
        assert self.socket is not None
        return self.socket

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: what went wrong may quote what was sent, and the connection is closed."""

    def _accept(self, selector: selectors.BaseSelector) -> None:
        """Accepts as many as there is room for; of those that were looked at before, the oldest make room."""
        while len(self._callers) > MOST_WAITING - _ROOM:
            self._drop(self._callers[0], selector)
        for _ in range(MOST_WAITING - len(self._callers)):
            try:
                accepted, address = self._listening.accept()
            except BlockingIOError:
                return  # there is none left
            except OSError:
                self._is_ended.wait(TICK_S)  # of a want of descriptors, say: it is still there when asked again at once
                return
            connection = Connection(accepted.detach())
            connection.setblocking(False)
            self._callers.append(_Caller(connection, address, time.monotonic() + ASK_S))
            selector.register(connection, selectors.EVENT_READ)

    def _look(self, selector: selectors.BaseSelector, heard: set[Any]) -> None:
        """Goes on with those who said something, and with those who had said a part; closes those whose time is up."""
        known = selector.get_map()
        for caller in list(self._callers):
            if time.monotonic() > caller.until_s:
                self._drop(caller, selector)
            elif caller.connection in heard or caller.connection not in known:
                try:
                    self._hear(caller, selector)
                except (OSError, RuntimeError):  # RuntimeError: the system has no thread for it
                    self._drop(caller, selector)

    def _hear(self, caller: _Caller, selector: selectors.BaseSelector) -> None:
        """Looks at what a caller has sent, without taking it unless it was rejected.

        Raises:
            OSError: the connection is gone.
            RuntimeError: no thread can be started for it.
        """
        if caller.is_leaving:
            if not caller.connection.recv_into(bytearray(1 << 16)):
                self._drop(caller, selector)
            return
        try:
            said = caller.connection.recv(_ENOUGH_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        size = _HEAD_BYTES + int.from_bytes(said[2:_HEAD_BYTES], "big")
        if not said or said[0] != _REQUEST or not size <= MOST_PDU_BYTES:
            self._drop(caller, selector)
        elif len(said) < max(_TITLES_END, min(size, _ENOUGH_BYTES)):
            self._forget(caller, selector)  # which would say again and again that there is a part; time will tell
        else:
            self._decide(caller, said, selector)

    def _decide(self, caller: _Caller, said: bytes, selector: selectors.BaseSelector) -> None:
        title = said[26:_TITLES_END].decode("latin-1").strip(" \0")
        rejection = self._admits(title, str(caller.address[0]))
        if rejection is None and len(self.active_associations) >= MOST_ASSOCIATIONS:
            rejection = LOCAL_LIMIT
        if rejection is None:
            self._forget(caller, selector)
            self._callers.remove(caller)
            caller.connection.setblocking(True)
            self.process_request(caller.connection, caller.address)
            return
        caller.connection.send(bytes([_REJECT, 0, 0, 0, 0, 4, 0, *rejection]))
        caller.connection.shutdown(socket.SHUT_WR)
        caller.is_leaving, caller.until_s = True, time.monotonic() + LEAVE_S
        if caller.connection not in selector.get_map():
            selector.register(caller.connection, selectors.EVENT_READ)

    def _forget(self, caller: _Caller, selector: selectors.BaseSelector) -> None:
        with suppress(KeyError, ValueError):
            selector.unregister(caller.connection)

    def _drop(self, caller: _Caller, selector: selectors.BaseSelector) -> None:
        self._forget(caller, selector)
        with suppress(ValueError):  # it had been let in
            self._callers.remove(caller)
        caller.connection.close()
