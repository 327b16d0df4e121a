"""The page in a real browser: what it shows is what was measured, and a number never outlives its source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stream.common.clock import MonotonicClock
from stream.frames.reason import Reason
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.sources.live.base import LinkState
from tests.fakes.browser import Feeder, Peer, text_of, until
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(40, off_plane=range(30, 40)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def dark_share(page: Any) -> float:
    """Share of the picture's pixels that are nearly black."""
    script = """() => { const c = document.querySelector('#picture canvas'), x = c.getContext('2d');
        const d = x.getImageData(0, 0, c.width, c.height).data; let dark = 0;
        for (let i = 0; i < d.length; i += 4) dark += d[i] + d[i + 1] + d[i + 2] < 30; return dark * 4 / d.length; }"""
    return float(page.evaluate(script))


def until_shown(page: Any, number: str) -> None:
    """Waits for it, live: a machine that is busy may take a number off for a moment."""
    until(page, "live")
    text_of(page, "#aop", number)


def check_that_it_turns_off_and_on(page: Any, feeder: Feeder, peer: Peer, good: Measurement) -> None:
    """Frozen, link lost, silent: each takes the number away, and its end brings it back."""
    assert good.aop is not None
    number = f"{good.aop.value:.0f}°"
    feeder.measurement = replace(good, state=FrameState.REFUSED, reason=Reason.FROZEN, aop=None, biometry=None)
    until(page, "frozen")
    assert page.inner_text("#aop") == "—"
    feeder.measurement = good
    until(page, "live")
    peer.now(LinkState.RECONNECTING, "the cable was pulled")
    until(page, "reconnecting")
    assert page.inner_text("#aop") == "—"
    assert page.inner_text("#reason") == "the cable was pulled"
    peer.now(LinkState.LIVE)
    until_shown(page, number)
    feeder.measurement = None
    until(page, "delayed")  # a link that says nothing of it, and no result for a second
    peer.now(LinkState.NO_SIGNAL, "no picture for 2 s")
    until(page, "no signal")
    peer.now(LinkState.LIVE)
    assert page.inner_text("#aop") == "—"
    feeder.measurement = good
    until(page, "live")


@pytest.mark.parametrize("size", [(1366, 768), (390, 844)], ids=["desktop", "phone"])
def test_the_page_shows_what_was_measured_and_turns_it_off_in_time(
    browser: Any, measurements: list[Measurement], size: tuple[int, int]
) -> None:
    peer = Peer()
    board = Board(clock=MonotonicClock(), source=peer, facts={"print": {"model": "tiny"}})  # type: ignore[arg-type]
    feeder = Feeder(board)
    faults: list[str] = []
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    good = measurements[20]
    aop = good.aop
    assert aop is not None
    with WebServer([board], host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        until(page, "connecting")
        feeder.measurement = good
        until_shown(page, f"{aop.value:.0f}°")
        assert page.inner_text("#aop-interval") == f"{aop.lo95:.0f} to {aop.hi95:.0f}° repeatability"
        assert page.inner_text("#hsd-interval") == "uncalibrated"
        assert "RESEARCH USE ONLY" in page.inner_text("body")
        assert "tiny" in page.inner_text("#facts")
        assert dark_share(page) < 0.9  # there is a picture
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]  # nothing is cut off at the side

        check_that_it_turns_off_and_on(page, feeder, peer, good)
        page.keyboard.press("m")
        page.keyboard.press("o")
        assert page.get_attribute("#overlay", "aria-pressed") == "false"
        page.keyboard.press("f")
        assert page.get_attribute("#flip", "aria-pressed") == "true"
    until(page, "connection lost")
    assert page.inner_text("#aop") == "—"
    feeder.close()
    page.close()
    assert len(board.marks_s) == 1
    assert [fault for fault in faults if "WebSocket" not in fault] == []
