"""The report printed by a real browser, and shown on a phone."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from stream.report.content import RunContent
from stream.report.document import render_report
from stream.report.pdf import print_pdf
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    content = RunContent(finished_run(folder, 40, off_plane=range(20, 30)))
    return render_report([content], made=datetime(2026, 11, 26, 9, 30, tzinfo=UTC))


def test_it_prints_on_pages_of_a4_each_of_which_says_what_it_is_for(browser: Any, html: str, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    print_pdf(html, path)
    data = path.read_bytes()
    boxes = re.findall(rb"/MediaBox ?\[([\d. ]+)\]", data)
    assert 2 <= len(boxes) <= 5
    for box in boxes:
        width, height = (float(number) for number in box.split()[2:])
        assert [width / 72 * 25.4, height / 72 * 25.4] == pytest.approx([210, 297], abs=1)
    page = browser.new_page(viewport={"width": 794, "height": 1123})
    page.set_content(html)
    rule = page.evaluate("[...document.styleSheets[0].cssRules].find(rule => rule instanceof CSSPageRule).cssText")
    assert "RESEARCH USE ONLY" in rule
    assert "counter(pages)" in rule
    page.close()
    assert zlib.crc32(data)  # whole


@pytest.mark.parametrize("size", [(320, 568), (390, 844), (1280, 900)], ids=["small", "phone", "desktop"])
def test_nothing_is_cut_off_on_a_screen_and_its_use_is_always_in_view(
    browser: Any, html: str, size: tuple[int, int]
) -> None:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.set_content(html)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for place in ("0", "document.documentElement.scrollHeight"):
        page.evaluate(f"scrollTo(0, {place})")
        box = page.locator(".foot").bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1] + 1
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shown = page.evaluate("document.querySelector('figure.chart img').currentSrc.length")
    wide = page.evaluate("document.querySelector('figure.chart img').src.length")
    assert (shown != wide) == (size[0] < 600)  # a phone gets the narrow chart
    assert faults == []
    page.close()
