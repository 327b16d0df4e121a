"""`partum batch` as a user meets it: real and broken files, kills in between, a page to look at."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import REPOSITORY
from tests.samples.dicom_files import PATIENT, native, smooth
from tests.samples.source_files import waves, write_images, write_waves

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
PHANTOM = "phantom:?seed={}&duration={}"


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "partum", "batch", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def batch(*arguments: str | Path) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def summary(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["source"]).name: row for row in csv.DictReader(file)}


def results(folder: Path) -> dict[str, str]:
    """When each result was begun, by the name of its folder."""
    return {
        path.parent.name: json.loads(path.read_text())["started_utc"] + str(path.stat().st_ino)
        for path in folder.glob("*/run.json")
    }


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.01)


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """A folder of everything, sound and broken, measured."""
    exams = tmp_path_factory.mktemp("exams")
    write_waves(exams / "loop.mp4", 4)
    shutil.copy(exams / "loop.mp4", exams / "loop again.mp4")
    write_images(exams / "film", waves(3))
    native(exams / "loop.dcm", smooth(3, 64, 64))
    whole = write_waves(exams / "cut.mp4", 40).read_bytes()
    (exams / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (exams / "junk.dcm").write_text("no DICOM")
    (exams / "empty.mp4").touch()
    with zipfile.ZipFile(exams / "study.zip", "w") as archive:
        archive.write(write_waves(exams.parent / "inside.mp4", 5), "inside.mp4")
    out = tmp_path_factory.mktemp("batch") / "out"
    return out, *batch(exams, PHANTOM.format(1, 1), "nowhere.mp4", "--out", out, "--jobs", "2")


def test_each_recording_has_its_row_and_a_bad_file_costs_itself(done: tuple[Path, int, str, str]) -> None:
    out, code, printed, told = done
    rows = summary(out)
    assert code == 1, told
    states = {name: row["state"] for name, row in rows.items()}
    failed = {name for name, state in states.items() if state == "failed"}
    assert failed == {"junk.dcm", "empty.mp4", "cut.mp4", "nowhere.mp4"}
    for name in failed:
        assert name in told
        assert rows[name]["error"]
    assert {"film", "loop.dcm", "inside.mp4"} <= set(states)
    one_of_two = rows.get("loop.mp4") or rows["loop again.mp4"]
    (other,) = json.loads(one_of_two["same_content"])
    assert Path(other).name in {"loop.mp4", "loop again.mp4"} - {Path(one_of_two["source"]).name}
    phantom = next(row for name, row in rows.items() if name.startswith("phantom"))
    assert float(phantom["aop_lo95_deg"]) < float(phantom["aop_deg"]) < float(phantom["aop_hi95_deg"])
    assert float(phantom["hsd_min_mm"]) > 0
    assert "9 recordings" in told.splitlines()[-1]
    assert "Research use only" in printed
    assert (out / "summary.parquet").is_file()


def test_a_recording_has_a_folder_as_replay_writes_it_named_by_content(done: tuple[Path, int, str, str]) -> None:
    out = done[0]
    for name, row in summary(out).items():
        if row["state"] == "complete":
            files = {path.name for path in (out / row["name"]).iterdir()}
            assert {"run.json", "measurements.csv", "measurements.jsonl", "trend.png", "overlay.mp4"} <= files, name
            assert int(row["frames"]) == len((out / row["name"] / "measurements.jsonl").read_text().splitlines())
            assert row["sha256"].startswith(row["name"])
    assert not list(out.glob(".work*"))
    assert PATIENT.encode() not in b"".join(path.read_bytes() for path in out.rglob("*.*") if path.is_file())


def test_once_more_measures_nothing(done: tuple[Path, int, str, str]) -> None:
    out = done[0]
    before = results(out)
    code, _, told = batch(PHANTOM.format(1, 1), "--out", out, "--resume")
    assert code == 1, "rows of what failed are still there"
    assert results(out) == before
    assert "9 recordings" in told.splitlines()[-1] or "8 recordings" in told.splitlines()[-1]


def test_stills_have_no_track(tmp_path: Path) -> None:
    from stream.exports.verification import verify_run
    from tests.fakes.doubles import picture

    write_images(tmp_path / "stills", [picture(), waves(1, height=50, width=70)[0]])
    write_waves(tmp_path / "stills" / "film.mp4", 3)
    code, _, _ = batch(tmp_path / "stills", "--out", tmp_path / "out", "--stills", "--jobs", "1")
    rows = summary(tmp_path / "out")
    assert code == 1
    assert "--stills" in rows["film.mp4"]["error"]
    for name in ("image0.png", "image1.png"):
        assert (rows[name]["frames"], rows[name]["aop_lo95_deg"]) == ("1", "")
        files = {path.name for path in (tmp_path / "out" / rows[name]["name"]).iterdir()}
        assert "overlay.png" in files
        checked = verify_run(tmp_path / "out" / rows[name]["name"])
        assert (checked.faults, checked.notes) == ((), ()), "the log has every file"
        assert not files & {"overlay.mp4", "trend.png"}


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    inputs, out = [PHANTOM.format(seed, 1) for seed in range(3)], tmp_path / "out"
    first = start(*inputs, "--out", out, "--tables-only", "--jobs", "1")
    wait_for(lambda: len(results(out)) >= 1 and (out / ".work").is_dir() and any((out / ".work").iterdir()), first)
    workers = children(first)
    first.kill()
    first.communicate()
    give_up = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.01)
    before = results(out)
    assert 1 <= len(before) < 3
    second = start(*inputs, "--out", out, "--tables-only", "--jobs", "1", "--resume")
    wait_for(lambda: len(children(second)) >= 1 and any((out / ".work").iterdir()), second)
    os.kill(children(second)[0], signal.SIGKILL)  # the worker alone: its recording is tried once more
    _, told = second.communicate(timeout=200)
    assert second.returncode == 0, told
    after = results(out)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before
    assert {row["state"] for row in summary(out).values()} == {"complete"}
    assert not any(path.name.endswith((".png", ".jpg", ".mp4")) for path in out.rglob("*"))


def test_watching_measures_what_comes_until_it_is_stopped(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    process = start(inbox, "--out", out, "--watch", "--settle", "0.3", "--tables-only", "--jobs", "1", "--named")
    wait_for((out / "batch.json").is_file, process)
    write_waves(inbox / "first.mp4", 3)
    wait_for(lambda: len(results(out)) == 1, process)
    write_waves(inbox / "second.mp4", 4)
    wait_for(lambda: len(results(out)) == 2, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert {row["name"].partition("-")[0] for row in summary(out).values()} == {"first", "second"}


@pytest.mark.browser
def test_the_page_fits_a_screen_and_a_phone(done: tuple[Path, int, str, str], browser: Any) -> None:
    out = done[0]
    failures: list[str] = []
    for width, height in ((1440, 900), (390, 844)):
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("console", lambda message: failures.append(message.text))
        page.goto(f"file://{out / 'index.html'}")
        page.evaluate("for (const image of document.images) image.loading = 'eager'")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        rows = summary(out).values()
        assert page.locator("article").count() == len(rows)
        assert page.locator("article.failed").count() == sum(row["state"] == "failed" for row in rows) > 0
        assert "Research use only" in page.inner_text("header")
        assert page.locator("svg[role=img]").first.get_attribute("aria-label").startswith("AoP over")
        assert not failures
        page.close()
