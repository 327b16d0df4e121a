"""An RTSP server for the tests: sessions over one TCP connection, packets that may be left out, passwords, mischief."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.sources.decoding.h264 import nal_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_BYTES = 1000
"""Of a packet's payload; larger units are sent in fragments."""


def packets_of(pictures: Sequence[bytes], codec: str, *, first: int = 0) -> list[tuple[int, bytes]]:
    """The RTP packets of coded pictures, each with the number of its picture; 25 pictures a second."""
    found, sequence = [], first
    for number, picture in enumerate(pictures):
        payloads = [part for unit in nal_units(picture, 0) for part in _parts(unit.rstrip(b"\0"), codec)]
        for index, payload in enumerate(payloads):
            is_last = index == len(payloads) - 1
            stamp = (0xFFFF_0000 + 3600 * number) & 0xFFFF_FFFF  # wraps after 18 pictures
            head = struct.pack(">BBHII", 0x80, (0x80 if is_last else 0) | 96, sequence & 0xFFFF, stamp, 77)
            found.append((number, head + payload))
            sequence += 1
    return found


def _parts(unit: bytes, codec: str) -> list[bytes]:
    if len(unit) <= MOST_BYTES:
        return [unit]
    size = 1 if codec == "H264" else 2
    body = [unit[at : at + MOST_BYTES] for at in range(size, len(unit), MOST_BYTES)]
    parts = []
    for index, part in enumerate(body):
        flags = (0x80 if index == 0 else 0) | (0x40 if index == len(body) - 1 else 0)
        if codec == "H264":
            parts.append(bytes([unit[0] & 0xE0 | 28, flags | unit[0] & 31]) + part)
        else:
            parts.append(bytes([unit[0] & 0x81 | 49 << 1, unit[1], flags | unit[0] >> 1 & 63]) + part)
    return parts


class RtspServer:
    """Plays packets to whoever asks, as fast as they are taken, and then closes.

    Args:
        packets: RTP, in order.
        codec: as SDP names it.
        login: user, password and scheme (`Basic`, `Digest` or `Digest SHA-256`) that are asked for.
        answer: takes a request's method and may give another answer than the usual one.
        early: packets that are sent before the answer to PLAY.
        sdp: another description.
        stays: keeps the session when all is sent.
        channel: of the packets.

    Attributes:
        asked: the methods of all requests, in order.
        authorizations: what came with them of user and password.
    """

    def __init__(
        self,
        packets: Sequence[bytes],
        *,
        codec: str = "H264",
        login: tuple[str, str, str] | None = None,
        answer: Callable[[str], str | None] = lambda method: None,
        early: int = 0,
        sdp: str | None = None,
        stays: bool = False,
        channel: int = 0,
    ) -> None:
        self._packets, self._codec, self._login, self._other = packets, codec, login, answer
        self._early, self._sdp, self._stays, self._channel = early, sdp, stays, channel
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.asked: list[str] = []
        self.authorizations: list[str] = []
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            while (request := lines.readline().decode()) != "":
                headers = {}
                while line := lines.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                method, url, _ = request.split()
                self.asked.append(method)
                self.authorizations += [headers["authorization"]] if "authorization" in headers else []
                self._reply(connection, method, url, headers)
                if method == "PLAY" and self._other(method) is None:
                    for packet in self._packets[self._early :]:
                        connection.sendall(_framed(packet, self._channel))
                    if not self._stays:
                        return

    def _reply(self, connection: socket.socket, method: str, url: str, headers: dict[str, str]) -> None:
        sequence = f"CSeq: {headers.get('cseq', '0')}\r\n"
        other = self._other(method)
        if other is not None:
            connection.sendall(other.replace("CSEQ", sequence).encode())
            return
        if self._login and not self._is_right(method, headers.get("authorization", "")):
            scheme = self._login[2]
            algorithm = ", algorithm=SHA-256" if scheme.endswith("256") else ""
            words = f'{scheme.split()[0]} realm="cam", nonce="n0", qop="auth", opaque="o"{algorithm}'
            connection.sendall(f"RTSP/1.0 401 Unauthorized\r\n{sequence}WWW-Authenticate: {words}\r\n\r\n".encode())
            return
        body, more = "", ""
        if method == "DESCRIBE":
            body = (
                self._sdp
                if self._sdp is not None
                else (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:track1\r\n"
                    f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {self._codec}/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                    "a=control:track2\r\n"
                )
            )
            more = f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP":
            assert url.endswith("/track2"), url
            more = "Session: 12;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "PLAY":
            for packet in self._packets[: self._early]:
                connection.sendall(_framed(packet))
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        connection.sendall(f"RTSP/1.0 200 OK\r\n{sequence}{more}{length}\r\n{body}".encode())

    def _is_right(self, method: str, said: str) -> bool:
        assert self._login is not None
        user, password, scheme = self._login
        if scheme == "Basic":
            return said == f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        words = dict(re.findall(r'(\w+)="?([^",]*)"?', said.partition(" ")[2]))
        if not words:
            return False

        def digest(text: str) -> str:
            return hashlib.new("sha256" if scheme.endswith("256") else "md5", text.encode()).hexdigest()

        first, second = digest(f"{user}:cam:{password}"), digest(f"{method}:{words['uri']}")
        middle = f"n0:{words['nc']}:{words['cnonce']}:auth"
        return bool(words["response"] == digest(f"{first}:{middle}:{second}") and words["opaque"] == "o")


def _framed(packet: bytes, channel: int = 0) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet
