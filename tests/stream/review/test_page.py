"""The page of a finished run in a real browser, by mouse and keyboard; and who may use it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from stream.labour.edits import edits_in_force, read_edits
from stream.outputs.web.settings import WebSettings
from stream.review.session import open_review
from tests.fakes.browser import text_of, wait
from tests.fakes.screen_server import asked, status_of
from tests.samples.finished_runs import finished_run
from tests.stream.review.test_measuring import grey_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.labour.recorded_run import RecordedRun
    from stream.review.server import ReviewServer

COUNT = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return finished_run(tmp_path_factory.mktemp("review"), COUNT, off_plane=range(30, 36))


@contextmanager
def reviewed(run: RecordedRun, *, host: str = "127.0.0.1", **options: Any) -> Iterator[ReviewServer]:
    settings = WebSettings.checked(host, 0, **options)
    with open_review(run.folder, settings=settings, load=grey_engine) as server:
        server._pictures.wait()
        yield server


@contextmanager
def opened(browser: Any, run: RecordedRun, size: tuple[int, int] = (1440, 900)) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    with reviewed(run) as server:
        page.goto(server.address)
        wait(page, "document.querySelector('#state').textContent === 'measured'")
        yield page
        page.close()
    assert faults == []


def at(page: Any, row: int) -> None:
    wait(page, f"document.querySelector('#where').textContent.endsWith('frame {row}')")
    wait(page, f"document.querySelector('#shown').getAttribute('aria-label').startsWith('Frame {row},')")


def go(page: Any, row: int) -> None:
    page.keyboard.press("Home")
    page.keyboard.press("Escape")
    for _ in range(row // 10):
        page.keyboard.press("Shift+ArrowRight")
    for _ in range(row % 10):
        page.keyboard.press("ArrowRight")
    at(page, row)


def place_of(page: Any, point: list[float]) -> tuple[float, float]:
    """Where a pixel of a frame of 128 x 128 lies on the screen."""
    box = page.locator("#shown").bounding_box()
    scale = min(box["width"], box["height"]) / 128
    left = box["x"] + (box["width"] - 128 * scale) / 2
    top = box["y"] + (box["height"] - 128 * scale) / 2
    return left + (point[0] + 0.5) * scale, top + (point[1] + 0.5) * scale


def values_of(page: Any) -> str:
    return str(page.inner_text("#edited-values"))


@pytest.mark.browser
@pytest.mark.slow
def test_one_moves_in_a_run_by_keys_buttons_and_the_time_line(browser: Any, run: RecordedRun) -> None:
    with opened(browser, run) as page:
        assert "RESEARCH USE ONLY" in page.inner_text("#use")
        go(page, 12)
        assert page.inner_text("#aop") == f"{run.table.numbers('aop_deg')[12]:.0f}°"
        page.click("#step-on")
        at(page, 13)
        page.keyboard.press("End")
        at(page, COUNT - 1)
        page.keyboard.press("Home")
        at(page, 0)
        page.locator("#scrub").fill("31")
        at(page, 31)
        wait(page, "document.querySelector('#state').textContent === 'refused'")
        assert page.inner_text("#reason") == "not a standard plane"
        assert page.inner_text("#aop") in ("—", f"{run.table.numbers('aop_extrapolated_deg')[31]:.0f}°")
        box = page.locator("#line").bounding_box()
        page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
        wait(page, "Math.abs(document.querySelector('#scrub').value - 23) < 8")
        page.click("#best")
        wait(page, "document.querySelector('#state').textContent === 'measured'")
        page.keyboard.press("Home")
        page.keyboard.press(" ")
        wait(page, "Number(document.querySelector('#scrub').value) > 3")
        page.keyboard.press(" ")
        wait(page, "document.querySelector('#play').textContent === 'Play'")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440


@pytest.mark.browser
@pytest.mark.slow
def test_points_are_moved_by_mouse_and_by_keys_and_kept_beside_the_automatic_values(
    browser: Any, run: RecordedRun
) -> None:
    record = run.table.record(8)
    before = (run.folder / "measurements.jsonl").read_bytes()
    with opened(browser, run) as page:
        go(page, 8)
        page.keyboard.press("e")
        text_of(page, "#said", "Say first who reviews")
        page.locator("#by").fill("Dr A")
        page.locator("#by").blur()
        page.keyboard.press("e")
        x, y = place_of(page, record["landmarks_px"]["ps_superior"])
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y + 20)
        page.mouse.move(x, y + 42)
        page.mouse.up()
        wait(page, "document.querySelector('#edited-values').textContent.startsWith('AoP')")
        by_mouse = values_of(page)
        page.keyboard.press("2")
        page.keyboard.press("ArrowDown")
        wait(page, f"document.querySelector('#edited-values').textContent !== {by_mouse!r}")
        page.keyboard.press("ArrowRight")  # moves the point, not the run
        page.locator("#edit-note").fill("end was too high")
        page.click("#save")
        text_of(page, "#said", "Saved, edit ")
        text_of(page, "#edited-title", "Reviewed")
        assert page.inner_text("#aop") == f"{run.table.numbers('aop_deg')[8]:.0f}°"  # the automatic value stands
    (line,) = [edit for edit in read_edits(run) if edit["index"] == 8]
    assert (line["by"], line["kind"], line["note"]) == ("Dr A", "points", "end was too high")
    assert line["moved"] == ["ps_superior", "ps_inferior"]
    moved = line["landmarks_px"]["ps_inferior"]
    assert moved == [pytest.approx(value + 1, abs=0.02) for value in record["landmarks_px"]["ps_inferior"]]
    assert line["automatic"]["aop_raw_deg"] == record["aop_raw_deg"]
    assert line["values"]["aop_deg"] != pytest.approx(record["aop_raw_deg"], abs=1)
    assert (run.folder / "measurements.jsonl").read_bytes() == before


@pytest.mark.browser
@pytest.mark.slow
def test_a_head_is_drawn_a_frame_confirmed_and_an_edit_withdrawn(browser: Any, run: RecordedRun) -> None:
    with opened(browser, run) as page:
        page.locator("#by").fill("Dr B")
        page.locator("#by").blur()
        go(page, 20)
        page.keyboard.press("h")
        corners = [(40, 50), (60, 42), (85, 60), (95, 85), (80, 110), (55, 112), (38, 90), (36, 65)]
        page.mouse.move(*place_of(page, list(corners[0])))
        page.mouse.down()
        for corner in (*corners[1:], corners[0]):
            page.mouse.move(*place_of(page, list(corner)), steps=4)
        page.mouse.up()
        wait(page, "document.querySelector('#edited-values').textContent.startsWith('AoP')")
        page.keyboard.press("Enter")
        text_of(page, "#said", "Saved, edit ")
        go(page, 22)
        page.keyboard.press("c")
        text_of(page, "#said", "Confirmed, edit ")
        text_of(page, "#edited-title", "Confirmed")
        go(page, 20)
        wait(page, "!document.querySelector('#withdraw').disabled")
        page.click("#withdraw")
        text_of(page, "#said", "Withdrawn, edit ")
        wait(page, "document.querySelector('#edited').hidden")
    assert 22 in edits_in_force(run)
    assert 20 not in edits_in_force(run)
    kinds = [edit["kind"] for edit in read_edits(run) if edit["index"] == 20]
    assert kinds == ["outlines", "withdraw"]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("size", [(390, 844), (844, 390), (320, 568)], ids=["phone", "sideways", "small"])
def test_marks_are_set_on_a_phone_too(browser: Any, run: RecordedRun, size: tuple[int, int]) -> None:
    before = len(run.read_marks())
    with opened(browser, run, size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        page.click("#push")
        text_of(page, "#said", f"Mark {before + 1} kept")
        page.keyboard.press("n")
        page.keyboard.type("turned to the left")
        page.keyboard.press("Enter")
        text_of(page, "#said", f"Mark {before + 2} kept")
    marks = run.read_marks()[before:]
    assert [(mark["kind"], mark["note"]) for mark in marks] == [("push_start", None), ("note", "turned to the left")]


def posted(server: ReviewServer, path: str, content: object, *headers: str) -> tuple[int, bytes]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", "Connection: close", *headers]
    answer = asked(server, *lines, body=body)  # type: ignore[arg-type]
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


JSON = "Content-Type: application/json"


def test_only_the_page_itself_may_change_anything_and_only_rightly(run: RecordedRun) -> None:
    before = list(read_edits(run))
    with reviewed(run) as server:
        confirm = {"kind": "confirm", "by": "A"}
        assert posted(server, "/api/edits/3", confirm, JSON, "Origin: http://evil.example")[0] == 403
        assert posted(server, "/api/edits/3", confirm, "Content-Type: text/plain")[0] == 400
        assert posted(server, "/api/edits/3", {"kind": "confirm"}, JSON) == (400, b"say first who reviews")
        assert posted(server, "/api/edits/31", confirm, JSON)[0] == 400  # was not measured
        assert posted(server, "/api/edits/999", confirm, JSON)[0] == 404
        assert posted(server, "/api/edits/3", {"kind": "delete", "by": "A"}, JSON)[0] == 400
        assert posted(server, "/api/edits/3", {"kind": "points", "by": "A"}, JSON)[0] == 400
        assert posted(server, "/api/edits/3", b"[", JSON)[0] == 400
        assert posted(server, "/api/edits/3", b" " * (1 << 18), JSON)[0] == 400
        assert posted(server, "/api/marks/3", {"kind": "party"}, JSON)[0] == 400
        assert status_of(server, "/api/frames/999", "127.0.0.1") == 404  # type: ignore[arg-type]
        assert status_of(server, "/static/../server.py", "127.0.0.1") == 404  # type: ignore[arg-type]
        assert status_of(server, "/api/run", "evil.example") == 403  # type: ignore[arg-type]
        for name in ("review.js", "picture.js", "style.css"):
            assert status_of(server, f"/static/{name}", "127.0.0.1") == 200  # type: ignore[arg-type]
    assert list(read_edits(run)) == before


def test_beyond_this_machine_a_token_is_demanded(run: RecordedRun) -> None:
    with reviewed(run, host="0.0.0.0", token="s3cret") as server:
        assert "token=s3cret" in server.address
        assert status_of(server, "/api/run", "127.0.0.1") == 403  # type: ignore[arg-type]
        assert status_of(server, "/api/run?token=s3cret", "127.0.0.1") == 200  # type: ignore[arg-type]
        assert posted(server, "/api/marks/3", {"kind": "mark"}, JSON)[0] == 403


@pytest.mark.parametrize("case", ["empty", "without pictures"])
def test_a_run_of_nothing_to_see_is_shown_as_that(tmp_path: Path, case: str) -> None:
    run = finished_run(tmp_path, 3)
    if case == "empty":
        (run.folder / "measurements.jsonl").write_text("")
        manifest = json.loads((run.folder / "run.json").read_text())
        manifest["results"]["frames_in"] = 0
        (run.folder / "run.json").write_text(json.dumps(manifest))
    else:
        for path in (tmp_path / "pictures").iterdir():
            path.unlink()
    with reviewed(run) as server:
        messages = server._messages
        if case == "empty":
            assert messages.run()["frames"] == 0
        else:
            assert messages.frame(1)["picture_words"]
            assert messages.frame(1)["aop_alone"] is not None
            status, said = posted(server, "/api/edits/1", {"kind": "points", "by": "A"}, JSON)
            assert (status, said) == (400, b"there is no picture of this frame, so it cannot be edited")
