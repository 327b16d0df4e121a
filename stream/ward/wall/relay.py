"""A viewer's line to a feed's own page: passes its messages on, and a viewer's marks back where he may set any.

What a viewer does not take in time is put together: the newest state and picture, and all points of the trend.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream.outputs.web.broadcast import (
    LONGEST_MESSAGE,
    TOO_MUCH,
    TRY_LATER,
    pack_message,
    texts_from,
    unpack_message,
)
from stream.ward.wall.feed_page import FeedPageError, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from stream.ward.view import FeedView

LONGEST_REASON = 120
"""Bytes of the reason in a WebSocket's close frame, at most 123 (RFC 6455)."""
LOOK_S = 0.5
"""How often it is looked whether a viewer may still look."""
NOT_ALLOWED = "the token is not one of this ward any more"


class Merged:
    """The messages that wait for a viewer, as one."""

    def __init__(self) -> None:
        self._content: dict[str, Any] | None = None
        self._picture = b""
        self._has_one = asyncio.Event()

    def add(self, content: dict[str, Any], picture: bytes) -> None:
        waiting = self._content or {}
        trend = [*waiting.get("trend", ()), *content.get("trend", ())]
        self._content = {**waiting, **content, "trend": trend}
        self._picture = picture or self._picture
        self._has_one.set()

    async def take(self) -> bytes:
        """Waits for a message."""
        await self._has_one.wait()
        self._has_one.clear()
        packed = pack_message(self._content or {}, self._picture)
        self._content, self._picture = None, b""
        return packed


async def relay(websocket: Any, view: FeedView, *, may_mark: bool, may_stay: Callable[[], bool]) -> None:
    """Serves a viewer of one feed until he, the feed, or his right to look is gone.

    Args:
        websocket: of the viewer; not accepted yet.
        view: of the feed.
        may_mark: whether his marks are passed on.
        may_stay: whether his token still holds.
    """
    from starlette.websockets import WebSocketDisconnect

    await websocket.accept()
    try:
        if view.page is None:
            raise FeedPageError(f"{view.state}: {view.reason}" if view.reason else str(view.state))
        async with connected(view.page, "/stream") as feed:
            hello, _ = unpack_message(await feed.recv())
            await websocket.send_bytes(pack_message(hello | {"may_mark": may_mark, "ward": view.label}, b""))
            await _until_one_ends(
                _pass_on(feed, websocket), _listen(websocket, feed if may_mark else None), _guard(websocket, may_stay)
            )
    except (FeedPageError, ValueError) as error:
        with suppress(RuntimeError, OSError):
            await websocket.close(TRY_LATER, _shortened(str(error)))
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # the viewer has gone


async def _until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Runs them side by side; the first that ends, or fails, ends all.

    Raises:
        FeedPageError: the feed's page is gone.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(feed: Any, websocket: Any) -> None:
    """What the feed's page says, to the viewer."""
    from starlette.websockets import WebSocketDisconnect

    merged = Merged()

    async def send() -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):  # the viewer has gone
            while True:
                await websocket.send_bytes(await merged.take())

    sending = asyncio.create_task(send())
    try:
        async for packed in feed:
            merged.add(*unpack_message(packed))
            if sending.done():
                return
        raise FeedPageError("its process has gone")
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _listen(websocket: Any, feed: Any) -> None:
    """The viewer's marks, to the feed's page; None where he may set none."""
    async for text in texts_from(websocket):
        if feed is not None and 0 < len(text.encode()) <= LONGEST_MESSAGE:
            await feed.send(text)


async def _guard(websocket: Any, may_stay: Callable[[], bool]) -> None:
    """Lets a viewer go whose token was taken out of the configuration."""
    while may_stay():
        await asyncio.sleep(LOOK_S)
    with suppress(RuntimeError, OSError):
        await websocket.close(TOO_MUCH, NOT_ALLOWED)


def _shortened(reason: str) -> str:
    """As much of a reason as a close frame takes."""
    return reason.encode()[:LONGEST_REASON].decode(errors="ignore")
