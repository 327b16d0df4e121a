"""The newest that is known of each feed, for the wall: what its own page says, under what the ward says of its process.

A tile is JSON: the message of the feed's own page (`stream.outputs.web.state.page_message`), and beside it

    name, label     of the feed
    state, reason   the feed's own, or the ward's where its process does not run or does not answer
    age_s           how long ago the picture was captured; null before the first
    next_start_s    until its process is started again; null where it is not waited for

with no number, and no outline, wherever the state is not one of `stream.outputs.web.state.WITH_NUMBERS`, or the picture
is older than `stream.pipeline.record.STALE_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stream.outputs.web.state import WITH_NUMBERS, DisplayState
from stream.pipeline.record import STALE_S
from stream.ward.view import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream.ward.view import FeedView

SILENT_S = 1.5
"""A feed's page says something every 0.4 s; one that has said nothing for so long does not answer."""
NO_ANSWER = "no answer"
NOT_SHOWN = ("dropped", "feeds", "marks", "is_push_open", "mark_count", "mark_answers", "trend", "facts")
"""Parts of a feed's message that its own page alone shows."""


@dataclass(slots=True)
class Tile:
    """What is known of one feed.

    Attributes:
        view: of the ward.
        said: the newest message of the feed's own page; empty while there is none.
        heard_s: when it came.
        picture: the newest, as JPEG.
        number: of the picture; it only grows.
        captured_s: when it was captured.
    """

    view: FeedView
    said: Mapping[str, Any] = field(default_factory=dict)
    heard_s: float = 0.0
    picture: bytes = b""
    number: int = 0
    captured_s: float | None = None

    def hear(self, said: Mapping[str, Any], picture: bytes, now_s: float) -> None:
        """Takes a message of the feed's own page."""
        self.said = {key: value for key, value in said.items() if key not in NOT_SHOWN}
        self.heard_s = now_s
        if said.get("age_ms") is not None:
            self.captured_s = now_s - said["age_ms"] / 1e3
        if picture:
            self.picture, self.number = picture, self.number + 1

    def content(self, now_s: float) -> dict[str, Any]:
        """The tile at a moment."""
        state, reason = self._state(now_s)
        age_s = None if self.captured_s is None else max(0.0, now_s - self.captured_s)
        if state in WITH_NUMBERS and (age_s is None or age_s > STALE_S):
            state, reason = str(DisplayState.DELAYED), f"its process has said nothing for {now_s - self.heard_s:.1f} s"
        content = {**self.said, "state": state, "reason": reason}
        if state not in WITH_NUMBERS:
            content |= {"aop": None, "hsd": None, "drawing": None}
        return content | {
            "name": self.view.name,
            "label": self.view.label,
            "next_start_s": self.view.next_start_s,
            "age_s": None if age_s is None else round(age_s, 1),
        }

    def _state(self, now_s: float) -> tuple[str, str]:
        """What stands in the way first: the process, its silence, then what its own page says."""
        if self.view.state is not ProcessState.RUNNING:
            return str(self.view.state), self.view.reason
        if not self.said:
            return str(ProcessState.STARTING), "its process runs, and has said nothing yet"
        silent_s = now_s - self.heard_s
        if silent_s > SILENT_S:
            return NO_ANSWER, f"its process has said nothing for {silent_s:.0f} s"
        return str(self.said.get("state", DisplayState.CONNECTING)), str(self.said.get("reason") or "")


class Tiles:
    """All tiles of a ward; belongs to the loop of the web server.

    Args:
        now_s: seconds, of a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._tiles: dict[str, Tile] = {}

    def take(self, views: Mapping[str, FeedView]) -> None:
        """Takes what the ward says of its feeds; feeds that are gone go, in the order of the ward."""
        kept = self._tiles
        self._tiles = {name: kept.get(name) or Tile(view) for name, view in views.items()}
        for name, view in views.items():
            self._tiles[name].view = view

    def hear(self, name: str, said: Mapping[str, Any], picture: bytes) -> None:
        """Takes a message of a feed's own page."""
        if name in self._tiles:
            self._tiles[name].hear(said, picture, self._now_s())

    def names(self) -> list[str]:
        """Of all feeds, in order."""
        return list(self._tiles)

    def view(self, name: str) -> FeedView | None:
        """What the ward says of a feed; None where there is none of that name."""
        tile = self._tiles.get(name)
        return tile.view if tile else None

    def content(self, name: str) -> dict[str, Any]:
        """A tile now."""
        return self._tiles[name].content(self._now_s())

    def is_answering(self, name: str) -> bool:
        """Whether a feed's process runs and says something."""
        tile = self._tiles[name]
        running = tile.view.state is ProcessState.RUNNING and bool(tile.said)
        return running and self._now_s() - tile.heard_s <= SILENT_S

    def picture(self, name: str) -> tuple[int, bytes]:
        """The newest picture of a feed, and its number; 0 where there is none."""
        tile = self._tiles[name]
        return tile.number, tile.picture
