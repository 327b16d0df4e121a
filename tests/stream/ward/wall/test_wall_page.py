"""The wall in a real browser: every feed is there, and one that is gone, late or silent never looks live."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stream.frames.reason import Reason
from stream.sources.live.base import LinkState
from stream.ward.view import EngineView, ProcessState
from tests.fakes.browser import wait
from tests.fakes.browser_page import held, refused, widest_result
from tests.fakes.ward.shown import MARK, WATCH, shown_ward

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.pipeline.record import Measurement
    from stream.ward.wall.server import WallServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE_S = 60.0
"""Of a browser that others leave little of the processor."""
DESKTOP, PHONE, SIDEWAYS = (1440, 900), (390, 844), (844, 390)


@pytest.fixture(scope="module")
def good() -> Measurement:
    return widest_result()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [fault for fault in faults if "WebSocket" not in fault and "401" not in fault] == []


def opened(page: Any, server: WallServer, token: str = WATCH) -> None:
    page.goto(f"{server.address}?token={token}")
    assert "token" not in page.url


def state_of(page: Any, name: str) -> str:
    """What a tile says, as it is read on the screen."""
    said: str = page.locator(f'[data-feed="{name}"] .state b').text_content()
    return said


def until(page: Any, name: str, state: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    tile = page.locator(f'[data-feed="{name}"]')
    while not (tile.count() and state_of(page, name) == state):
        assert time.monotonic() < give_up, (state, page.inner_text("body"))
        page.wait_for_timeout(30)


def text(page: Any, name: str, what: str) -> str:
    """A part of a tile; empty where it cannot be seen."""
    part = page.locator(f'[data-feed="{name}"] {what}')
    return str(part.inner_text()) if part.is_visible() else ""


def until_read(page: Any, name: str, what: str, words: str) -> None:
    """Waits until a part of a tile says something: a machine that is busy may take a number off for a moment."""
    give_up = time.monotonic() + PATIENCE_S
    while words not in (said := text(page, name, what)) or bool(words) != bool(said):
        assert time.monotonic() < give_up, (name, what, words, said)
        page.wait_for_timeout(30)


def check_dark(page: Any, name: str, word: str) -> None:
    """No number, a word across the picture, and a picture that is dimmed."""
    assert text(page, name, ".aop-number") == ""
    assert text(page, name, ".hsd-number") == ""
    assert text(page, name, ".veil").lower().startswith(word)
    brightest = page.evaluate(
        """name => { const c = document.querySelector(`[data-feed="${name}"] canvas`);
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let most = 0;
        for (let i = 0; i < d.length; i += 4) most = Math.max(most, d[i] * d[i + 3] / 255); return most; }""",
        name,
    )
    assert brightest < 190


def test_one_killed_feed_is_seen_at_once_and_the_other_goes_on(page: Any, good: Measurement, tmp_path: Path) -> None:
    with shown_ward(tmp_path, ["room-1", "room-2"], good) as (server, ward):
        opened(page, server)
        for name in ("room-1", "room-2"):
            until(page, name, "live")
            until_read(page, name, ".aop-number b", "178°")
            until_read(page, name, ".hsd-number b", "104.4 mm")
            until_read(page, name, ".aop-number", "161 to 196° repeatability")
            until_read(page, name, ".veil", "")
        assert "RESEARCH USE ONLY" in page.inner_text("#use")
        wait(page, "document.querySelector('#tally').textContent === '2 live'")
        ward.feeds[0].fall_silent()  # killed: at first only the silence says so
        until(page, "room-1", "no answer")
        check_dark(page, "room-1", "no answer")
        ward.feeds[0].end(reason="its process was ended by signal 9", next_start_s=4.0)
        until(page, "room-1", "restarting")
        page.wait_for_timeout(700)
        check_dark(page, "room-1", "restarting")
        assert "ended by signal 9; starts again in" in text(page, "room-1", ".why")
        assert "picture of" in text(page, "room-1", ".veil")  # and how old it is
        until(page, "room-2", "live")
        until_read(page, "room-2", ".aop-number b", "178°")
        wait(page, "document.title.startsWith('1 RESTARTING, 1 LIVE')")
        ward.feeds[0].begin()
        until(page, "room-1", "live")
        until_read(page, "room-1", ".aop-number b", "178°")
    wait(page, "document.querySelector('#tally').textContent === '2 connection lost'")
    check_dark(page, "room-1", "connection lost")
    assert "Not connected to the ward" in page.inner_text("#lost")


def test_every_state_is_told_apart(page: Any, good: Measurement, tmp_path: Path) -> None:
    names = ["held", "frozen", "plane", "cable", "refused", "live"]
    with shown_ward(tmp_path, names, good) as (server, ward):
        feeds = dict(zip(names, ward.feeds, strict=True))
        opened(page, server)
        until(page, "live", "live")
        feeds["held"].feeder.measurement = held(good)
        feeds["frozen"].feeder.measurement = refused(good, Reason.FROZEN, aop=None)
        feeds["plane"].feeder.measurement = refused(good, Reason.NOT_STANDARD_PLANE, aop=None)
        feeds["cable"].peer.now(LinkState.RECONNECTING, "the cable was pulled")
        feeds["refused"].end(ProcessState.REFUSED, "141 ms expected, 100 ms allowed")
        expected = {
            "held": "hold",
            "plane": "no plane",
            "cable": "reconnecting",
            "refused": "refused",
            "frozen": "frozen",
        }
        for name, state in expected.items():
            until(page, name, state)
        page.wait_for_timeout(100)
        for name in ("frozen", "cable", "refused"):
            check_dark(page, name, expected[name])
        assert text(page, "cable", ".why") == "the cable was pulled"
        assert text(page, "refused", ".why") == "141 ms expected, 100 ms allowed"
        wait(page, "/0[.][78] s old/.test(document.querySelector('[data-feed=held] .aop-number').textContent)")
        assert text(page, "plane", ".aop-number") == ""
        until_read(page, "plane", ".veil", "")
        wait(page, f"document.querySelector('#tally').textContent.split('1 ').length === {len(names) + 1}")
        assert not page.locator("#notes").is_visible()
        ward.rest = replace(ward.rest, engine=EngineView(state=ProcessState.RESTARTING, reason="killed by signal 9"))
        wait(page, "document.querySelector('#notes').textContent === 'engine restarting: killed by signal 9'")
        assert page.locator("#notes").is_visible()
        borders = {
            name: page.evaluate(f"getComputedStyle(document.querySelector('[data-feed={name}]')).borderColor")
            for name in names
        }
        assert borders["cable"] == borders["refused"] != borders["live"] == borders["held"]


def test_a_click_opens_the_page_of_one_feed_and_its_role_holds_there(
    page: Any, good: Measurement, tmp_path: Path
) -> None:
    with shown_ward(tmp_path, ["room-1", "room-2"], good) as (server, ward):
        for token, may_mark in ((WATCH, False), (MARK, True)):
            page.context.clear_cookies()
            opened(page, server, token)
            until(page, "room-2", "live")
            page.click('[data-feed="room-2"]')
            page.wait_for_url("**/feeds/room-2/")
            wait(page, "document.querySelector('#state').textContent === 'live'")
            assert page.inner_text("#ward b") == "Room 2"
            assert page.locator("#mark").is_visible() is may_mark
            page.keyboard.press("m")
            if may_mark:
                wait(page, "document.querySelector('#mark-note').textContent.startsWith('Mark 1 kept')")
        assert len(ward.feeds[1].board.marks_s) == 1
        assert ward.feeds[0].board.mark_answers == {}
        ward.feeds[1].end(reason="ended: signal 9")
        wait(page, "document.querySelector('#state').textContent === 'connection lost'")
        assert page.inner_text("#aop") == "—"
        wait(page, "document.querySelector('#reason').textContent.startsWith('restarting: ended')")
        ward.feeds[1].begin()
        wait(page, "document.querySelector('#state').textContent === 'live'")
        page.click("#ward a")
        until(page, "room-1", "live")


def test_who_comes_without_a_token_signs_in_by_the_form(page: Any, good: Measurement, tmp_path: Path) -> None:
    with shown_ward(tmp_path, ["room-1"], good) as (server, _):
        page.goto(server.address)
        page.fill("#token", "not this one, it is wrong")
        page.click("button")
        assert page.inner_text("[role=alert]") == "That token is not one of this ward."
        page.fill("#token", WATCH)
        page.click("button")
        until(page, "room-1", "live")
        assert page.url == server.address
        page.reload()
        until(page, "room-1", "live")


def what_is_cut(page: Any, width: int, height: int) -> list[str]:
    """What cannot be seen whole, or is too small to read, in a window of that size."""
    watched = ("#use", "#tally", ".label", ".state", ".aop-number b", ".hsd-number b", ".tile")
    boxes = {what: page.locator(what).first.bounding_box() for what in watched}
    if missing := [what for what, box in boxes.items() if box is None]:
        return missing
    cut = [what for what, box in boxes.items() if box["x"] < 0 or box["x"] + box["width"] > width]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        cut.append("the page is wider than the window")
    hsd, tile = boxes[".hsd-number b"], boxes[".tile"]
    if hsd["y"] + hsd["height"] > tile["y"] + tile["height"]:
        cut.append("HSD lies below its tile")
    if boxes[".aop-number b"]["height"] < 24:
        cut.append("AoP is too small")
    if (width, height) in (DESKTOP, (1920, 1080)):  # all at once, without scrolling
        last = page.locator(".tile").last.bounding_box()
        if last["y"] + last["height"] > height:
            cut.append("the last tile")
    return cut


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [DESKTOP, PHONE]), (3, [DESKTOP, PHONE, SIDEWAYS, (320, 568)]), (16, [PHONE, (1920, 1080)])],
)
def test_nothing_is_cut_at_any_size(
    page: Any, good: Measurement, tmp_path: Path, count: int, sizes: list[tuple[int, int]]
) -> None:
    names = [f"room-{number}" for number in range(1, count + 1)]
    with shown_ward(tmp_path, names, good) as (server, _):
        opened(page, server)
        for width, height in sizes:
            page.set_viewport_size({"width": width, "height": height})
            give_up_s = time.monotonic() + PATIENCE_S
            while (cut := what_is_cut(page, width, height)) and time.monotonic() < give_up_s:
                page.wait_for_timeout(30)  # on a busy machine a feed may be late for a moment, and shows no number
            assert not cut, (width, height)
