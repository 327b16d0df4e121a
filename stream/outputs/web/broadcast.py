"""Sends each new state to all viewers; a slow viewer gets the newest, not a queue.

A message is binary: length of the JSON (4 bytes, big-endian), the JSON, a JPEG (empty where there is no new picture).
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream.outputs.manifest import NOTICE
from stream.outputs.web.jpeg import LONGEST_SIDE_PX, encode_picture
from stream.outputs.web.state import display_state, page_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from stream.outputs.web.board import Board
    from stream.preprocessing.preprocessor import PreprocessorState

MOST_RATE_HZ = 30.0
TILE_RATE_HZ, TILE_SIDE_PX = 5.0, 480
"""Of a picture among many, on the wall of a ward: how often it is sent, and the pixels of its longer side."""
HEARTBEAT_S = 0.4
"""A page hears from the server at least so often: one that does not turns its number off by itself."""
MOST_VIEWERS = 64
"""Of all streams together."""
LONGEST_MESSAGE = 1024
"""Bytes that a viewer may send at once: a mark, and nothing else is looked at."""
MOST_MESSAGES_HZ = 10
"""A viewer that says more than this in a second is let go."""
HEADER = struct.Struct(">I")
TRY_LATER, TOO_MUCH = 1013, 1008
"""WebSocket close codes (RFC 6455)."""


class Viewer:
    """The newest message for one viewer; one that is not taken in time is replaced, but for its picture."""

    def __init__(self) -> None:
        self._content: dict[str, Any] = {}
        self._picture = b""
        self._is_new = asyncio.Event()
        self.trend_count = 0

    def offer(self, content: dict[str, Any], picture: bytes) -> None:
        self._content, self._picture = content, picture or self._picture
        self._is_new.set()

    async def newest(self) -> tuple[dict[str, Any], bytes]:
        """Waits for a message."""
        await self._is_new.wait()
        self._is_new.clear()
        picture, self._picture = self._picture, b""
        return self._content, picture


class Broadcast:
    """The viewers of one board, and the task that feeds them. All methods but `wake` belong to the server's loop.

    Args:
        board: whose newest result is sent.
        all_boards: whose states are sent beside it, for the tabs of the page.
        most_rate_hz: how often a viewer gets a message at most.
        longest_side_px: pictures are shrunk to it.
    """

    def __init__(
        self,
        board: Board,
        all_boards: Sequence[Board],
        *,
        most_rate_hz: float = MOST_RATE_HZ,
        longest_side_px: int = LONGEST_SIDE_PX,
    ) -> None:
        self.board, self._all = board, all_boards
        self._pause_s, self._longest_side_px = 1 / most_rate_hz, longest_side_px
        self.viewers: set[Viewer] = set()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._sent_index = -1
        self._picture = b""
        board.listeners.append(self.wake)

    def wake(self) -> None:
        """Says, from any thread, that there is something new."""
        with suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """Feeds the viewers until it is cancelled; does nothing while there are none."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), HEARTBEAT_S)
            self._changed.clear()
            if self.viewers:
                content, picture = await asyncio.to_thread(self._message)
                for viewer in self.viewers:
                    viewer.offer(content, picture)
            await asyncio.sleep(self._pause_s)

    def enter(self) -> Viewer:
        """A new viewer, who gets the newest state at once."""
        viewer = Viewer()
        self.viewers.add(viewer)
        self._sent_index = -1  # the next message has a picture, new or not
        self._changed.set()
        return viewer

    def hello(self, viewer: Viewer) -> bytes:
        """The first message: what does not change, and the trend so far."""
        viewer.trend_count, trend = self.board.trend_since(0)
        hello = {"facts": self.board.facts, "notice": NOTICE, "trend": trend}
        return pack_message(hello | {"feeds": [board.name for board in self._all]}, b"")

    def message_for(self, viewer: Viewer, content: dict[str, Any], picture: bytes) -> bytes:
        """A message, with the points of the trend that this viewer has not got yet."""
        viewer.trend_count, trend = self.board.trend_since(viewer.trend_count)
        return pack_message(content | {"trend": trend}, picture)

    def _message(self) -> tuple[dict[str, Any], bytes]:
        """The newest state, and its picture where that was not sent yet."""
        board, snapshot = self.board, self.board.snapshot()
        content = page_message(snapshot) | {
            "dropped": dict(board.statistics.drops),
            "frames": board.statistics.frames_in,
            "marks": board.recent_marks(),
            "is_push_open": board.is_push_open,
            "mark_count": len(board.marks_s),
            "mark_answers": board.mark_answers,
            "engine": board.statistics.engines[-1].name if board.statistics.engines else None,
            "engine_change": next(reversed(board.statistics.engine_changes), None),
            "now_s": board.now_s(),
            "feeds": [{"name": each.name, "state": display_state(each.snapshot())[0]} for each in self._all],
            **_seen(board.seen),
        }
        measurement = snapshot.measurement
        if measurement is None or measurement.frame.index == self._sent_index:
            return content, b""
        self._sent_index = measurement.frame.index
        return content, encode_picture(measurement.frame.image, self._longest_side_px)


def pack_message(content: dict[str, Any], picture: bytes) -> bytes:
    """One message, as it goes over the WebSocket."""
    text = json.dumps(content, allow_nan=False).encode()
    return HEADER.pack(len(text)) + text + picture


def unpack_message(packed: bytes) -> tuple[dict[str, Any], bytes]:
    """The content of a message that `pack_message` made, and its picture.

    Raises:
        ValueError: it is not one.
    """
    if len(packed) < HEADER.size:
        raise ValueError("the message is too short")
    end = HEADER.size + HEADER.unpack_from(packed)[0]
    content = json.loads(packed[HEADER.size : end])
    if not isinstance(content, dict):
        raise ValueError("the message is no object")
    return content, packed[end:]


async def texts_from(websocket: Any) -> AsyncIterator[str]:
    """What a viewer says until he has gone, empty where it is no text; one who talks too much is let go."""
    from starlette.websockets import WebSocketDisconnect

    second, count = 0.0, 0
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await websocket.receive()
            if message["type"] != "websocket.receive":
                return
            now = time.monotonic()
            second, count = (now, 1) if now - second > 1.0 else (second, count + 1)
            if count > MOST_MESSAGES_HZ:
                await websocket.close(TOO_MUCH, "too many messages")
                return
            yield message.get("text") or ""


def _seen(seen: PreprocessorState) -> dict[str, str]:
    """Where the picture was found, and where its scale comes from, in words."""
    sector = f"{seen.sector} ({seen.confidence:.2f})" if seen.confidence is not None else seen.sector
    masked = f", {seen.masked} lines masked" if seen.masked else ""
    return {"sector": f"{sector}{masked}", "calibration": seen.scale}
