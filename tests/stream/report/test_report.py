"""What a report says of runs, of ordinary ones and of those that have little or odd things to say."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import EngineUnavailable
from stream.common.errors import ExtraMissing, OptionError, OutputError, RunUnreadable, SourceError
from stream.frames.reason import Reason
from stream.labour.edits import EditedReading, EditKind, add_edit
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_marks import TypedMark, add_marks
from stream.labour.run_network import RunNetwork
from stream.measurement.protocols import PROTOCOLS
from stream.outputs.marks import MarkKind
from stream.report import pdf
from stream.report.charts import MOST_POINTS, DayPoint, _near, _tick, thin
from stream.report.content import RunContent, level_value
from stream.report.day import day_section, timed_runs
from stream.report.document import render_report
from stream.report.run_chart import run_chart
from stream.report.values import Value, clock, duration, percent
from stream.report.wording import MEANINGS, PROTOCOL_TEXTS
from stream.report.write import write_report
from tests.fakes.doubles import GreyLevelEngine
from tests.samples.finished_runs import SHA256, finished_run

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine

MADE = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)


def rewritten(run: RecordedRun, change: Any, count: int | None = None) -> RecordedRun:
    """The run with its records changed, as an odd recording would have made them."""
    path = run.folder / "measurements.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()][:count]
    for record in records:
        change(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    manifest = json.loads((run.folder / "run.json").read_text())
    manifest["results"]["frames_in"] = len(records)
    (run.folder / "run.json").write_text(json.dumps(manifest))
    return RecordedRun(run.folder)


def nothing(record: dict[str, Any]) -> None:
    pass


def own_network(run: RecordedRun) -> RunNetwork:
    def load() -> Engine:
        engine = GreyLevelEngine()
        engine.spec = type(engine.spec)(**{**_facts(engine.spec), "sha256": SHA256})
        return engine

    return RunNetwork(run, load)


def _facts(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


def page_of(run: RecordedRun) -> str:
    content = RunContent(run)
    network = own_network(run)
    content.load_pictures(network)
    network.close()
    return render_report([content], made=MADE)


class Balance(HTMLParser):
    """Whether every tag is closed, and what a reader sees."""

    VOID = frozenset({"meta", "img", "br", "source", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        assert not self.open
        return " ".join(" ".join(self.words).split())


def test_a_report_is_one_page_that_fetches_nothing_and_says_what_it_is(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 40, off_plane=range(20, 30))
    page = page_of(run)
    text = Balance(page).text
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", page)
    assert "http" not in re.sub(r"data:[^\"]+", "", page).replace("http-equiv", "")
    assert text.count("RESEARCH USE ONLY") >= 2
    assert "30 of 40 frames (75 %) were measured." in text
    assert "not a standard plane" in text
    assert "0.5 x 0.5 mm per pixel" in text
    assert SHA256 in text
    assert PROTOCOL_TEXTS["robust"] in text
    for words in ("Limits", "How each number is defined", "95th percentile", "No push was found."):
        assert words in text
    assert page.count("data:image/jpeg;base64,") >= 1  # its best frames
    assert "PS axis and outline" in text


def test_the_values_are_the_medians_of_the_records(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 40, off_plane=range(20, 30))
    content = RunContent(run)
    (part,) = content.parts
    rows = run.table.is_in("measured")  # type: ignore[arg-type]
    rest = content.rest(part)
    assert rest is not None
    assert rest.value == pytest.approx(np.nanmedian(run.table.numbers("aop_deg")[rows]))
    assert rest.repeatability is not None
    assert rest.repeatability[0] == pytest.approx(np.nanmedian(run.table.numbers("aop_lo95_deg")[rows]))
    hsd = content.hsd(part)
    assert hsd is not None
    assert hsd.unit == " mm"
    assert content.slope(part) is None  # watched for less than two seconds
    assert all(run.table.words("state")[row] == "measured" for row, _ in content.best_rows())


def test_words_from_outside_are_never_markup(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 8)
    content = RunContent(run)
    evil = "<script>alert(1)</script>&\x1b"
    add_marks(run, content.axis, [TypedMark(time_s=0.1, kind=MarkKind.NOTE, note=evil)], by=evil)
    add_edit(run, 3, EditKind.CONFIRM, by=evil, size_px=(128, 128), note=evil)
    manifest = json.loads((run.folder / "run.json").read_text())
    manifest["options"]["source"] = f"/films/{evil}.mp4"
    manifest["source"]["note"] = evil
    (run.folder / "run.json").write_text(json.dumps(manifest))
    page = render_report([RunContent(RecordedRun(run.folder))], made=MADE)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def test_marks_and_edits_stand_beside_the_automatic_values(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12)
    content = RunContent(run)
    add_marks(run, content.axis, [TypedMark(time_s=0.2, kind=MarkKind.PUSH_START)], by="midwife")
    reading = EditedReading(moved=["tangent"], values={"aop_deg": 131.25, "hsd_min_mm": 12.5})
    add_edit(run, 5, EditKind.POINTS, by="Dr B", size_px=(128, 128), reading=reading)
    add_edit(run, 6, EditKind.CONFIRM, by="Dr B", size_px=(128, 128))
    add_edit(run, 7, EditKind.CONFIRM, by="Dr B", size_px=(128, 128))
    add_edit(run, 7, EditKind.WITHDRAW, by="Dr B", size_px=(128, 128))
    text = Balance(page_of(RecordedRun(run.folder))).text
    assert "push starts" in text
    assert "midwife, " in text
    assert f"{run.table.numbers('aop_raw_deg')[5]:.1f}°" in text
    assert "131.2°" in text or "131.3°" in text
    assert "12.5 mm" in text
    assert "frame 6" in text
    assert "frame 7" not in text.partition("Frames that were reviewed")[2].partition("How it was made")[0]


@pytest.mark.parametrize("count", [0, 1])
def test_runs_of_no_frame_and_of_one_say_so(tmp_path: Path, count: int) -> None:
    run = rewritten(finished_run(tmp_path, 3), nothing, count)
    text = Balance(page_of(run)).text
    assert ("No frame was read." in text) is (count == 0)
    assert ("One frame only." in text) is (count == 1)
    assert f"{run.table.numbers('aop_raw_deg')[0]:.0f}°" in text if count else "in this frame" not in text
    assert "nothing was measured" not in text
    assert "nan" not in text.lower()


def test_a_run_without_a_measured_frame_has_reasons_and_no_number(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12, off_plane=range(12))
    page = page_of(run)
    text = Balance(page).text
    assert "Nothing could be measured." in text
    assert "not a standard plane 12 100 %" in text
    assert not re.search(r"\d°", text.partition("How each number")[0])
    assert "image/jpeg" not in page


def test_a_cut_to_another_picture_is_told_and_nothing_is_computed_over_it(tmp_path: Path) -> None:
    def cut(record: dict[str, Any]) -> None:
        if record["index"] >= 20:
            record["segment"], record["segment_cause"] = 1, "cut"
            for name in ("aop_deg", "aop_raw_deg", "aop_lo95_deg", "aop_hi95_deg"):
                record[name] = None if record[name] is None else record[name] + 30

    run = rewritten(finished_run(tmp_path, 40), cut)
    content = RunContent(run)
    assert [part.cause for part in content.parts] == ["start", "cut"]
    for part, rows in zip(content.parts, (slice(0, 20), slice(20, 40)), strict=True):
        rest = content.rest(part)
        assert rest is not None
        assert rest.value == pytest.approx(np.nanmedian(run.table.numbers("aop_deg")[rows]))
    text = Balance(render_report([content], made=MADE)).text
    assert "This recording has 2 parts." in text
    assert "another patient" in text


def test_a_clock_that_jumps_is_told_and_cut_out_of_the_axis(tmp_path: Path) -> None:
    def jump(record: dict[str, Any]) -> None:
        if record["index"] >= 10:
            record["segment"], record["segment_cause"] = 1, "time"
            record["pts_s"] += -50 if record["index"] < 20 else 1e6
        if record["index"] >= 20:
            record["segment"] = 2

    run = rewritten(finished_run(tmp_path, 30), jump)
    content = RunContent(run)
    assert content.axis.end_s < 10
    text = Balance(render_report([content], made=MADE)).text
    assert "The clock of the recording jumps." in text
    assert "back by" in text
    assert "on by" in text


def test_no_line_of_the_chart_goes_over_the_beginning_of_a_part(tmp_path: Path) -> None:
    def jump(record: dict[str, Any]) -> None:
        if record["index"] >= 20:
            record |= {"segment": 1, "segment_cause": "time", "pts_s": record["pts_s"] - 0.5}

    content = RunContent(rewritten(finished_run(tmp_path, 40), jump))
    assert len(content.parts) == 2
    aop = run_chart(content).series[0]
    assert len(aop.time_s) == len(aop.value) == len(aop.bands[0][1]) == 41
    assert math.isnan(aop.value[20])
    assert aop.time_s[20] == aop.time_s[21]


def test_pictures_that_are_gone_or_another_model_are_said_so(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12)
    content = RunContent(run)

    def none() -> Engine:
        raise EngineUnavailable("nothing can run a model here; pip install openvino")

    content.load_pictures(RunNetwork(run, none))
    assert content.pictures
    assert "nothing can run a model here" in content.why_no_outlines
    other = RunContent(run)
    other.load_pictures(RunNetwork(run, GreyLevelEngine))
    assert "another model" in other.why_no_outlines
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    gone = RunContent(run)
    gone.load_pictures(own_network(run))
    assert gone.pictures == []
    assert "Not shown: " in gone.why_no_pictures
    assert "Not shown: " in Balance(render_report([gone], made=MADE)).text


def test_a_run_that_did_not_end_well_says_so(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 6)
    manifest = json.loads((run.folder / "run.json").read_text())
    manifest |= {"status": "failed", "error": "the disk is full", "engine_mark": "was refused"}
    (run.folder / "run.json").write_text(json.dumps(manifest))
    text = Balance(page_of(RecordedRun(run.folder))).text
    assert "The run is failed." in text
    assert "the disk is full" in text
    assert "was refused" in text


def test_several_runs_are_ordered_by_the_time_they_were_scanned(tmp_path: Path) -> None:
    runs = [RunContent(finished_run(tmp_path / name, 12)) for name in ("b", "a")]
    timed = timed_runs(runs, ("14:20", "2026-11-26T08:10"), made=MADE)
    assert [each.at.hour if each.at else None for each in timed] == [8, 14]
    day = day_section(timed)
    assert [row["time"] for row in day["rows"]] == ["08:10", "14:20"]
    text = Balance(render_report([each.run for each in timed], made=MADE, day=day)).text
    assert "Progress over 2 recordings" in text
    assert text.count("RESEARCH USE ONLY") >= 4
    assert day["slope"] is not None
    assert day["slope"].repeatability[0] < 0 < day["slope"].repeatability[1]  # two alike recordings say nothing
    assert "counted in" in text
    unknown = day_section(timed_runs(runs, (), made=MADE))
    assert "not known" in " ".join(unknown["notes"])
    assert unknown["slope"] is None
    for times, said in ((("8:10",), "1 times for 2 runs"), (("08:10", "25:00"), "--at 25:00: give a time")):
        with pytest.raises(OptionError, match=re.escape(said)):
            timed_runs(runs, times, made=MADE)


def test_the_change_over_a_day_is_that_of_the_values_in_its_table(tmp_path: Path) -> None:
    def shifted(by_deg: float) -> Any:
        def change(record: dict[str, Any]) -> None:
            record["aop_raw_deg"] = 110.0 + by_deg + 3.0 * (record["index"] % 2)
            record["aop_deg"] = record["aop_raw_deg"] + (2.0 if record["index"] < 20 else 0.0)

        return change

    runs = [RunContent(rewritten(finished_run(tmp_path / str(deg), 40), shifted(deg))) for deg in (0.0, 9.0)]
    timed = timed_runs(runs, ["2026-11-26T08:00", "2026-11-26T11:00"], made=MADE)
    day = day_section(timed)
    first, second = (row["rest"].value for row in day["rows"])
    assert day["slope"].value == pytest.approx((second - first) / 3, abs=1e-3)


def test_a_run_is_taken_once_and_a_source_that_is_named_must_be_there(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12)
    out = tmp_path / "report.html"
    (tmp_path / "link").symlink_to(run.folder)
    for twice in ([run.folder, run.folder], [run.folder, tmp_path / "link"]):
        with pytest.raises(OptionError, match="is the same run as"):
            write_report(twice, out, made=MADE)
    with pytest.raises(SourceError, match="nosuch"):
        write_report([run.folder], out, made=MADE, source=str(tmp_path / "nosuch"))
    assert not out.exists()


def test_a_run_that_was_changed_says_so_first(tmp_path: Path) -> None:
    run = finished_run(tmp_path, 12)
    assert "as they were written, by the run's log" in Balance(page_of(run)).text
    path = run.folder / "measurements.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"quality": 0.', b'"quality": 0.1', 1))
    text = Balance(page_of(RecordedRun(run.folder))).text
    assert "changed after it was written: measurements.jsonl has" in text
    (run.folder / "run-log.jsonl").unlink()
    assert "not compared: the run kept no log" in page_of(RecordedRun(run.folder))


def test_refusals_come_before_minutes_are_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path, 6)
    with pytest.raises(OptionError, match="name the HTML file"):
        write_report([run.folder], tmp_path / "a.pdf", made=MADE)
    with pytest.raises(OutputError, match="is a folder"):
        write_report([run.folder], tmp_path, made=MADE)
    with pytest.raises(OptionError, match="a file of the run"):
        write_report([run.folder], run.folder / "run.json", made=MADE)
    with pytest.raises(OptionError, match="single run"):
        write_report([run.folder] * 2, tmp_path / "a.html", made=MADE, source="x")
    with pytest.raises(RunUnreadable, match="not the folder of a run"):
        write_report([tmp_path / "pictures"], tmp_path / "a.html", made=MADE)
    monkeypatch.setattr("stream.report.pdf.shutil.which", lambda name: None)
    monkeypatch.setattr(pdf, "PLACES", {})
    with pytest.raises(ExtraMissing, match="apt install chromium"):
        write_report([run.folder], tmp_path / "a.html", made=MADE, pdf=True)
    assert not (tmp_path / "a.html").exists()


def test_a_browser_that_does_not_print_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_browser", lambda: "/bin/false")
    with pytest.raises(OutputError, match="does not print the report"):
        pdf.print_pdf("<p>x", tmp_path / "a.pdf")
    monkeypatch.setattr(pdf, "find_browser", lambda: str(tmp_path / "none"))
    with pytest.raises(OutputError, match="does not print the report"):
        pdf.print_pdf("<p>x", tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_every_code_has_its_words() -> None:
    assert set(MEANINGS) == set(Reason)
    assert set(PROTOCOL_TEXTS) == set(PROTOCOLS)


def test_numbers_and_times_as_people_read_them() -> None:
    change = Value(value=-2.345, unit="°/h", is_change=True)
    assert (change.shown(1), change.range((-1.0, 3.0), 0)) == ("\N{MINUS SIGN}2.3°/h", "\N{MINUS SIGN}1 to +3°/h")
    assert [duration(each) for each in (0.4, 59.6, 3599, 3700)] == ["0 s", "1 min 00 s", "59 min 59 s", "1 h 01 min"]
    assert [clock(each) for each in (7.9, 754, 3723)] == ["0:07", "12:34", "1:02:03"]
    assert [percent(*each) for each in ((0, 5), (1, 1000), (999, 1000), (5, 5), (1, 4))] == [
        *("0 %", "< 1 %", "> 99 %", "100 %", "25 %")
    ]


def test_a_long_course_is_drawn_by_medians_and_keeps_its_gaps() -> None:
    time_s = np.arange(10_000) / 10
    row = np.full(10_000, 120.0)
    row[3] = 500.0  # one wild value
    row[4000:6000] = math.nan
    times, rows = thin(time_s, row[None])
    assert len(times) <= MOST_POINTS
    assert np.nanmax(rows) == 120.0
    gap = np.isnan(rows[0])
    assert gap[(times > 401) & (times < 599)].all()
    assert not gap[(times < 399) | (times > 601)].any()


def test_labels_of_recordings_near_each_other_are_drawn_as_one() -> None:
    assert _near([0.0, 3.0, 3.01, 3.02, 5.0], 0.2) == [[0], [1, 2, 3], [4]]
    points = [DayPoint(at=None, label=label, rest=None, peak=None) for label in ("1", "2.1", "2.2", "2.3")]
    assert _tick(points, [1, 2, 3], has_times=False) == "2.1 to 2.3"
    assert _tick(points, [0], has_times=True) == "1"


def with_a_push(record: dict[str, Any]) -> None:
    """Two frames a second; AoP rises by 20 degrees from 7 s to 13 s; both intervals are known."""
    time_s = record["index"] / 2
    record["pts_s"] = time_s
    record["aop_raw_deg"] = record["aop_deg"] = 110.0 + (20.0 if 7 <= time_s <= 13 else 0.0)
    for bound, sign in (("lo95", -1), ("hi95", 1)):
        record[f"aop_{bound}_deg"] = record["aop_deg"] + 4 * sign
        record[f"aop_absolute_{bound}_deg"] = record["aop_deg"] + 11 * sign


def test_a_marked_push_is_told_apart_from_one_that_was_found(tmp_path: Path) -> None:
    run = rewritten(finished_run(tmp_path, 60), with_a_push)
    times = [(MarkKind.PUSH_START, 6.0), (MarkKind.PUSH_END, 14.5), (MarkKind.PUSH_START, 20.0)]
    marks = [TypedMark(kind=kind, time_s=time_s) for kind, time_s in times]
    add_marks(run, RunContent(run).axis, marks, by="Dr A")
    text = Balance(render_report([RunContent(RecordedRun(run.folder))], made=MADE)).text
    assert "1 push was marked." in text
    assert re.search(r"0:06 to 0:14 marked by Dr A; found 0:06 to 0:1", text)
    assert "push starts (makes no push: no end after it)" in text


def test_a_push_has_its_row_its_frame_and_both_intervals(tmp_path: Path) -> None:
    content = RunContent(rewritten(finished_run(tmp_path, 60), with_a_push))
    (part,) = content.parts
    (push,) = part.pushes
    rest, peak, difference = (level_value(each) for each in (push.rest, push.peak, push.difference))
    assert rest is not None
    assert peak is not None
    assert difference is not None
    assert [rest.value, peak.value] == pytest.approx([110, 130], abs=1)
    assert list(peak.absolute or ()) == pytest.approx([peak.value - 11, peak.value + 11], abs=0.1)
    assert difference.value == pytest.approx(20, abs=1)
    assert list(difference.absolute or ()) == pytest.approx([difference.value + s * 11 * 2**0.5 for s in (-1, 1)])
    at_rest = content.rest(part)
    assert at_rest is not None
    assert at_rest.value == pytest.approx(110, abs=0.5)
    assert list(at_rest.absolute or ()) == pytest.approx([99, 121], abs=0.5)
    assert [what for _, what in content.best_rows()] == ["at rest", "push 1"]
    text = Balance(render_report([content], made=MADE)).text
    assert "1 push was found." in text
    assert "absolute interval, 95 %" in text
    assert "repeats " in text
