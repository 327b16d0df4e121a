"""RTSP 1.0 client over TCP: sets up the video session, then yields its RTP packets.

    DESCRIBE --SDP--> SETUP --session--> PLAY --$ channel length data--> RTP packets, RTCP, answers

Packets come over the same connection (interleaved), so that no port has to be open. Source: RFC 2326, RFC 2617, RFC
7616.
"""

from __future__ import annotations

import re
import socket
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.common.errors import SourceDenied, SourceUnreadable
from stream.sources.live.igtl.protocol import fill
from stream.sources.live.rtsp.login import RtspLogin
from stream.sources.live.rtsp.session_description import RtspAddress, VideoDescription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.common.clock import Clock

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 2.0
"""A session that sends nothing for so long is taken for lost."""
SESSION_S = 60
"""For how long a server keeps a session that says nothing, where it does not say."""
INTERLEAVED = 0x24
"""The byte before each packet, `$`."""
MOST_EARLY = 4096
"""Packets that may come before the answer to PLAY."""
MOST_HEAD_BYTES = 1 << 16
MOST_REDIRECTIONS = 3
AGENT = "partum"


@dataclass(frozen=True, slots=True)
class RtspResponse:
    """What a server answers. Names of headers are in lower case; of several of one name, all are kept."""

    status: int
    words: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class RtspClient:
    """One session.

    Args:
        address: of the server.
        clock: for keeping the session alive.

    Raises:
        SourceUnreadable: nobody answers, or what is asked for is refused.
        SourceDenied: user name or password are refused.
    """

    def __init__(self, address: RtspAddress, clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._count = 0
        self._login = RtspLogin(address.user, address.password)
        self._session = self._base = self._elsewhere = ""
        self._early: deque[tuple[int, bytes]] = deque(maxlen=MOST_EARLY)
        self._alive_ns, self._every_ns = clock.now_ns(), SESSION_S * 500_000_000
        self._channel = 0
        self._socket = _connected(address)
        try:
            self.media = self._described()
        except BaseException:
            self._socket.close()
            raise

    def _described(self) -> VideoDescription:
        for _ in range(MOST_REDIRECTIONS + 1):
            answer = self._ask("DESCRIBE", self._address.url, {"Accept": "application/sdp"})
            if answer.status not in (301, 302, 303, 307):
                break
            there = RtspAddress.parse(answer.header("location"))
            self._socket.close()
            if there.host != self._address.host:  # user and password are for the host that the user named
                self._login, self._elsewhere = RtspLogin("", ""), there.host
            self._address = replace(self._address, host=there.host, port=there.port, path=there.path)
            self._socket = _connected(self._address)
        self._check(answer, "DESCRIBE")
        self._base = answer.header("content-base") or answer.header("content-location") or self._address.url
        return VideoDescription.parse(answer.body.decode("utf-8", "replace"), self._base)

    def play(self) -> None:
        """Has the server send.

        Raises:
            SourceUnreadable: it does not want to.
        """
        transport = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        answer = self._ask("SETUP", self.media.control, transport)
        self._check(answer, "SETUP")
        self._session, _, rest = answer.header("session").partition(";")
        seconds = re.search(r"timeout=(\d{1,5})", rest)
        self._every_ns = max(int(seconds[1]) if seconds else SESSION_S, 2) * 500_000_000
        channel = re.search(r"interleaved=(\d{1,3})", answer.header("transport"))
        self._channel = int(channel[1]) if channel else 0
        self._check(self._ask("PLAY", self._base, {"Range": "npt=0.000-"}), "PLAY")

    def packets(self) -> Iterator[bytes]:
        """The RTP packets of the video, as they come; an empty one for whatever else comes between.

        Raises:
            SourceUnreadable: the server closed, or sends something else.
            OSError: the connection broke, or nothing came in time.
        """
        self._socket.settimeout(READ_TIMEOUT_S)
        yield from (data for channel, data in self._early if channel == self._channel)
        self._early.clear()
        first = memoryview(bytearray(1))
        while True:
            if not fill(self._socket, first, may_end=True):
                raise SourceUnreadable("the server ended the session")
            if first[0] == INTERLEAVED:
                channel, data = self._packet()
                yield data if channel == self._channel else b""
            else:
                self._passed_over(bytes(first))
                yield b""
            self._keep_alive()

    def _packet(self) -> tuple[int, bytes]:
        """The channel and content of a packet, behind its first byte."""
        head = memoryview(bytearray(3))
        fill(self._socket, head)
        data = bytearray(int.from_bytes(head[1:]))
        fill(self._socket, memoryview(data))
        return head[0], bytes(data)

    def _passed_over(self, begun: bytes) -> None:
        """An answer to what keeps the session alive, or a word of the server, among the packets."""
        if not (begun.isalpha() or begun in b"\r\n"):
            raise SourceUnreadable("what it sends is neither a packet nor an answer")
        if begun.isalpha():
            self._answer(begun)

    def _keep_alive(self) -> None:
        if self._clock.now_ns() - self._alive_ns > self._every_ns:
            self._send("GET_PARAMETER", self._base, {})

    def close(self) -> None:
        """Ends a waiting read at once, from any thread. Closing twice is harmless."""
        try:
            if self._session:
                self._socket.settimeout(0.2)
                self._send("TEARDOWN", self._base, {})
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server has gone already
        self._session = ""
        self._socket.close()

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> RtspResponse:
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._send(method, url, headers)
        answer = self._answer()
        challenges = [value for name, value in answer.headers if name == "www-authenticate"]
        if answer.status == 401 and self._login.take(challenges):
            self._send(method, url, headers)
            answer = self._answer()
        return answer

    def _check(self, answer: RtspResponse, method: str) -> None:
        if answer.status in (401, 403) and self._elsewhere:
            raise SourceDenied(
                f"the server redirects to {self._elsewhere}, which wants a password and is not told it"
                f" ({answer.status}); name that host in the address if it is the right one"
            )
        if answer.status in (401, 403):
            raise SourceDenied(f"user name or password is refused ({answer.status} {answer.words})")
        if answer.status != 200:
            raise SourceUnreadable(f"{method} is refused ({answer.status} {answer.words})")

    def _send(self, method: str, url: str, headers: dict[str, str]) -> None:
        self._count += 1
        self._alive_ns = self._clock.now_ns()
        said = {"CSeq": str(self._count), "User-Agent": AGENT, **headers}
        if self._session:
            said["Session"] = self._session
        if authorization := self._login.answer(method, url):
            said["Authorization"] = authorization
        lines = [f"{method} {url} RTSP/1.0", *(f"{name}: {value}" for name, value in said.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def _answer(self, begun: bytes = b"") -> RtspResponse:
        """The next answer; packets before it are kept."""
        head = bytearray(begun)
        one = memoryview(bytearray(1))
        while not head.endswith(b"\r\n\r\n"):
            fill(self._socket, one)
            if not head and one[0] == INTERLEAVED:
                self._early.append(self._packet())
                continue
            head += one
            if len(head) > MOST_HEAD_BYTES:
                raise SourceUnreadable("its answer has no end")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in (ln.partition(":") for ln in lines))
        length = next((value for name, value in headers if name == "content-length"), "0")
        if not length.isdigit() or int(length) > MOST_HEAD_BYTES:
            raise SourceUnreadable(f"its answer is {length[:20]} bytes long")
        body = memoryview(bytearray(int(length)))
        fill(self._socket, body)
        match = re.match(r"RTSP/\d\.\d (\d{3}) ?(.*)", first)
        if match is None and not re.match(r"[A-Z_]+ \S+ RTSP/\d\.\d$", first):
            raise SourceUnreadable("it does not speak RTSP")
        return RtspResponse(int(match[1]) if match else 0, match[2] if match else "", headers, bytes(body))


def _connected(address: RtspAddress) -> socket.socket:
    try:
        connection = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:  # a name that cannot be encoded is a ValueError
        said = getattr(error, "strerror", None) or error
        raise SourceUnreadable(f"cannot be connected ({said}); check host and port") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
