"""OpenIGTLink server for results: 3D Slicer, PLUS or any client connects and listens.

IMAGE `Partum` is the sector as it was measured, with its spacing; STRING `Partum/Result` the line that
`measurements.jsonl` has for it; STATUS `Partum/State` says 1 (OK) where the page would show it as live, 18 (not
present) where the source is not there, else 13 (not ready), with the reason. The state is said again every second, so
that a receiver hears of a source that is gone.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.common.errors import OutputError
from stream.outputs.web.state import DisplayState
from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import record_of
from stream.sources.live.igtl.protocol import (
    STATUS_NOT_PRESENT,
    STATUS_NOT_READY,
    STATUS_OK,
    pack_image,
    pack_status,
    pack_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.pipeline.record import Measurement

LAST_PORT = 65535
HOST = "127.0.0.1"
"""This machine alone: the protocol knows no password."""
SEND_TIMEOUT_S = 2.0
"""A client that takes nothing for so long is let go."""
WAKE_S = 0.2
REPEAT_S = 1.0
"""The state is said at least so often; a client that has gone is noticed by then too."""
GONE = frozenset({DisplayState.CONNECTING, DisplayState.RECONNECTING, DisplayState.ENDED})
WITHOUT_A_PICTURE = frozenset({DisplayState.NO_SIGNAL, DisplayState.DELAYED})


class IgtlOutput:
    """Sends the newest result to whoever is connected; a `stream.outputs.base.Sink`.

    Each client has a thread of its own and gets the newest when it has taken the one before: a slow one sees fewer, and
    slows nobody.

    Args:
        port: to listen at; 0 takes a free one.
        state: what the page says now, and why.
        repeat_s: how often the state is said while there is no result.

    Raises:
        OutputError: it cannot be listened at.
    """

    def __init__(self, port: int, *, state: Callable[[], tuple[DisplayState, str]], repeat_s: float = REPEAT_S) -> None:
        self._state, self._repeat_s = state, repeat_s
        self._reason = ""
        self._server = _listening(port)
        self._server.settimeout(WAKE_S)
        self.port: int = self._server.getsockname()[1]
        self._changed = threading.Condition()
        self._newest: tuple[int, bytes] = (0, b"")
        self._is_closed = False
        self._clients: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, name="partum-igtl-output")
        self._thread.start()

    @staticmethod
    def check(port: int) -> None:
        """Finds out early whether it can be listened at.

        Raises:
            OutputError: it cannot.
        """
        _listening(port).close()

    def write(self, measurement: Measurement) -> None:
        """Takes a result; dropped frames are not sent."""
        if measurement.state is FrameState.DROPPED:
            return
        self._reason = str(measurement.reason or "")
        with self._changed:
            has_clients = bool(self._clients)
        packed = _packed(measurement) + self._packed_state() if has_clients else b""
        with self._changed:
            self._newest = self._newest[0] + 1, packed
            self._changed.notify_all()

    def close(self) -> None:
        """Lets every client go. Closing twice is harmless."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self._server.close()
        with self._changed:
            clients = list(self._clients)
        for client in clients:
            client.join()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection.settimeout(SEND_TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = threading.Thread(target=self._serve, args=(connection,), name="partum-igtl-client")
            with self._changed:
                self._clients.append(client)
                client.start()

    def _serve(self, connection: socket.socket) -> None:
        number = self._newest[0]
        with connection, suppress(OSError):  # the client has gone, or sleeps
            while not self._is_closed and not _has_gone(connection):
                number, packed = self._newer_than(number)
                connection.sendall(packed or self._packed_state())
        with self._changed:
            self._clients.remove(threading.current_thread())

    def _newer_than(self, number: int) -> tuple[int, bytes]:
        """The next result; nothing, with the same number, where none comes in time or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._newest[0] > number, self._repeat_s)
            return self._newest if self._newest[0] > number else (number, b"")

    def _packed_state(self) -> bytes:
        code, name, text = self._status()
        return pack_status(code, name, text, "Partum/State", timestamp_ns=time.time_ns())

    def _status(self) -> tuple[int, str, str]:
        """Code, name and text of the state now."""
        state, why = self._state()
        if state in (DisplayState.LIVE, DisplayState.REPLAY):
            return STATUS_OK, "OK", ""
        if state in GONE:
            return STATUS_NOT_PRESENT, str(state).upper(), why
        if state in WITHOUT_A_PICTURE:
            return STATUS_NOT_READY, str(state).upper(), why
        return STATUS_NOT_READY, "CANNOT MEASURE", self._reason or why


def _has_gone(connection: socket.socket) -> bool:
    """Whether the client has closed; what it says is not listened to."""
    ready, _, _ = select.select([connection], [], [], 0)
    return bool(ready) and not connection.recv(1 << 16)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OutputError(f"--igtl-out {port}: cannot listen there ({error.strerror}); choose another") from error


def _packed(measurement: Measurement) -> bytes:
    """The picture and the line of a result."""
    now_ns = time.time_ns()  # OpenIGTLink's stamps are of the wall clock
    frame = measurement.frame
    record = json.dumps(record_of(measurement), allow_nan=False)
    return pack_image(frame.image, "Partum", spacing=frame.spacing, timestamp_ns=now_ns) + pack_string(
        record, "Partum/Result", timestamp_ns=now_ns
    )
