"""A feed's own page on loopback, as the ward talks to it: its messages, its metrics, and a viewer's line to it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.ward.view import FeedPage

OPEN_S = 2.0
"""To connect, and to answer a request, in."""
LARGEST_MESSAGE = 1 << 23
"""Bytes: a picture of 960 pixels and five minutes of trend are far less."""
MOST_METRICS = 1 << 22
_SILENT = logging.Logger(__name__, logging.CRITICAL + 1)
"""Of the library, which would write down the token of each page."""


class FeedPageError(Exception):
    """A feed's own page does not answer."""


@asynccontextmanager
async def connected(page: FeedPage, path: str) -> AsyncIterator[Any]:
    """A WebSocket to a feed's own page.

    Raises:
        FeedPageError: it does not answer, or its process goes.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, WebSocketException

    connection = connect(
        f"ws://{page.host}:{page.port}{path}",
        additional_headers=_headers(page),
        compression=None,
        open_timeout=OPEN_S,
        close_timeout=OPEN_S,
        max_size=LARGEST_MESSAGE,
        max_queue=1,  # what is not taken waits at the feed, which then leaves pictures out
        proxy=None,
        logger=_SILENT,
    )
    async with AsyncExitStack() as stack:
        try:
            websocket = await stack.enter_async_context(connection)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise FeedPageError("its process does not answer") from error
        try:
            yield websocket
        except ConnectionClosed as error:
            raise FeedPageError("its process has gone") from error
        finally:
            websocket.transport.abort()  # a farewell on loopback is not worth waiting for, least of all at the end


async def metrics_of(page: FeedPage) -> str:
    """The text of a feed's `/metrics`, asked for without a thread: pages that hang must not use those up.

    Raises:
        FeedPageError: it does not answer within `OPEN_S`.
    """
    try:
        async with asyncio.timeout(OPEN_S):
            return await _fetched(page)
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        raise FeedPageError("its process does not answer") from error


async def _fetched(page: FeedPage) -> str:
    """The body of the answer to a request of HTTP/1.0, which ends with the connection."""
    reader, writer = await asyncio.open_connection(page.host, page.port)
    try:
        lines = ["GET /metrics HTTP/1.0", f"Host: {page.host}:{page.port}"]
        lines += [f"{name}: {value}" for name, value in _headers(page).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = b""
        while part := await reader.read(1 << 16):
            answer += part
            if len(answer) > MOST_METRICS:
                raise ValueError(f"more than {MOST_METRICS} bytes")
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split()[1] != b"200":
        raise ConnectionRefusedError
    return body.decode("utf-8")


def _headers(page: FeedPage) -> dict[str, str]:
    return {"Authorization": f"Bearer {page.token}"}
