"""What can be seen and read on the page, by measured colours and pixels."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream.frames.reason import Reason
from stream.sources.live.base import LinkState
from tests.fakes.browser import contrast, luminance, text_of, until, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement

from tests.fakes.browser_page import LONG, canvas_of, held, overloaded, refused, shown, widest_result

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def good() -> Measurement:
    return widest_result()


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
        for link in (LinkState.RECONNECTING, LinkState.NO_SIGNAL):
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


def test_colours_of_the_user_s_own_still_tell_pressed_from_not(browser: Any, good: Measurement) -> None:
    with shown(browser, good) as screen:
        screen.page.emulate_media(forced_colors="active")
        screen.page.wait_for_timeout(200)
        pressed, unpressed = (screen.page.evaluate(STYLE, name)["ground"] for name in ("#overlay", "#flip"))
        assert contrast(pressed, unpressed) >= 3
