"""What tests of the page share: a stream that repeats one result, and what a person would measure on the screen."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stream.sources.live.base import LinkState, LinkStatus

if TYPE_CHECKING:
    from stream.outputs.web.board import Board
    from stream.pipeline.record import Measurement

ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Peer:
    """A live source's status, as the test says it."""

    def __init__(self) -> None:
        self.status = LinkStatus(link=LinkState.LIVE, reason="", connections=1, frames=1, lost=0, last_frame_ns=None)

    def now(self, link: LinkState, reason: str = "") -> None:
        self.status = replace(self.status, link=link, reason=reason)


class Feeder:
    """Writes one measurement to a board again and again, as a running stream does."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.measurement: Measurement | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a test that fails must not hang the run
        self._thread.start()

    def _run(self) -> None:
        index = 0
        while not self._stop.wait(0.04):
            if self.measurement is not None:
                frame = replace(self.measurement.frame, index=index, pts=index, captured_ns=time.monotonic_ns())
                self._board.write(replace(self.measurement, frame=frame))
                index += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def until(page: Any, state: str, *, within_s: float = 60.0) -> None:
    """Waits until the state line says so."""
    give_up = time.monotonic() + within_s
    while page.inner_text("#state").lower() != state:
        assert time.monotonic() < give_up, (state, page.inner_text("#state"), page.inner_text("#reason"))
        page.wait_for_timeout(30)


def wait(page: Any, condition: str, *, within_s: float = 60.0) -> None:
    """Waits until an expression of the page holds; the page's own policy forbids to have it evaluated there."""
    give_up = time.monotonic() + within_s
    while not page.evaluate(condition):
        assert time.monotonic() < give_up, condition
        page.wait_for_timeout(30)


def text_of(page: Any, name: str, beginning: str) -> None:
    """Waits until an element's text begins so."""
    wait(page, f"document.querySelector({name!r})?.textContent.startsWith({beginning!r})")


def luminance(colour: Any) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.2)."""
    parts = [value / 255 for value in colour[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def contrast(one: Any, other: Any) -> float:
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
