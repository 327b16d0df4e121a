"""What a tile of the wall says: the process first, then its silence, then what its own page says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stream.ward.view import FeedPage, FeedView, ProcessState
from stream.ward.wall.relay import Merged, _shortened
from stream.ward.wall.tiles import NO_ANSWER, SILENT_S, Tiles
from stream.ward.wall.wall import WallViewer

RUNNING = FeedView(
    name="a", label="Room 1", state=ProcessState.RUNNING, page=FeedPage(host="127.0.0.1", port=1, token="t")
)
SAID: dict[str, Any] = {
    "state": "live",
    "reason": "",
    "aop": {"value": 120.0},
    "hsd": {"value": 40.0},
    "drawing": {"ps": []},
    "age_ms": 40,
    "trend": [1],
    "mark_answers": {"a": "x"},
}


class Now:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def tiles(now: Now) -> Tiles:
    tiles = Tiles(now)
    tiles.take({"a": RUNNING})
    return tiles


def numbers(content: dict[str, Any]) -> list[Any]:
    return [content.get(name) for name in ("aop", "hsd", "drawing")]


def test_a_live_feed_is_shown_as_its_own_page_shows_it(tiles: Tiles, now: Now) -> None:
    assert tiles.content("a")["state"] == "starting"
    tiles.hear("a", SAID, b"jpeg")
    now.s += 0.3
    content = tiles.content("a")
    assert (content["label"], content["state"], content["age_s"]) == ("Room 1", "live", 0.3)
    assert numbers(content) == [SAID["aop"], SAID["hsd"], SAID["drawing"]]
    assert "trend" not in content
    assert "mark_answers" not in content
    assert tiles.picture("a") == (1, b"jpeg")
    assert tiles.is_answering("a")


def test_a_feed_that_says_nothing_loses_its_number_and_not_its_age(tiles: Tiles, now: Now) -> None:
    tiles.hear("a", SAID, b"jpeg")
    now.s += SILENT_S + 0.1
    content = tiles.content("a")
    assert content["state"] == NO_ANSWER
    assert numbers(content) == [None, None, None]
    assert content["age_s"] == pytest.approx(SILENT_S + 0.1)
    assert not tiles.is_answering("a")
    assert tiles.picture("a") == (1, b"jpeg")  # dim on the page, and old


@pytest.mark.parametrize(("age_ms", "later_s"), [(40, 1.0), (1000, 0.1), (None, 0.0)])
def test_no_number_is_sent_with_a_picture_that_is_older_than_a_second(
    tiles: Tiles, now: Now, age_ms: int | None, later_s: float
) -> None:
    tiles.hear("a", SAID | {"age_ms": age_ms}, b"jpeg")
    now.s += later_s
    assert tiles.content("a")["state"] == "delayed"
    assert numbers(tiles.content("a")) == [None, None, None]
    tiles.hear("a", SAID, b"jpeg")
    assert tiles.content("a")["state"] == "live"


@pytest.mark.parametrize("state", [state for state in ProcessState if state is not ProcessState.RUNNING])
def test_what_the_ward_says_of_a_process_comes_before_what_that_said(
    tiles: Tiles, now: Now, state: ProcessState
) -> None:
    tiles.hear("a", SAID, b"jpeg")
    tiles.take({"a": replace(RUNNING, state=state, reason="why", next_start_s=3.0, page=None)})
    content = tiles.content("a")
    assert (content["state"], content["reason"], content["next_start_s"]) == (str(state), "why", 3.0)
    assert numbers(content) == [None, None, None]


@pytest.mark.parametrize("state", ["frozen", "no signal", "delayed", "reconnecting", "no plane", "ended", "nonsense"])
def test_a_number_is_there_in_states_with_numbers_alone(tiles: Tiles, state: str) -> None:
    tiles.hear("a", SAID | {"state": state, "reason": "so"}, b"")
    content = tiles.content("a")
    assert (content["state"], content["reason"]) == (state, "so")
    assert numbers(content) == [None, None, None]


def test_feeds_come_and_go_and_keep_their_order(tiles: Tiles) -> None:
    tiles.hear("a", SAID, b"jpeg")
    tiles.take({"b": replace(RUNNING, name="b"), "a": RUNNING})
    assert tiles.names() == ["b", "a"]
    assert tiles.content("a")["state"] == "live"
    tiles.take({"b": replace(RUNNING, name="b")})
    tiles.hear("a", SAID, b"")  # a line that has not noticed yet
    assert tiles.names() == ["b"]
    assert tiles.view("a") is None


def test_a_slow_viewer_gets_each_feed_in_turn_and_each_picture_once() -> None:
    import asyncio

    async def names() -> list[str]:
        viewer = WallViewer()
        for name in "abab":
            viewer.offer(name)
        first = [await viewer.next_name(), await viewer.next_name()]
        viewer.offer("c")
        return [*first, await viewer.next_name()]

    assert asyncio.run(names()) == ["a", "b", "c"]
    viewer = WallViewer.__new__(WallViewer)
    viewer._shown = {}
    assert [viewer.is_new("a", number) for number in (0, 1, 1, 2)] == [False, True, False, True]


def test_messages_that_a_viewer_was_too_slow_for_become_one_with_all_points() -> None:
    import asyncio

    from stream.outputs.web.broadcast import unpack_message

    async def merged() -> tuple[dict[str, Any], bytes]:
        waiting = Merged()
        waiting.add({"state": "live", "trend": [1, 2], "x": 1}, b"old")
        waiting.add({"state": "hold", "trend": [3]}, b"new")
        waiting.add({"state": "live", "trend": []}, b"")
        return unpack_message(await waiting.take())

    content, picture = asyncio.run(merged())
    assert (content["state"], content["trend"], picture) == ("live", [1, 2, 3], b"new")


def test_a_reason_fits_into_a_close_frame() -> None:
    assert len(_shortened("ü" * 200).encode()) <= 123
    assert _shortened("short") == "short"
