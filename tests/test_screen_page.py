"""The page as a person sees it, by measured boxes, colours and pixels, at the sizes of real windows."""

from __future__ import annotations

import io
import json
import time
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from stream.biometry import Reason
from stream.clock import MonotonicClock
from stream.frame import PixelSpacing, SegmentCause
from stream.measurement import State
from stream.pipeline import Pipeline
from stream.screen.board import Board
from stream.screen.server import ScreenServer
from stream.screen.trend import TREND_S
from stream.sinks.marks import MarkFile
from stream.sources.live import Link
from stream.throughput import WINDOW_S
from stream.tracking import Status
from tests.browser import Feeder, Peer, contrast, luminance, text_of, until, wait
from tests.fakes import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.measurement import Measurement

pytestmark = [pytest.mark.browser]

SIZES = [(320, 568), (390, 844), (844, 390), (1440, 900), (2560, 1440)]
MORE_SIZES = [(320, 256), (568, 320), (667, 375), (768, 1024), (1024, 768), (1280, 720), (1920, 1080), (3840, 2160)]
LONG = (
    "rtsp://***@camera-in-the-delivery-room-3.ward.hospital.example:554/live/ch1: cannot be opened (Connection refused)"
)


@pytest.fixture(scope="module")
def good() -> Measurement:
    """A measured frame with a scale; its values are the widest there are."""
    with Pipeline(DrawnSource(30, spacing=PixelSpacing(0.8, 0.8)), GreyLevelEngine()) as pipeline:
        measured = list(pipeline)[20]
    assert measured.aop is not None
    assert measured.hsd_min is not None
    return replace(
        measured,
        aop=replace(measured.aop, value=178.4, std=9.0),
        hsd_min=replace(measured.hsd_min, value=104.4 / 0.8, std=9.0),
    )


class Screen:
    """A board that is fed, and its page in a browser."""

    def __init__(self, board: Board, feeder: Feeder, peer: Peer, page: Any, server: ScreenServer) -> None:
        self.board, self.feeder, self.peer, self.page, self.server = board, feeder, peer, page, server


@contextmanager
def shown(browser: Any, good: Measurement, *, size: tuple[int, int] = (1440, 900), **options: Any) -> Iterator[Screen]:
    peer = Peer()
    board = Board(
        clock=MonotonicClock(),
        source=peer,  # type: ignore[arg-type]
        name="rtsp://10.0.0.7:554/live/ch1",
        facts={"note": "ANIMATED STILL, not a recording", "print": {"model": "tiny", "engine": "openvino int8 CPU"}},
        remedies=("--early-exit", "a lower frame rate at the sender", "a faster machine (see: partum bench stream)"),
        **options,
    )
    feeder = Feeder(board)
    feeder.measurement = good
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    try:
        with ScreenServer([board], host="127.0.0.1", port=0) as server:
            page.goto(server.address)
            until(page, "live")
            yield Screen(board, feeder, peer, page, server)
    finally:
        feeder.close()
        board.close()
        page.close()
    assert [fault for fault in faults if "WebSocket" not in fault] == []


def refused(good: Measurement, reason: Reason, **changes: Any) -> Measurement:
    return replace(good, state=State.REFUSED, reason=reason, biometry=None, **changes)


def held(good: Measurement) -> Measurement:
    assert good.aop is not None
    assert good.hsd_min is not None
    old: dict[str, Any] = {"status": Status.HELD, "age_s": 0.7}
    return refused(good, Reason.CUT_BY_SECTOR, aop=replace(good.aop, **old), hsd_min=replace(good.hsd_min, **old))


def overloaded(board: Board, good: Measurement) -> None:
    """Drops of the last seconds, as many as a machine has that is eight times too slow."""
    for _ in range(round(8 * 25 * WINDOW_S)):
        board.write(replace(good, state=State.DROPPED, reason=Reason.OVERLOAD))


