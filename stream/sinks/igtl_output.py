"""Offers the results by OpenIGTLink, as a server: 3D Slicer, PLUS or a program of one's own connects and listens.

IMAGE `Partum` is the sector as it was measured, with its spacing; STRING `Partum/Result` the line that
`measurements.jsonl` has for it; STATUS `Partum/State` says 1 (OK) where it was measured, else 13 (not ready) with the
reason.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.errors import OutputError
from stream.measurement import State
from stream.openigtlink import STATUS_NOT_READY, STATUS_OK, pack_image, pack_status, pack_string

if TYPE_CHECKING:
    from stream.measurement import Measurement

LAST_PORT = 65535
HOST = "127.0.0.1"
"""This machine alone: the protocol knows no password."""
SEND_TIMEOUT_S = 2.0
"""A client that takes nothing for so long is let go."""
WAKE_S = 0.2


class IgtlOutput:
    """Sends the newest result to whoever is connected; a `stream.sinks.base.Sink`.

    Each client has a thread of its own and gets the newest when it has taken the one before: a slow one sees fewer, and
    slows nobody.

    Args:
        port: to listen at; 0 takes a free one.

    Raises:
        OutputError: it cannot be listened at.
    """

    def __init__(self, port: int) -> None:
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
        if measurement.state is State.DROPPED:
            return
        with self._changed:
            has_clients = bool(self._clients)
        packed = _packed(measurement) if has_clients else b""
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
        for client in self._clients:
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
                self._clients = [each for each in self._clients if each.is_alive()] + [client]
                client.start()

    def _serve(self, connection: socket.socket) -> None:
        number = self._newest[0]
        with connection, suppress(OSError):  # the client has gone, or sleeps
            while (newer := self._newer_than(number)) is not None:
                number, packed = newer
                connection.sendall(packed)

    def _newer_than(self, number: int) -> tuple[int, bytes] | None:
        """Waits for the next result; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._newest[0] > number)
            return None if self._is_closed else self._newest


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OutputError(f"--igtl-out {port}: cannot listen there ({error.strerror}); choose another") from error


def _packed(measurement: Measurement) -> bytes:
    """The three messages of a result."""
    now_ns = time.time_ns()  # OpenIGTLink's stamps are of the wall clock
    frame = measurement.frame
    record = json.dumps(measurement.record(), allow_nan=False)
    is_measured = measurement.state is State.MEASURED
    code, name = (STATUS_OK, "OK") if is_measured else (STATUS_NOT_READY, "CANNOT MEASURE")
    return (
        pack_image(frame.image, "Partum", spacing=frame.spacing, timestamp_ns=now_ns)
        + pack_string(record, "Partum/Result", timestamp_ns=now_ns)
        + pack_status(code, name, str(measurement.reason or ""), "Partum/State", timestamp_ns=now_ns)
    )
