"""Reads the messages of one OpenIGTLink connection, bounded in size and time.

A message's header says how long its body is. An IMAGE says it twice, by its body and by the size of its picture: where
the two disagree by much there is no telling where the next message begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.common.errors import SourceUnreadable
from stream.sources.live.igtl.protocol import EXTENDED, HEADER, IMAGE, MessageHeader, fill, picture_bytes

if TYPE_CHECKING:
    import socket

    from stream.common.clock import Clock

READ_TIMEOUT_S = 2.0
"""Silence for so long is a lost connection."""
MESSAGE_TIMEOUT_S = 5.0
"""From a message's first byte to its last."""
MOST_PICTURE_BYTES = 1 << 26
"""Pixels of one slice: 8192 x 8192 of 8 bits. More are stepped over."""
MOST_WORDS_BYTES = 1 << 16
"""Of a STATUS or another message that is read but is no picture."""
LONGEST_DETOUR_BYTES = 1 << 20
"""A body that contradicts its own header is stepped over up to this size."""
_SPARE_BYTES = 1 << 16
"""What a body may hold beyond its picture."""
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message as it came.

    Attributes:
        header: its header.
        body: all of it; None where it was stepped over.
        problem: why it was stepped over, for people; empty where nobody wanted it.
    """

    header: MessageHeader
    body: memoryview | None
    problem: str = ""


class MessageReader:
    """Reads messages one after the other.

    Args:
        connection: a connected socket; its time-out is set here.
        clock: for the deadlines.
    """

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self._deadline_ns = 0
        self._scratch = memoryview(bytearray(_CHUNK_BYTES))

    def read(self) -> Message | None:
        """The next message; None where the peer closed between two of them.

        Raises:
            SourceUnreadable: it closed within one, sends something else, or lies about a large body.
            OSError: the connection broke; TimeoutError where nothing came, or a message did not end, in time.
        """
        head = memoryview(bytearray(HEADER.size))
        self._deadline_ns = 0
        if not fill(self._connection, head[:1], may_end=True, before_each=self._set_timeout):
            return None
        self._deadline_ns = self._clock.now_ns() + round(MESSAGE_TIMEOUT_S * 1e9)
        self._fill(head[1:])
        header = MessageHeader.parse(head)
        if header.kind == "IMAGE":
            return self._image(header)
        if header.kind == "STATUS" and header.body_bytes <= MOST_WORDS_BYTES:
            body = memoryview(bytearray(header.body_bytes))
            self._fill(body)
            return Message(header, body)
        self._step_over(header.body_bytes)
        return Message(header, None)

    def _image(self, header: MessageHeader) -> Message:
        """Reads a picture as far as its own header goes, then the rest if that agrees with it."""
        whole, prelude = header.body_bytes, bytearray()
        where = f"IMAGE of {header.device or 'an unnamed device'}"

        def ahead(count: int) -> bool:
            """Reads the body's first `count` bytes; whether it is that long."""
            part = memoryview(bytearray(max(min(count, whole) - len(prelude), 0)))
            self._fill(part)
            prelude.extend(part)
            return len(prelude) >= count

        start = extra = 0
        if header.version >= 2:
            if not ahead(EXTENDED.size):
                return Message(header, None, f"{where}: its body is cut short")
            start, index_bytes, metadata_bytes, _ = EXTENDED.unpack_from(prelude)
            extra = index_bytes + metadata_bytes
        if start + IMAGE.size + extra > whole or not ahead(start + IMAGE.size):
            problem = f"{where}: its headers do not fit its body of {whole} bytes"
            return self._lying(header, whole - len(prelude), problem)
        pixels = picture_bytes(prelude[start : start + IMAGE.size])
        needed = start + IMAGE.size + pixels + extra
        if not needed <= whole <= needed + _SPARE_BYTES:
            problem = f"{where}: a body of {whole} bytes, where its picture needs {needed}"
            return self._lying(header, whole - len(prelude), problem)
        if pixels > MOST_PICTURE_BYTES:
            self._step_over(whole - len(prelude))
            return Message(header, None, f"{where}: {pixels} bytes are too many for a picture")
        body = bytearray(whole)
        body[: len(prelude)] = prelude
        self._fill(memoryview(body)[len(prelude) :])
        return Message(header, memoryview(body))

    def _lying(self, header: MessageHeader, left: int, problem: str) -> Message:
        if header.body_bytes > LONGEST_DETOUR_BYTES:
            raise SourceUnreadable(problem)
        self._step_over(left)
        return Message(header, None, problem)

    def _step_over(self, count: int) -> None:
        while count:
            part = self._scratch[: min(count, len(self._scratch))]
            self._fill(part)
            count -= len(part)

    def _fill(self, target: memoryview) -> None:
        fill(self._connection, target, before_each=self._set_timeout)

    def _set_timeout(self) -> None:
        self._connection.settimeout(self._left_s())

    def _left_s(self) -> float:
        """For how long the next bytes may be waited for."""
        if not self._deadline_ns:
            return READ_TIMEOUT_S
        left_s = (self._deadline_ns - self._clock.now_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError(f"a message did not end within {MESSAGE_TIMEOUT_S:.0f} s")
        return min(left_s, READ_TIMEOUT_S)
