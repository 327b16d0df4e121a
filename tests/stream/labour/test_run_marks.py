"""Marks of a finished run, edits of its frames, and the axis of time they are counted on."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.common.errors import OptionError, RunUnreadable
from stream.labour.edits import EditedReading, EditKind, add_edit, edits_in_force, read_edits
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_marks import TypedMark, add_marks, frame_at, marked_pushes, read_marks
from stream.labour.time_axis import CUT_PAUSE_S, time_axis
from stream.outputs.marks import LONGEST_NOTE, MarkKind, parse_kind, plain_text
from tests.samples.finished_runs import finished_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return finished_run(tmp_path_factory.mktemp("marks"), 12)


def axis_of(run: RecordedRun):  # type: ignore[no-untyped-def]
    return time_axis(run.table.numbers("pts_s"), run.table.counts("segment"))


def test_the_axis_of_time_never_goes_back_and_cuts_out_pauses_that_would_be_all_of_it() -> None:
    axis = time_axis(np.array([5.0, 6, 7, 0, 1, 1e6, 1e6 + 1]), np.array([0, 0, 0, 1, 1, 2, 2]))
    gap = CUT_PAUSE_S
    assert axis.time_s.tolist() == [0, 1, 2, 2 + gap, 3 + gap, 3 + 2 * gap, 4 + 2 * gap]
    assert [(jump.row, jump.by_s) for jump in axis.jumps] == [(3, -7.0), (5, 1e6 - 1)]
    assert axis.of(1.0, 1) == 3 + gap
    assert time_axis(np.array([0.0, 500.0]), np.array([0, 0])).time_s.tolist() == [0, 500]  # a pause as it was
    empty = time_axis(np.empty(0), np.empty(0, np.int64))
    assert (len(empty.time_s), empty.end_s) == (0, 0.0)


def test_marks_are_added_behind_those_that_are_there(run: RecordedRun) -> None:
    axis = axis_of(run)
    add_marks(run, axis, [TypedMark(time_s=0.1, kind=MarkKind.PUSH_START)], by="A")
    add_marks(run, axis, [TypedMark(time_s=0.3, kind=MarkKind.PUSH_END, note="one\ntwo" + "x" * 300)], by="B")
    with (run.folder / "marks.jsonl").open("ab") as file:
        file.write(b'{"half a li')  # of a process that was killed
    add_marks(run, axis, [TypedMark(time_s=0.2)], by="C")
    marks = run.read_marks()
    assert [(mark["mark"], mark["kind"], mark["by"]) for mark in marks] == [
        (1, "push_start", "A"),
        (2, "push_end", "B"),
        (3, "mark", "C"),
    ]
    assert [mark["index"] for mark in marks] == [2, 7, 5]  # 25 frames a second; the last that began by then
    assert marks[1]["note"].startswith("one twox")
    assert len(marks[1]["note"]) == LONGEST_NOTE
    assert marks[0]["aop_deg"] == run.table.record(2)["aop_deg"]


def test_a_file_of_marks_is_read_or_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_text('\ufefftime_s,kind,note\n1.5,push_start,\n2,,"a, b"\n3,,\'=more\n', encoding="utf-8")
    assert read_marks(path) == [
        TypedMark(time_s=1.5, kind=MarkKind.PUSH_START),
        TypedMark(time_s=2.0, kind=MarkKind.MARK, note="a, b"),
        TypedMark(time_s=3.0, kind=MarkKind.MARK, note="=more"),  # as our own tables write it
    ]
    for text, said in (
        ("time,kind\n1,mark\n", "no column time_s"),
        ("time_s,kind\nx,mark\n", "line 2: 'x' is no time"),
        ("time_s,kind\n1,mark\n2,pusch\n", "line 3: 'pusch' is no kind of mark"),
        ("", "no column time_s"),
        ("time_s,kind,note\n", "holds no mark"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(OptionError, match=said):
            read_marks(path)
    path.write_bytes(b"\xff\xfe\x00time_s")
    with pytest.raises(OptionError, match="table of text"):
        read_marks(path)
    with pytest.raises(OptionError, match="No such file"):
        read_marks(tmp_path / "none.csv")


def marks_of(*kinds_and_times: tuple[str, float] | tuple[str, float, int]) -> list[dict[str, object]]:
    """Marks in the order in which they were set: kind, time, segment."""
    return [
        {"mark": number, "kind": mark[0], "pts_s": mark[1], "segment": mark[2] if len(mark) > 2 else 0}
        for number, mark in enumerate(kinds_and_times, 1)
    ]


START, END = "push_start", "push_end"


@pytest.mark.parametrize(
    ("marks", "spans", "lone"),
    [
        ([(START, 1), (END, 4), ("note", 5), (START, 6), (END, 9)], [(1, 4), (6, 9)], []),
        ([(END, 9), (START, 6), (END, 4), (START, 1)], [(1, 4), (6, 9)], []),  # set in any order
        ([(START, 1), (START, 2), (END, 4)], [(2, 4)], [1]),  # the second mends the first
        ([(START, 1), (START, 2), (END, 4), (END, 6)], [(2, 4)], [1, 4]),  # nested: the inner one
        ([(END, 1), (START, 4)], [], [1, 2]),  # reversed
        ([(START, 4), (END, 4)], [], [1, 2]),  # of no length
        ([(START, 1)], [], [1]),
        ([(START, 1, 0), (END, 4, 1)], [], [1, 2]),  # the picture became another one between
        ([("mark", 1), ("note", 2)], [], []),
        ([], [], []),
    ],
)
def test_a_start_and_the_next_end_are_a_push_and_what_is_left_over_makes_none(
    marks: list[tuple[str, float]], spans: list[tuple[float, float]], lone: list[int]
) -> None:
    found = marked_pushes(marks_of(*marks))
    assert [(span.start_s, span.end_s) for span in found.spans] == spans
    assert sorted(found.lone) == lone


def test_an_end_that_would_have_no_start_is_refused_and_a_start_waits_for_its_end(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12)
    axis = axis_of(run)

    def set_marks(*marks: tuple[MarkKind, float]) -> None:
        add_marks(run, axis, [TypedMark(kind=kind, time_s=time_s) for kind, time_s in marks], by="A")

    with pytest.raises(OptionError, match=r"end of a push at 0\.2 s would have no start"):
        set_marks((MarkKind.PUSH_END, 0.2))
    assert not (run.folder / "marks.jsonl").exists()
    set_marks((MarkKind.PUSH_START, 0.1))
    assert marked_pushes(run.read_marks()).lone == {1: "no end after it"}
    set_marks((MarkKind.PUSH_END, 0.3))
    assert len(marked_pushes(run.read_marks()).spans) == 1
    for wrong in ((MarkKind.PUSH_END, 0.2), (MarkKind.PUSH_END, 0.4)):  # within a push, and behind it
        with pytest.raises(OptionError, match="would have no start"):
            set_marks(wrong)
    assert len(run.read_marks()) == 2


@pytest.mark.parametrize("time_s", [-1.0, 99.0, float("nan"), float("inf")])
def test_a_time_outside_of_the_run_is_refused_and_nothing_is_written(run: RecordedRun, time_s: float) -> None:
    before = run.read_marks()
    with pytest.raises(OptionError, match="outside of the run"):
        add_marks(run, axis_of(run), [TypedMark(time_s=0.1), TypedMark(time_s=time_s)], by="A")
    assert run.read_marks() == before


def test_an_empty_run_has_nothing_to_mark() -> None:
    with pytest.raises(OptionError, match="no frame"):
        frame_at(time_axis(np.empty(0), np.empty(0, np.int64)), 0.0)


def test_words_of_people_are_one_line_of_plain_letters() -> None:
    assert plain_text(" a\tb\x1b[31m\n c ") == "a b [31m c"
    assert plain_text("\x00 ") is None
    with pytest.raises(OptionError, match="Did you mean 'push_end'"):
        parse_kind("push_ends")


def test_edits_stand_beside_the_automatic_values_and_the_last_of_a_frame_holds(run: RecordedRun) -> None:
    before = (run.folder / "measurements.jsonl").read_bytes()
    moved = {"ps_superior": [1.0, 2.0], "ps_inferior": [3.0, 4.0], "tangent": [5.0, 6.0]}
    add_edit(run, 3, EditKind.CONFIRM, by="Dr A", size_px=(96, 64))
    reading = EditedReading(moved=["tangent"], landmarks_px=moved, values={"aop_deg": 91.5})
    add_edit(run, 5, EditKind.POINTS, by="Dr B", size_px=(96, 64), reading=reading)
    add_edit(run, 3, EditKind.WITHDRAW, by="Dr A", size_px=(96, 64), note="a slip")
    edits = read_edits(run)
    assert [(edit["edit"], edit["index"], edit["kind"]) for edit in edits] == [
        (1, 3, "confirm"),
        (2, 5, "points"),
        (3, 3, "withdraw"),
    ]
    assert edits[1]["automatic"]["aop_raw_deg"] == run.table.record(5)["aop_raw_deg"]
    assert edits[1]["values"] == {
        "aop_deg": 91.5,
        "hsd_min_px": None,
        "hsd_min_mm": None,
        "hsd_perp_px": None,
        "hsd_perp_mm": None,
    }
    assert list(edits_in_force(run)) == [5]
    assert (run.folder / "measurements.jsonl").read_bytes() == before


def test_a_line_of_another_version_is_refused(run: RecordedRun) -> None:
    path = run.folder / "edits.jsonl"
    kept = path.read_bytes()
    path.write_bytes(kept + json.dumps({"schema": "partum.edit/9"}).encode() + b"\n")
    with pytest.raises(RunUnreadable, match=r"partum\.edit/9"):
        read_edits(run)
    path.write_bytes(kept)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("marks.jsonl", '"marked_utc"', '"markedxutc"'),
        ("marks.jsonl", '+00:00"', '+00-00"'),
        ("marks.jsonl", '"push_start"', '"pusg_start"'),
        ("marks.jsonl", '"index": 2', '"index": 92'),
        ("marks.jsonl", '"pts_s": 0.08', '"pts_s": NaN'),
        ("edits.jsonl", '"values"', '"v0lues"'),
        ("edits.jsonl", '"edited_utc"', '"edited_ut9"'),
        ("edits.jsonl", '"points"', '"joints"'),
        ("edits.jsonl", '"aop_deg": 91.5', '"aop_deg": "1.5"'),
        ("edits.jsonl", "[[1.0, 2.0]", '[[1.0, "2"]'),
        ("edits.jsonl", '"no_fh"', '"mo_fh"'),
    ],
)
def test_a_mark_or_an_edit_that_was_changed_is_named_by_its_line(tmp_path: Path, name: str, old: str, new: str) -> None:
    run = finished_run(tmp_path, 12)
    add_marks(run, axis_of(run), [TypedMark(time_s=0.1, kind=MarkKind.PUSH_START)], by="A")
    outline = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    reading = EditedReading(outlines_px={"ps": outline}, values={"aop_deg": 91.5}, reason="no_fh")
    add_edit(run, 5, EditKind.POINTS, by="B", size_px=(96, 64), reading=reading)
    path = run.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    read = run.read_marks if name == "marks.jsonl" else partial(read_edits, run)
    with pytest.raises(RunUnreadable, match=rf"{name}: line 1 cannot be read"):
        read()
