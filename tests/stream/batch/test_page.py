"""The page of a batch, as text: what a person finds on it, whatever recordings are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.batch.finding import Finder
from stream.batch.intake import InputIntake
from stream.batch.reporting.page import PER_PAGE, write_page
from stream.batch.reporting.progress import BatchProgress
from stream.batch.run import Batch
from stream.batch.store import ResultStore
from stream.batch.summary import Course, Row, write_summary
from stream.common.clock import ManualClock
from tests.stream.batch.test_results import ASKED, backlog_of, files, jobs_of, measured, store_in


def page_of(folder: Path, rows: list[Row]) -> str:
    with ResultStore(folder, asked=ASKED, resume=True) as store:
        write_page(store, rows)
    return (folder / "index.html").read_text(encoding="utf-8")


def test_names_are_text_and_never_markup_and_an_error_names_its_file_once(tmp_path: Path) -> None:
    name = 'a/<b>&"; x\n.mp4'
    rows: list[Row] = [
        {"source": name, "state": "failed", "error": f"{name}: damaged", "same_content": ["<i>; y.mp4", "z.mp4"]},
        {"source": "sound.mp4", "state": "complete", "frames": 3, "measured": 1, "reasons": "no_sector 2", "name": ""},
    ]
    page = page_of(tmp_path, rows)
    assert "a/<b>" not in page
    assert "<i>" not in page
    assert page.count("a/&lt;b&gt;&amp;&quot;; x\\n.mp4") == 1
    assert '<p class="error">damaged</p>' in page
    assert "<li>&lt;i&gt;; y.mp4</li><li>z.mp4</li>" in page
    assert "no sector (2)" in page
    assert page.count("no picture") == 1, "a failed one has no box for it"


def test_links_lead_to_files_that_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "0f3a"
    folder.mkdir()
    for file in ("thumbnail.jpg", "overlay.mp4", "run.json"):
        (folder / file).touch()
    course: Course = [[0.0, 110.0, 108.0, 112.0], [0.5, None, None, None], [1.0, 120.0, 118.0, 122.0]]
    row: Row = {
        "source": "loop.mp4",
        "state": "complete",
        "frames": 3,
        "measured": 2,
        "sha256": "0f3a",
        "aop_deg": 115.0,
    }
    write_summary(folder, row, course)
    page = page_of(tmp_path, [row | {"name": "0f3a"}])
    for link in ("0f3a/thumbnail.jpg", "0f3a/overlay.mp4", "0f3a/run.json"):
        assert f'href="{link}"' in page
    assert "trend.png" not in page
    assert "AoP over 1 s, from 110 to 120°" in page
    assert "115.0°" in page


def test_many_recordings_go_on_further_pages(tmp_path: Path) -> None:
    page = page_of(tmp_path, [{"source": f"{n}.mp4", "state": "complete"} for n in range(PER_PAGE + 1)])
    assert page.count("<article") == PER_PAGE
    assert 'href="index-2.html"' in page
    assert (tmp_path / "index-2.html").read_text().count("<article") == 1


def test_where_all_is_done_no_worker_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, clock = files(tmp_path / "in", a="one", b="two"), ManualClock()

    def no_worker(*arguments: Any, **options: Any) -> None:
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr("stream.batch.run.WorkerPool", no_worker)
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, clock)
        backlog.add(Finder().find(inputs).recordings)
        for job in jobs_of(backlog):
            backlog.take(measured(job))
        session: Any = None
        batch = Batch(
            InputIntake(inputs, Finder(), store.work_folder), store, BatchProgress(clock=clock), session, clock=clock
        )
        batch.run()
        assert [row["state"] for row in batch.rows] == ["complete", "complete"]
        assert (tmp_path / "out" / "summary.csv").is_file()
