"""One result for each content, whatever fails when: the store and the backlog, without processes."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from rich.console import Console

from engines.errors import InferenceError
from stream.batch import workers
from stream.batch.backlog import MOST_CRASHES, JobBacklog
from stream.batch.finding import Finder
from stream.batch.measuring import is_final
from stream.batch.reporting.progress import BatchProgress
from stream.batch.reporting.tables import write_csv_summary, write_parquet
from stream.batch.store import ResultStore
from stream.batch.summary import COLUMNS, Row, write_summary
from stream.batch.workers import Failed, Measured, WorkerLost, WorkerPool
from stream.common.clock import ManualClock
from stream.common.csv_cells import unmarked
from stream.common.errors import (
    OptionError,
    OutputError,
    SourceNotFound,
    SourceTruncated,
    SourceUnavailable,
    SourceUnreadable,
)

if TYPE_CHECKING:
    from stream.batch.recordings import Recording

ASKED = {"protocol": "robust", "spacing_mm": None}


def store_in(folder: Path, *, resume: bool = True, **asked: Any) -> ResultStore:
    return ResultStore(folder, asked={**ASKED, **asked}, resume=resume)


def backlog_of(store: ResultStore, clock: ManualClock, *, goes_on: bool = False) -> JobBacklog:
    return JobBacklog(store, BatchProgress(clock=clock), clock=clock, goes_on=goes_on, ended=lambda recording: None)


def files(folder: Path, **contents: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.mp4").write_text(content)
    return [str(folder / f"{name}.mp4") for name in contents]


def measured(job: Any, **facts: Any) -> Measured:
    row: Row = {
        "state": "complete",
        "sha256": job.sha256,
        "frames": 3,
        "measured": 2,
        "measured_share": 0.6667,
        **facts,
    }
    write_summary(job.folder, row, [])
    return Measured(job, row)


def jobs_of(backlog: JobBacklog) -> list[Any]:
    found = []
    while job := backlog.next_job():
        found.append(job)
    return found


def test_a_content_is_measured_once_and_every_input_is_told(tmp_path: Path) -> None:
    inputs = files(tmp_path / "in", a="one", b="two", c="one")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find(inputs).recordings)
        jobs = jobs_of(backlog)
        assert [Path(job.recording.source).name for job in jobs] == ["a.mp4", "b.mp4"]
        for job in jobs:
            backlog.take(measured(job))
        rows = store.rows()
    assert [(Path(row["source"]).name, row["same_content"]) for row in rows] == [
        ("a.mp4", [inputs[2]]),
        ("b.mp4", []),
    ]
    assert {row["name"] for row in rows} == {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert not any(row["name"] == "a" for row in rows), "names of files may name people"


def test_a_resumed_batch_does_what_is_not_done_and_nothing_else(tmp_path: Path) -> None:
    inputs = files(tmp_path / "in", a="one", b="two")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find(inputs).recordings)
        first, second = jobs_of(backlog)
        backlog.take(measured(first))
        (second.folder / "half.csv").write_text("written by a process that was killed")
        killed = shutil.copytree(tmp_path / "out", tmp_path / "killed")
    with (killed / "inputs.jsonl").open("a") as file:
        file.write('{"source": "cut o')
    with store_in(killed) as store:
        assert not list((killed / ".work").iterdir())
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find([*inputs, *files(tmp_path / "in", d="one")]).recordings)
        (left,) = jobs_of(backlog)
        assert left.sha256 == second.sha256
        backlog.take(measured(left))
        assert len(store.rows()) == 2
    assert all(json.loads(line) for line in (killed / "inputs.jsonl").read_text().splitlines())


def test_results_are_not_mixed_with_others_and_not_written_by_two(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.begin({"name": "net", "sha256": "a" * 64})
        with pytest.raises(OutputError, match="another process"), store_in(tmp_path):
            pass
    with pytest.raises(OptionError, match="--resume"), store_in(tmp_path, resume=False):
        pass
    with pytest.raises(OptionError, match="protocol robust"), store_in(tmp_path, protocol="iugc2024"):
        pass
    with store_in(tmp_path) as store, pytest.raises(OptionError, match="model aaaaaaaa"):
        store.begin({"name": "net", "sha256": "b" * 64})


@pytest.mark.parametrize(("content", "said"), [('{"schema": "partum.batch/0"}', "of the form"), ('{"sch', "damaged")])
def test_results_of_another_version_are_left_alone(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "batch.json").write_text(content)
    for resume in (True, False):
        with pytest.raises(OptionError, match=said), store_in(tmp_path, resume=resume):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["batch.json"]


def test_an_input_that_was_written_on_has_the_result_of_what_it_is_now(tmp_path: Path) -> None:
    inputs = files(tmp_path / "in", a="one")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        for content in ("one", "one and more"):
            files(tmp_path / "in", a=content)
            backlog.add(Finder().find(inputs).recordings)
            (job,) = jobs_of(backlog)
            backlog.take(measured(job, frames=len(content)))
        assert [row["frames"] for row in store.rows()] == [12]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_file_that_changes_while_it_is_measured_costs_itself_and_not_others_of_its_content(
    tmp_path: Path, is_gone: bool
) -> None:
    inputs = files(tmp_path / "in", a="one", b="one", c="one")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find(inputs).recordings)
        (first,) = jobs_of(backlog)
        assert backlog.unfinished == 3
        if is_gone:
            Path(inputs[0]).unlink()
        else:
            files(tmp_path / "in", a="another")
        backlog.take(Failed(first, SourceUnavailable("a.mp4: was written to")))
        assert not first.folder.exists(), "nothing of it stays on the disk"
        (second,) = jobs_of(backlog)
        assert second.sha256 == first.sha256
        backlog.take(measured(second))
        assert backlog.unfinished == 0
        rows = [*store.rows(backlog.failed), *backlog.unread]
    assert [(row["state"], Path(row["source"]).name, row.get("same_content", [])) for row in rows] == [
        ("complete", "b.mp4", [inputs[2]]),
        ("failed", "a.mp4", []),
    ]


def listed(store: ResultStore, backlog: JobBacklog) -> list[tuple[str, str, list[str]]]:
    rows = [*store.rows(backlog.failed), *backlog.unread]
    others = [[Path(each).name for each in row.get("same_content", [])] for row in rows]
    return [(row["state"], Path(row["source"]).name, names) for row, names in zip(rows, others, strict=True)]


def test_a_watched_file_that_is_renamed_before_it_is_measured_is_measured_once_and_leaves_no_row(
    tmp_path: Path,
) -> None:
    (path,) = files(tmp_path / "in", a="one")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock(), goes_on=True)
        backlog.add(Finder().find([path]).recordings)
        renamed = Path(path).rename(tmp_path / "in" / "b.mp4")
        assert not jobs_of(backlog)
        assert backlog.unfinished == 0
        assert listed(store, backlog) == []
        backlog.add(Finder().find([str(renamed)]).recordings)
        (job,) = jobs_of(backlog)
        moved = renamed.rename(tmp_path / "in" / "c.mp4")  # while it is measured
        backlog.take(Failed(job, SourceNotFound("b.mp4: no such file")))
        assert backlog.unfinished == 0, "what is gone is not tried again"
        assert listed(store, backlog) == []
        backlog.add(Finder().find([str(moved)]).recordings)
        (job,) = jobs_of(backlog)
        backlog.take(measured(job))
        moved.rename(tmp_path / "in" / "done.mp4")
        backlog.add(Finder().find([str(tmp_path / "in")]).recordings)
        assert not jobs_of(backlog)
        assert listed(store, backlog) == [("complete", "done.mp4", [])]
        (tmp_path / "in" / "done.mp4").unlink()
        assert len(listed(store, backlog)) == 1, "it was measured"


def test_the_row_of_a_broken_file_goes_with_the_file(tmp_path: Path) -> None:
    inputs = files(tmp_path / "in", broken="x", cut="y", gone="z")
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find(inputs).recordings)
        for job, count in zip(jobs_of(backlog), (0, 2, 0), strict=True):
            backlog.take(measured(job, state="failed", error="x: damaged", measured=count))
    for path in inputs[1:]:
        Path(path).unlink()
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        assert [name for _, name, _ in listed(store, backlog)] == ["broken.mp4", "cut.mp4"], "one had frames"
        files(tmp_path / "in", gone="z")
        assert [name for _, name, _ in listed(store, backlog)] == ["broken.mp4", "cut.mp4", "gone.mp4"]


def test_a_file_that_may_not_be_read_yet_is_tried_again_while_it_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(recording: Recording) -> str:
        raise SourceUnreadable(f"{recording.source}: cannot be read (Permission denied)")

    (path,), clock = files(tmp_path / "in", a="one"), ManualClock()
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, clock, goes_on=True)
        with monkeypatch.context() as patched:
            patched.setattr("stream.batch.backlog.hash_of", refuse)
            backlog.add(Finder().find([path]).recordings)
            assert not jobs_of(backlog)
        assert [state for state, _, _ in listed(store, backlog)] == ["failed"]
        clock.advance(61_000_000_000)
        (job,) = jobs_of(backlog)
        backlog.take(measured(job))
        assert listed(store, backlog) == [("complete", "a.mp4", [])]


@pytest.mark.parametrize(
    ("error", "is_files_own"),
    [
        (SourceUnreadable("x: damaged"), True),
        (SourceTruncated("x: cut off"), True),
        (SourceUnavailable("x: needs pydicom"), False),
        (OutputError("x: disk full"), False),
        (InferenceError("x: the device is gone"), False),
    ],
)
def test_what_another_try_may_mend_is_no_result(error: Any, is_files_own: bool) -> None:
    assert is_final(error) is is_files_own


def test_a_file_that_may_not_be_opened_now_may_be_later() -> None:
    error = SourceUnreadable("x: cannot be opened")
    error.__cause__ = PermissionError(13, "Permission denied")
    assert not is_final(error)


def test_a_recording_that_kills_its_process_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    with store_in(tmp_path / "out") as store:
        backlog = backlog_of(store, ManualClock())
        backlog.add(Finder().find(files(tmp_path / "in", a="one", b="two")).recordings)
        poison, sound = jobs_of(backlog)
        for _ in range(MOST_CRASHES):
            backlog.take(Failed(poison, WorkerLost("a.mp4: killed by SIGSEGV"), has_crashed=True))
            again = jobs_of(backlog)
            poison = again[0] if again else poison
        backlog.take(measured(sound))
        assert backlog.unfinished == 0
        assert backlog.fatal is None
        assert [row["state"] for row in store.rows(backlog.failed)] == ["failed", "complete"]
        assert poison.sha256 not in store


def test_processes_that_are_killed_at_their_start_are_no_wrong_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(pool: WorkerPool) -> Any:
        mine, theirs = multiprocessing.Pipe()
        theirs.close()
        process = SimpleNamespace(join=lambda timeout=None: None, kill=lambda: None, exitcode=-9)
        return workers._Worker(process, mine, 0)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkerPool, "_start", start)
    options: Any = None
    with (
        WorkerPool(1, options, clock=ManualClock()) as pool,
        pytest.raises(WorkerLost, match="ended at its start"),
    ):
        pool.poll(1.0)


def test_a_full_disk_ends_a_batch_and_is_waited_for_by_one_that_watches(tmp_path: Path) -> None:
    inputs, clock = files(tmp_path / "in", a="one"), ManualClock()
    for goes_on in (False, True):
        with store_in(tmp_path / f"out{goes_on}") as store:
            backlog = backlog_of(store, clock, goes_on=goes_on)
            backlog.add(Finder().find(inputs).recordings)
            (job,) = jobs_of(backlog)
            backlog.take(Failed(job, OutputError("out: cannot be written (No space left on device)")))
            assert (backlog.fatal is not None) is not goes_on
            assert not jobs_of(backlog)
            clock.advance(61_000_000_000)
            assert len(jobs_of(backlog)) == goes_on


def test_the_tables_hold_the_same_with_types(tmp_path: Path) -> None:
    same = ["=1; 2.mp4", 'a "b", c.mp4', "c\rd\ne.mp4"]
    rows: list[Row] = [
        {"source": "a\udcff.mp4", "state": "complete", "frames": 3, "aop_deg": 120.5, "same_content": same}
    ]
    rows.append({"source": "=1+2.mp4", "error": "@x\r", "same_content": []})
    write_csv_summary(tmp_path, rows)
    assert write_parquet(tmp_path, rows) == ""
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert (first["source"], first["aop_deg"], second["aop_deg"]) == ("a�.mp4", "120.5", "")
    assert (json.loads(first["same_content"]), second["same_content"]) == (same, "")
    assert second["source"] == "'=1+2.mp4", "no formula"
    assert (unmarked(second["source"]), unmarked(second["error"])) == ("=1+2.mp4", "@x\r")
    table = pyarrow.parquet.read_table(tmp_path / "summary.parquet")
    assert table.column("frames").to_pylist() == [3, None]
    assert table.column("same_content").to_pylist() == [same, None]
    assert table.column("source").to_pylist()[1] == "=1+2.mp4"
    assert str(table.schema.field("aop_deg").type) == "double"


def test_a_name_neither_breaks_a_line_nor_commands_a_terminal() -> None:
    said = io.StringIO()
    progress = BatchProgress(clock=ManualClock(), console=Console(file=said))
    progress.say("a\nb\x1b[31m\u202e\udcff é👶.mp4: no [bold]video[/]")
    assert said.getvalue() == "a\\nb\\x1b[31m\\u202e� é👶.mp4: no [bold]video[/]\n"


def test_without_pyarrow_the_table_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pip install 'partum[parquet]'" in write_parquet(tmp_path, [])
    assert not (tmp_path / "summary.parquet").exists()
