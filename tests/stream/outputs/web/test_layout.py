"""The page at the sizes of real windows, by measured boxes: nothing is cut, in any state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stream.common.clock import MonotonicClock
from stream.frames.reason import Reason
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.sources.live.base import LinkState
from tests.fakes.browser import Feeder, Peer, text_of, until, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.pipeline.record import Measurement

from tests.fakes.browser_page import LONG, held, overloaded, refused, shown, widest_result

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def good() -> Measurement:
    return widest_result()


SIZES = [(320, 568), (390, 844), (844, 390), (1440, 900), (2560, 1440)]


MORE_SIZES = [(320, 256), (568, 320), (667, 375), (768, 1024), (1024, 768), (1280, 720), (1920, 1080), (3840, 2160)]


MEASURED = (
    *("#state", "#reason", "#use", "#aop", "#hsd", "#hsd small", "#aop-interval", "#hsd-interval", "#note", "#veil"),
    *(
        "#overlay",
        "#flip",
        "#mark",
        "#overload",
        "#picture",
        "#trend",
        "#mark-note",
        "#facts",
        "#legend",
        "h2",
        "#push",
        "#write",
    ),
    "#feeds a b",
)


BOXES = """names => {
    const found = {};
    for (const name of names) for (const [i, element] of [...document.querySelectorAll(name)].entries()) {
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const range = document.createRange();
        range.selectNodeContents(element);
        const text = range.getBoundingClientRect();
        found[name + (i || '')] = {
            left: Math.min(box.left, text.left || box.left), right: Math.max(box.right, text.right),
            top: box.top, bottom: box.bottom, cut: element.scrollWidth > element.clientWidth + 1,
        };
    }
    return { boxes: found, width: document.documentElement.scrollWidth, height: innerHeight };
}"""


AT_ONCE = {"#state", "#use", "#aop", "#hsd", "#hsd small", "#aop-interval", "#hsd-interval", "#picture", "h2", "h21"}
"""What is in the window before anybody scrolls."""


def check_layout(page: Any, *, at_once: Sequence[str] = ()) -> None:
    """Nothing is cut or scrolls sideways; what matters is in the window; what it is for is always in view."""
    wide = page.viewport_size["width"]
    measured = page.evaluate(BOXES, MEASURED)
    assert measured["width"] <= wide
    for name, box in measured["boxes"].items():
        assert box["left"] >= 0, name
        assert box["right"] <= wide + 0.5, name
        assert not box["cut"], name
        if name in AT_ONCE | set(at_once) and page.viewport_size["height"] > 300:
            assert box["top"] >= 0, name
            assert box["bottom"] <= measured["height"] + 0.5, name
    for name in {"#use", "#aop", "#hsd"} | set(at_once):
        assert page.evaluate(ON_TOP, name), f"{name} is covered"
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    box = page.evaluate(BOXES, MEASURED)["boxes"]["#use"]
    assert box["top"] >= 0
    assert box["bottom"] <= page.viewport_size["height"]
    assert page.evaluate(ON_TOP, "#use")
    page.evaluate("scrollTo(0, 0)")


ON_TOP = """name => { const element = document.querySelector(name), box = element.getBoundingClientRect();
    const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return element.contains(hit) || hit?.contains(element); }"""


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_nothing_is_cut_in_any_state_at_any_size(browser: Any, good: Measurement, size: tuple[int, int]) -> None:
    with shown(browser, good, size=size) as screen:
        page = screen.page
        wait(page, "document.querySelector('#facts').children.length > 8")
        assert page.inner_text("#aop") == "178°"
        assert page.inner_text("#hsd") == "104.4 mm"
        check_layout(page, at_once=["#overlay", "#mark"] if size[0] > 320 else [])
        page.keyboard.press("m")
        text_of(page, "#mark-note", "Mark 1 kept")
        check_layout(page)
        screen.feeder.measurement = held(good)
        until(page, "hold")
        assert " s old" in page.inner_text("#aop-interval")
        check_layout(page)
        overloaded(screen.board, good)
        wait(page, "!document.querySelector('#overload').hidden")
        assert "frames a second" in page.inner_text("#overload")
        check_layout(page)
        screen.feeder.measurement = replace(good, frame=replace(good.frame, spacing=None))
        wait(page, "document.querySelector('#hsd-interval').textContent === 'uncalibrated'")
        check_layout(page)
        screen.peer.now(LinkState.RECONNECTING, LONG)
        until(page, "reconnecting")
        assert page.inner_text("#veil").lower() == "reconnecting"
        check_layout(page)


def test_nothing_is_cut_at_other_sizes(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        wait(screen.page, "document.querySelector('#facts').children.length > 8")
        for width, height in MORE_SIZES:
            screen.page.set_viewport_size({"width": width, "height": height})
            wait(screen.page, f"innerWidth === {width} && innerHeight === {height}")
            screen.page.wait_for_timeout(50)
            check_layout(screen.page)


def test_numbers_grow_with_the_window(browser: Any, good: Measurement) -> None:
    sizes = {}
    with shown(browser, good) as screen:
        for width, height in [(320, 568), (1440, 900), (2560, 1440), (3840, 2160)]:
            screen.page.set_viewport_size({"width": width, "height": height})
            screen.page.wait_for_timeout(100)
            box = "name => document.querySelector(name).getBoundingClientRect().height"
            sizes[width] = [screen.page.evaluate(box, name) for name in ("#aop", "#hsd", "#aop-interval", "#state")]
    for small, large, growth in ((320, 1440, 1.5), (1440, 2560, 1.45), (2560, 3840, 1.25)):
        for before, after in zip(sizes[small][:2], sizes[large][:2], strict=True):
            assert after >= growth * before
    assert sizes[1440][0] > 0.12 * 900
    assert all(after > 1.3 * before for before, after in zip(sizes[1440], sizes[2560], strict=True))


def test_tabs_and_title_say_the_state_of_each_feed(browser: Any, good: Measurement) -> None:
    peers, boards = [Peer(), Peer()], []
    for number, peer in enumerate(peers, 1):
        boards.append(Board(clock=MonotonicClock(), source=peer, name=f"rtsp://camera-{number}.ward/live"))  # type: ignore[arg-type]
    feeder = Feeder(boards[0])
    feeder.measurement = good
    page = browser.new_page(viewport={"width": 390, "height": 844})
    with WebServer(boards, host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        wait(page, "document.title === '1 LIVE, 2 CONNECTING 178° - Partum, research use only'")
        peers[1].now(LinkState.RECONNECTING, "nobody answers")
        wait(page, "document.querySelectorAll('#feeds a')[1].textContent.includes('2 reconnecting')")
        assert page.inner_text("#feeds a[aria-current=page] b") == "1 live"
        check_layout(page)
        page.click("#feeds a >> nth=1")
        until(page, "reconnecting")
        assert page.inner_text("#feeds a[aria-current=page] b") == "2 reconnecting"
        assert page.inner_text("#aop") == "—"
        wait(page, "document.title === '1 LIVE, 2 RECONNECTING - Partum, research use only'")
        feeder.measurement = refused(good, Reason.FROZEN, aop=None)
        wait(page, "document.querySelectorAll('#feeds a')[0].textContent.includes('1 frozen')")
    feeder.close()
    page.close()


@pytest.mark.parametrize("size", [(320, 568), (844, 390), (1440, 900)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_tabs_of_eight_feeds_are_not_cut(browser: Any, good: Measurement, size: tuple[int, int]) -> None:
    peer = Peer()
    peer.now(LinkState.RECONNECTING, "nobody answers")
    names = [f"rtsp://camera-{number}.ward.hospital.example:554/live" for number in range(1, 9)]
    boards = [Board(clock=MonotonicClock(), source=peer, name=name) for name in names]  # type: ignore[arg-type]
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    with WebServer(boards, host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        text_of(page, "#feeds a:nth-child(8)", "8 reconnecting")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        outside = """() => [...document.querySelectorAll('#feeds a')].filter(tab => {
            const box = tab.getBoundingClientRect(), words = tab.querySelector('b').getBoundingClientRect();
            return words.right > box.right - 3 || words.left < box.left + 3;
        }).length"""
        assert page.evaluate(outside) == 0
    page.close()
