"""What the page says and keeps: announcements, trend, seams and marks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream.common.clock import MonotonicClock
from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason
from stream.outputs.marks import MarkFile
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.outputs.web.trend import TREND_S
from stream.pipeline.record import FrameState
from stream.sources.live.base import LinkState
from tests.fakes.browser import text_of, until, wait
from tests.fakes.doubles import HangingDisk

if TYPE_CHECKING:
    from pathlib import Path

    from stream.pipeline.record import Measurement

from tests.fakes.browser_page import canvas_of, shown, widest_result

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def good() -> Measurement:
    return widest_result()


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
        screen.peer.now(LinkState.RECONNECTING, "the cable was pulled")
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
            board.write(
                replace(good, frame=frame, state=FrameState.DROPPED, reason=Reason.OVERLOAD, aop=None, hsd_min=None)
            )


def test_the_trend_survives_reload_and_reconnection(browser: Any, good: Measurement) -> None:
    board = Board(clock=MonotonicClock())
    fill_trend(board, good, dropped=4)
    assert board.trend[-1][0] - board.trend[0][0] > 0.99 * TREND_S
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    drawn = (
        "() => document.querySelector('#trend canvas').getAttribute('aria-label').startsWith('Trend of the last 5 min')"
    )
    with WebServer([board], host="127.0.0.1", port=0) as server:
        port = server._port
        page.goto(server.address)
        for _ in range(3):
            wait(page, drawn)
            page.wait_for_timeout(300)
            assert columns_with(page, INK) > 0.95
            assert columns_with(page, GREEN) > 0.95
            page.reload()
    until(page, "connection lost")
    with WebServer([board], host="127.0.0.1", port=port):
        wait(page, "document.querySelector('#state').textContent !== 'connection lost'")
        page.wait_for_timeout(600)
        assert columns_with(page, INK) > 0.95
        assert columns_with(page, GREEN) > 0.95
    page.close()


def test_a_program_that_ended_well_is_not_called_lost(browser: Any, good: Measurement) -> None:
    board = Board(clock=MonotonicClock())
    page = browser.new_page(viewport={"width": 390, "height": 844})
    with WebServer([board], host="127.0.0.1", port=0) as server:
        board.write(good)
        page.goto(server.address)
        board.close()
        until(page, "ended")
    page.wait_for_timeout(2000)  # longer than the page waits for a word
    assert page.inner_text("#state").lower() == "ended"
    page.close()


def test_seams_are_drawn_with_their_cause(browser: Any, good: Measurement) -> None:
    board = Board(clock=MonotonicClock())
    fill_trend(board, good)
    assert [point[7] for point in board.trend if point[7]] == ["depth", "orientation"]
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    with WebServer([board], host="127.0.0.1", port=0) as server:
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


def test_an_answer_that_comes_late_is_told_all_the_same(browser: Any, good: Measurement) -> None:
    disk = HangingDisk()
    with shown(browser, good, marks=disk) as screen:
        screen.page.keyboard.press("m")
        assert disk.entered.wait(20)
        text_of(screen.page, "#mark-note", "Mark: no answer yet")
        disk.go.set()
        text_of(screen.page, "#mark-note", "Mark 1 kept")
    assert len(screen.board.marks_s) == 1


def test_pushes_and_notes_are_marked_by_mouse_and_keyboard(browser: Any, good: Measurement, tmp_path: Path) -> None:
    with shown(browser, good, marks=MarkFile(tmp_path / "marks.jsonl")) as screen:
        page = screen.page
        page.keyboard.press("p")
        text_of(page, "#mark-note", "Start of a push kept as mark 1")
        text_of(page, "#push", "End push")
        page.click("#push")
        text_of(page, "#mark-note", "End of the push kept as mark 2")
        wait(page, "document.querySelector('#push').textContent === 'Push'")
        page.keyboard.press("n")
        page.keyboard.type("moped <b>on</b>, off")  # its letters are keys of the page elsewhere
        page.keyboard.press("Enter")
        text_of(page, "#mark-note", "Note kept as mark 3")
        assert page.is_hidden("#note-line")
        assert page.get_attribute("#overlay", "aria-pressed") == "true"
        page.click("#write")
        page.keyboard.press("Escape")
        assert page.is_hidden("#note-line")
    lines = [json.loads(line) for line in (tmp_path / "marks.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["note"], line["by"]) for line in lines] == [
        ("push_start", None, "web page"),
        ("push_end", None, "web page"),
        ("note", "moped <b>on</b>, off", "web page"),
    ]


def test_nothing_moves_where_motion_is_not_wanted(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        screen.page.emulate_media(reduced_motion="reduce")
        screen.page.reload()
        until(screen.page, "live")
        assert screen.page.evaluate("document.getAnimations().length") == 0
