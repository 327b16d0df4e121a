"""A ward whose feeds' pages are real ones in this process: what the wall is shown without the processes of a ward."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.common.clock import MonotonicClock
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.ward.config import WardConfig, read_ward_config
from stream.ward.view import EngineView, FeedPage, FeedView, ProcessState, WardView
from stream.ward.wall.server import WallServer
from stream.ward.wall.settings import WallSettings
from tests.fakes.browser import Feeder, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.pipeline.record import Measurement

WATCH, MARK, METRICS = ("watch-0123456789abcdef", "mark-0123456789abcdef", "metrics-0123456789abcdef")
PAGE_TOKEN = "page-0123456789abcdef"


class FakeFeed:
    """One feed: its page, its board, and what feeds that."""

    def __init__(self, name: str, label: str, stack: ExitStack) -> None:
        self.peer = Peer()
        self.board = Board(clock=MonotonicClock(), source=self.peer, name=name)  # type: ignore[arg-type]
        self.feeder = Feeder(self.board)
        self._stack = stack
        self.view = FeedView(name=name, label=label, state=ProcessState.STARTING)
        stack.callback(self.board.close)
        stack.callback(self.feeder.close)
        self.begin()

    def begin(self) -> None:
        """Its process runs, with a page at another port."""
        self._server = ExitStack()
        self._stack.callback(self._server.close)
        server = self._server.enter_context(WebServer([self.board], host="127.0.0.1", port=0, token=PAGE_TOKEN))
        page = FeedPage(host="127.0.0.1", port=server._port, token=PAGE_TOKEN)
        self.view = replace(self.view, state=ProcessState.RUNNING, reason="", page=page, next_start_s=None)

    def end(self, state: ProcessState = ProcessState.RESTARTING, reason: str = "ended: signal 9", **more: Any) -> None:
        """Its process is gone, and the ward knows."""
        self._server.close()
        self.view = replace(self.view, state=state, reason=reason, page=None, **more)

    def fall_silent(self) -> None:
        """Its process is gone, and the ward does not know yet."""
        self._server.close()


class FakeWard:
    """A `WardStatus` of such feeds."""

    def __init__(self, config: WardConfig, feeds: Sequence[FakeFeed]) -> None:
        self.config, self.feeds = config, list(feeds)
        self.rest = WardView(engine=EngineView(state=ProcessState.RUNNING))

    def view(self) -> WardView:
        return replace(self.rest, feeds=tuple(feed.view for feed in self.feeds))


def ward_file(folder: Path, feeds: Sequence[str], *, more: str = "") -> Path:
    """A `ward.toml` of phantoms with these names."""
    path = folder / "ward.toml"
    tables = "\n".join(f'[feeds.{name}]\nsource = "phantom:?seed={index}"\n' for index, name in enumerate(feeds, 1))
    path.write_text(f"{tables}\n[web]\nport = 0\n{more}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


TOKENS = f'[tokens]\nwatch = ["{WATCH}"]\nmark = ["{MARK}"]\nmetrics = ["{METRICS}"]\n'


@contextmanager
def shown_ward(
    folder: Path, names: Sequence[str], good: Measurement | None = None, *, more: str = TOKENS
) -> Iterator[tuple[WallServer, FakeWard]]:
    """A ward of feeds that repeat one result, and its wall."""
    config = read_ward_config(ward_file(folder, names, more=more))
    with ExitStack() as stack:
        feeds = [FakeFeed(name, name.replace("-", " ").capitalize(), stack) for name in names]
        for feed in feeds:
            feed.feeder.measurement = good
        ward = FakeWard(config, feeds)
        yield stack.enter_context(WallServer(ward, WallSettings.checked(config))), ward
