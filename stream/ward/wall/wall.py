"""All feeds of a ward for all viewers: listens to each feed's own page, and sends each viewer what is new.

A message to a viewer is binary, as those of the live page: length of the JSON, the JSON, a JPEG or nothing. The JSON is

    {"sent_s": 12.3, "delay_s": 0.01, "order": [names], "notes": [words], "tile": {...}}

with what is wrong with the ward itself, and one tile (see `stream.ward.wall.tiles`), whose picture the JPEG is. Every
`HEARTBEAT_S` each tile is sent, new or not. A viewer says `sent_s` back, so that `delay_s` is how late he gets what is
sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from stream.outputs.manifest import NOTICE
from stream.outputs.web.broadcast import pack_message, unpack_message
from stream.ward.view import ProcessState
from stream.ward.wall.feed_page import FeedPageError, connected
from stream.ward.wall.tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.ward.view import FeedPage, FeedView, WardStatus, WardView

HEARTBEAT_S = 0.4
"""Each tile is sent at least so often: a page that hears of none for longer turns its numbers off by itself."""
LOOK_S = 0.1
"""How often the ward is asked for the state of its feeds."""
MOST_VIEWERS = 64


class WallViewer:
    """One viewer: the names of tiles that he has not got yet.

    Attributes:
        delay_s: how long what was sent to him took to be answered, of late.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._waiting: dict[str, None] = {}
        self._has_some = asyncio.Event()
        self._shown: dict[str, int] = {}

    def offer(self, name: str) -> None:
        """There is something new of that feed."""
        self._waiting[name] = None
        self._has_some.set()

    async def next_name(self) -> str:
        """Waits for the feed that has waited longest."""
        while not self._waiting:
            self._has_some.clear()
            await self._has_some.wait()
        name = next(iter(self._waiting))
        del self._waiting[name]
        return name

    def is_new(self, name: str, number: int) -> bool:
        """Whether he has not got that picture; he will have."""
        is_new = number != self._shown.get(name, 0)
        self._shown[name] = number
        return is_new


class Wall:
    """The tiles, and who looks at them. All methods belong to the loop of the web server.

    Args:
        ward: whose feeds are shown.
        now_s: seconds, of a clock that never goes back.
    """

    def __init__(self, ward: WardStatus, now_s: Callable[[], float]) -> None:
        self._ward, self._now_s = ward, now_s
        self.tiles = Tiles(now_s)
        self.viewers: set[WallViewer] = set()
        self.looked_s = now_s()
        """When it last asked the ward: every `LOOK_S`, unless its loop is stuck."""
        self._notes: list[str] = []
        self._listeners: dict[str, tuple[FeedPage, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Keeps the tiles until it is cancelled."""
        told_s = self._now_s()
        try:
            while True:
                ward = await asyncio.to_thread(self._ward.view)  # it may be busy starting a process
                self.looked_s = self._now_s()
                self._notes = notes_of(ward)
                views = {view.name: view for view in ward.feeds}
                changed = [name for name, view in views.items() if self._has_changed(view)]
                self.tiles.take(views)
                self._listen(views)
                is_time = self._now_s() - told_s >= HEARTBEAT_S
                if is_time:
                    told_s = self._now_s()
                for name in views if is_time else changed:
                    self._offer(name)
                await asyncio.sleep(LOOK_S)
        finally:
            for _, task in self._listeners.values():
                task.cancel()

    def _has_changed(self, view: FeedView) -> bool:
        known = self.tiles.view(view.name)
        return known is None or (known.state, known.reason) != (view.state, view.reason)

    def _offer(self, name: str) -> None:
        for viewer in self.viewers:
            viewer.offer(name)

    def _listen(self, views: dict[str, FeedView]) -> None:
        """Listens to each feed whose process runs, at the page that it has now."""
        wanted = {
            name: view.page
            for name, view in views.items()
            if view.state is ProcessState.RUNNING and view.page is not None
        }
        for name, (place, task) in list(self._listeners.items()):
            if wanted.get(name) != place or task.done():
                task.cancel()
                del self._listeners[name]
        for name, place in wanted.items():
            if name not in self._listeners:
                self._listeners[name] = (place, asyncio.create_task(self._hear(name, place)))

    async def _hear(self, name: str, page: FeedPage) -> None:
        """Takes what a feed's page says; connects again where the line breaks."""
        while True:
            with contextlib.suppress(FeedPageError):
                async with connected(page, "/tile") as websocket:
                    await self._take_all(name, websocket)
            await asyncio.sleep(HEARTBEAT_S)

    async def _take_all(self, name: str, websocket: Any) -> None:
        async for packed in websocket:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                said, picture = unpack_message(packed)
                if "state" in said:  # the first message of a line has facts alone
                    self.tiles.hear(name, said, picture)
                    self._offer(name)

    def enter(self) -> WallViewer:
        """A new viewer, who gets all tiles."""
        viewer = WallViewer()
        self.viewers.add(viewer)
        for name in self.tiles.names():
            viewer.offer(name)
        return viewer

    def hello(self) -> bytes:
        """The first message to a viewer."""
        return pack_message({"notice": NOTICE, "order": self.tiles.names()}, b"")

    def message(self, viewer: WallViewer, name: str) -> bytes | None:
        """The tile of a feed for a viewer; None where there is no such feed any more."""
        if name not in self.tiles.names():
            return None
        number, picture = self.tiles.picture(name)
        content = {
            "sent_s": round(self._now_s(), 3),
            "delay_s": round(viewer.delay_s, 2),
            "order": self.tiles.names(),
            "notes": self._notes,
            "tile": self.tiles.content(name),
        }
        return pack_message(content, picture if viewer.is_new(name, number) else b"")

    def answered(self, viewer: WallViewer, sent_s: float) -> None:
        """A viewer has got what was sent at that moment."""
        viewer.delay_s = min(max(0.0, self._now_s() - sent_s), 60.0)


def notes_of(ward: WardView) -> list[str]:
    """What is wrong with the ward itself, beside its feeds, for people."""
    notes = []
    engine, recording = ward.engine, ward.recording
    if engine.state is not ProcessState.RUNNING:
        said = "model on a server" if engine.is_remote else f"engine {engine.state}"
        notes.append(said + (f": {engine.reason}" if engine.reason else ""))
    if recording.state == "stopped":
        notes.append(f"nothing is recorded: {recording.reason}")
    else:
        failed = [f"{feed.label} ({feed.recording})" for feed in ward.feeds if feed.recording not in ("on", "off")]
        notes += [f"nothing is recorded of {', '.join(failed)}"] if failed else []
    if ward.reload_error:
        notes.append("the changed configuration was not taken; the log says why")
    return notes