MEASURED = (
    *("#state", "#reason", "#use", "#aop", "#hsd", "#hsd small", "#aop-interval", "#hsd-interval", "#note", "#veil"),
    *("#overlay", "#flip", "#mark", "#overload", "#picture", "#trend", "#mark-note", "#facts", "#legend", "h2"),
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
        screen.peer.now(Link.RECONNECTING, LONG)
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


def canvas_of(page: Any, name: str) -> NDArray[np.uint8]:
    """A canvas as it is on the screen, (H, W, 3)."""
    picture = Image.open(io.BytesIO(page.locator(f"{name} canvas").screenshot())).convert("RGB")
    return np.asarray(picture)


def across(pixels: NDArray[np.uint8], one: NDArray[np.float64], other: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """The pixels on a short way across a line, at a third of it."""
    along = (other - one) / np.hypot(*(other - one))
    at, normal = one + (other - one) * 0.4, np.array([-along[1], along[0]])
    places = [np.round(at + normal * step).astype(int) for step in np.arange(-9, 9.01, 0.5)]
    return [pixels[y, x] for x, y in places]


def check_seen(colours: Sequence[Any], grey: tuple[int, int, int]) -> None:
    """A line with its casing stands out by 3:1 from the grey it lies on, and from its casing."""
    darkest, lightest = min(colours, key=luminance), max(colours, key=luminance)
    line = max(colours[len(colours) // 2 - 2 : len(colours) // 2 + 3], key=luminance)
    assert contrast(line, darkest) >= 3
    assert luminance(darkest) < 0.02  # the casing, on whatever grey
    assert max(contrast(line, grey), contrast(darkest, grey)) >= 3, (line, darkest, lightest)


def test_lines_stand_out_from_any_grey(browser: Any, good: Measurement) -> None:
    assert good.biometry is not None
    assert good.biometry.landmarks is not None
    found = good.biometry.landmarks
    assert found.hsd_min_foot is not None
    lines = {"PS axis": (found.ps_superior, found.ps_inferior), "tangent": (found.tangent, found.ps_inferior)}
    lines["HSD"] = (found.hsd_min_foot, found.ps_inferior)
    with shown(browser, good, size=(1440, 900)) as screen:
        for grey in range(0, 256, 15):
            frame = replace(good.frame, image=np.full((128, 128), grey, np.uint8))
            screen.feeder.measurement = replace(good, frame=frame)
            give_up = time.monotonic() + 10
            while True:
                pixels = canvas_of(screen.page, "#picture")
                height, width = pixels.shape[:2]
                scale = min(width, height) / 128
                corner = np.array([(width - 128 * scale) / 2, (height - 128 * scale) / 2])
                lowest = pixels[int(corner[1] + 124 * scale), int(corner[0] + 124 * scale)].astype(int)
                if abs(lowest - grey).max() <= 3:
                    break
                assert time.monotonic() < give_up
            for one, other in lines.values():
                ends = [corner + (np.array(end) + 0.5) * scale for end in (one, other)]
                check_seen(across(pixels, ends[0], ends[1]), (grey, grey, grey))
            outline = good.outlines.fh_px if good.outlines else np.empty((0, 2))
            for start in range(0, len(outline) - 4, len(outline) // 6):
                ends = [corner + (outline[at].astype(float) + 0.5) * scale for at in (start, start + 4)]
                colours = [tuple(colour) for colour in across(pixels, ends[0], ends[1])]
                check_seen(colours, (grey, grey, grey))


def test_outlines_are_curves_through_their_points(browser: Any, good: Measurement) -> None:
    """Between 24 points of an ellipse a polygon is off by 2.6 pixels here; the curve is within half a one."""
    with shown(browser, good) as screen:
        off = screen.page.evaluate("""async () => {
            const { closedCurve } = await import('/static/picture.js');
            const at = turn => [400 + 300 * Math.cos(turn), 400 + 220 * Math.sin(turn)];
            const path = closedCurve([...Array(24).keys()].map(i => at(2 * Math.PI * i / 24)));
            const context = document.createElement('canvas').getContext('2d');
            context.lineWidth = 1;
            const turns = [...Array(720).keys()].map(i => 2 * Math.PI * i / 720);
            return turns.filter(turn => !context.isPointInStroke(path, ...at(turn))).length;
        }""")
    assert off == 0


CONTRASTS = """() => {
    const white = [255, 255, 255], numbers = text => text.match(/[\\d.]+/g).map(Number);
    const ground = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
            if (a) layers.push([r, g, b, a]);
            if (a === 1) break;
        }
        if (element.closest('#veil')) layers.splice(1, layers.length, [...white, 1]);    // the worst picture
        const over = (under, [r, g, b, a]) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
        return layers.reverse().reduce(over, white);
    };
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; node = walker.nextNode();) {
        const element = node.parentElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
        if (!node.textContent.trim() || !box.width || style.visibility === 'hidden') continue;
        if (element.closest('#announcer, noscript')) continue;
        found.push([node.textContent, numbers(style.color), ground(element)]);
    }
    return found;
}"""


def check_text_contrasts(page: Any) -> None:
    texts = page.evaluate(CONTRASTS)
    assert len(texts) > 20
    for text, colour, ground in texts:
        assert contrast(colour, ground) >= 4.5, (text, colour, ground)


def test_every_text_can_be_read(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        page = screen.page
        wait(page, "document.querySelector('#facts').children.length > 8")
        page.keyboard.press("m")
        text_of(page, "#mark-note", "Mark 1 kept")
        check_text_contrasts(page)
        overloaded(screen.board, good)
        for measurement, state in (
            (held(good), "hold"),
            (refused(good, Reason.NO_PS, aop=None), "no plane"),
            (refused(good, Reason.FROZEN, aop=None), "frozen"),
        ):
            screen.feeder.measurement = measurement
            until(page, state)
            check_text_contrasts(page)
        for link in (Link.RECONNECTING, Link.NO_SIGNAL):
            screen.peer.now(link, LONG)
            until(page, str(link).replace("_", " "))
            check_text_contrasts(page)


STYLE = """name => {
    const style = getComputedStyle(document.querySelector(name)), numbers = text => text.match(/\\d+/g).map(Number);
    const [ground, border] = [style.backgroundColor, style.borderTopColor].map(numbers);
    return { ground, border, outline: style.outlineStyle };
}"""


def test_a_pressed_button_looks_pressed(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        page = screen.page
        pressed, unpressed = page.evaluate(STYLE, "#overlay"), page.evaluate(STYLE, "#flip")
        assert contrast(pressed["ground"], unpressed["ground"]) >= 3
        assert contrast(unpressed["border"], page.evaluate(STYLE, "#panel")["ground"]) >= 3
        assert (page.get_attribute("#overlay", "aria-pressed"), page.get_attribute("#flip", "aria-pressed")) == (
            "true",
            "false",
        )
        reached = []
        for _ in range(3):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert reached == ["overlay", "flip", "mark"]
        assert page.evaluate(STYLE, "#mark")["outline"] == "solid"  # the focus is seen
        page.keyboard.press("Space")
        text_of(page, "#mark-note", "Mark 1 kept")
        for key, name in (("o", "overlay"), ("F", "flip")):
            before = page.get_attribute(f"#{name}", "aria-pressed")
            page.keyboard.press(key)
            assert page.get_attribute(f"#{name}", "aria-pressed") != before
        assert contrast(page.evaluate(STYLE, "#overlay")["ground"], page.evaluate(STYLE, "#flip")["ground"]) >= 3
        page.keyboard.press("Control+o")
        assert page.get_attribute("#overlay", "aria-pressed") == "false"


COUNT_ANNOUNCEMENTS = """() => {
    const region = document.querySelector('#announcer');
    window.said = [];
    new MutationObserver(() => said.push(region.textContent)).observe(region, { childList: true, subtree: true });
}"""


def test_values_and_states_are_announced_but_not_each(browser: Any, good: Measurement) -> None:
    assert good.aop is not None
    with shown(browser, good) as screen:
        page = screen.page
        wait(page, "document.querySelector('#announcer').textContent.includes('AoP 178 degrees')")
        page.evaluate(COUNT_ANNOUNCEMENTS)
        for value in range(100, 125):
            screen.feeder.measurement = replace(good, aop=replace(good.aop, value=float(value)))
            page.wait_for_timeout(80)
        assert len(page.evaluate("said")) <= 1
        screen.peer.now(Link.RECONNECTING, "the cable was pulled")
        wait(page, "document.querySelector('#announcer').textContent === 'Reconnecting: the cable was pulled.'")
        region = page.locator("#announcer")
        assert (region.get_attribute("aria-live"), region.get_attribute("role")) == ("polite", "status")
        for name in ("#picture", "#trend"):
            canvas = page.locator(f"{name} canvas")
            assert canvas.get_attribute("role") == "img"
            assert len(canvas.get_attribute("aria-label")) > 10
        assert "AoP between" in page.locator("#trend canvas").get_attribute("aria-label")


def columns_with(page: Any, colour: tuple[int, int, int]) -> float:
    """Share of the trend's columns in which a line of that colour is drawn."""
    pixels = canvas_of(page, "#trend").astype(int)
    hit = (np.abs(pixels - colour).max(axis=2) < 40).any(axis=0)
    return float(hit[60:-20].mean())


INK, GREEN = (245, 244, 240), (46, 230, 168)


def fill_trend(board: Board, good: Measurement, *, dropped: int = 0) -> None:
    """The last minutes, with so many dropped frames after each measured one, a refused stretch and two seams."""
    assert good.aop is not None
    assert good.hsd_min is not None
    now_ns, count = time.monotonic_ns(), round(TREND_S * 5)
    for number in range(count):
        segment = number * 3 // count
        cause = (SegmentCause.START, SegmentCause.DEPTH, SegmentCause.ORIENTATION)[segment]
        captured_ns = now_ns - (count - number) * 200_000_000
        frame = replace(good.frame, index=number, pts=number, time_base=Fraction(1, 5), segment=segment)
        frame = replace(frame, segment_cause=cause, captured_ns=captured_ns)
        board.write(
            replace(good, frame=frame, aop=replace(good.aop, value=120.0), hsd_min=replace(good.hsd_min, value=30.0))
        )
        for _ in range(dropped):
            board.write(replace(good, frame=frame, state=State.DROPPED, reason=Reason.OVERLOAD, aop=None, hsd_min=None))


def test_the_trend_survives_reload_and_reconnection(browser: Any, good: Measurement) -> None:
    board = Board(clock=MonotonicClock())
    fill_trend(board, good, dropped=4)
    assert board.trend[-1][0] - board.trend[0][0] > 0.99 * TREND_S
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    drawn = (
        "() => document.querySelector('#trend canvas').getAttribute('aria-label').startsWith('Trend of the last 5 min')"
    )
    with ScreenServer([board], host="127.0.0.1", port=0) as server:
        port = server._port
        page.goto(server.address)
        for _ in range(3):
            wait(page, drawn)
            page.wait_for_timeout(300)
            assert columns_with(page, INK) > 0.95
            assert columns_with(page, GREEN) > 0.95
            page.reload()
    until(page, "connection lost")
    with ScreenServer([board], host="127.0.0.1", port=port):
        wait(page, "document.querySelector('#state').textContent !== 'connection lost'")
        page.wait_for_timeout(600)
        assert columns_with(page, INK) > 0.95
        assert columns_with(page, GREEN) > 0.95
    page.close()


def test_seams_are_drawn_with_their_cause(browser: Any, good: Measurement) -> None:
    board = Board(clock=MonotonicClock())
    fill_trend(board, good)
    assert [point[7] for point in board.trend if point[7]] == ["depth", "orientation"]
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    with ScreenServer([board], host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        wait(page, "document.querySelector('#trend canvas').getAttribute('aria-label').startsWith('Trend of')")
        page.wait_for_timeout(300)
        pixels = canvas_of(page, "#trend").astype(int)
    orange = ((pixels[..., 0] - pixels[..., 2] > 40) & (pixels[..., 0] > pixels[..., 1] + 20)).sum(axis=0)
    dashed = np.flatnonzero(orange > 0.3 * len(pixels))
    assert np.count_nonzero(np.diff(dashed, prepend=-9) > 2) == 2, sorted(orange)[-6:]
    page.close()


def test_marks_are_kept_and_say_so_or_say_why_not(browser: Any, good: Measurement, tmp_path: Path) -> None:
    with shown(browser, good, marks=MarkFile(tmp_path / "marks.jsonl")) as screen:
        page = screen.page
        page.keyboard.press("m")
        text_of(page, "#mark-note", "Mark 1 kept")
        page.click("#mark")
        text_of(page, "#mark-note", "Mark 2 kept")
        lines = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
        assert [line["mark"] for line in lines] == [1, 2]
        page.wait_for_timeout(400)
        assert columns_with(page, (240, 228, 66)) > 0  # its line in the trend
    with shown(browser, good, marks=MarkFile(tmp_path / "no folder" / "marks.jsonl")) as screen:
        screen.page.keyboard.press("m")
        text_of(screen.page, "#mark-note", "Mark not kept: ")
        assert "cannot be written" in screen.page.inner_text("#mark-note")
    assert screen.board.marks_s == []


def test_tabs_and_title_say_the_state_of_each_feed(browser: Any, good: Measurement) -> None:
    peers, boards = [Peer(), Peer()], []
    for number, peer in enumerate(peers, 1):
        boards.append(Board(clock=MonotonicClock(), source=peer, name=f"rtsp://camera-{number}.ward/live"))  # type: ignore[arg-type]
    feeder = Feeder(boards[0])
    feeder.measurement = good
    page = browser.new_page(viewport={"width": 390, "height": 844})
    with ScreenServer(boards, host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        wait(page, "document.title === '1 LIVE, 2 CONNECTING 178° - Partum, research use only'")
        peers[1].now(Link.RECONNECTING, "nobody answers")
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
    peer.now(Link.RECONNECTING, "nobody answers")
    names = [f"rtsp://camera-{number}.ward.hospital.example:554/live" for number in range(1, 9)]
    boards = [Board(clock=MonotonicClock(), source=peer, name=name) for name in names]  # type: ignore[arg-type]
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    with ScreenServer(boards, host="127.0.0.1", port=0) as server:
        page.goto(server.address)
        text_of(page, "#feeds a:nth-child(8)", "8 reconnecting")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        outside = """() => [...document.querySelectorAll('#feeds a')].filter(tab => {
            const box = tab.getBoundingClientRect(), words = tab.querySelector('b').getBoundingClientRect();
            return words.right > box.right - 3 || words.left < box.left + 3;
        }).length"""
        assert page.evaluate(outside) == 0
    page.close()


def test_colours_of_the_user_s_own_still_tell_pressed_from_not(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        screen.page.emulate_media(forced_colors="active")
        screen.page.wait_for_timeout(200)
        pressed, unpressed = (screen.page.evaluate(STYLE, name)["ground"] for name in ("#overlay", "#flip"))
        assert contrast(pressed, unpressed) >= 3


def test_nothing_moves_where_motion_is_not_wanted(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        screen.page.emulate_media(reduced_motion="reduce")
        screen.page.reload()
        until(screen.page, "live")
        assert screen.page.evaluate("document.getAnimations().length") == 0
