"""FHIR Observations by the form of the standard, and tidy tables: the same numbers, held and predicted ones apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import partum
from stream.app.command_line import program
from stream.common.errors import OptionError, RunUnreadable
from stream.exports.fhir import SYSTEM, fhir_bundle
from stream.exports.summary import summarise
from stream.exports.tidy_table import FRAME_COLUMNS, PUSH_COLUMNS, write_frames, write_pushes
from stream.labour.course import aop_course
from stream.labour.edits import EditedReading, EditKind, add_edit
from stream.labour.pushes import find_pushes
from stream.labour.recorded_run import RecordedRun
from tests.samples.finished_runs import SHA256, finished_run, with_push

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return with_push(finished_run(tmp_path_factory.mktemp("made"), 170))


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    """A run in which the standard plane is lost for 1.2 s: values are predicted, then held, then there are none."""
    return finished_run(tmp_path_factory.mktemp("gaps"), 90, off_plane=range(40, 70))


def observations(bundle: Mapping[str, Any], code: str) -> list[dict[str, Any]]:
    every = [entry["resource"] for entry in bundle["entry"]]
    return [each for each in every if each["code"]["coding"][0] == each["code"]["coding"][0] | {"code": code}]


def component(observation: Mapping[str, Any], code: str) -> dict[str, Any]:
    return next(each for each in observation["component"] if each["code"]["coding"][0]["code"] == code)


def test_the_bundle_has_the_form_of_the_standard(made: RecordedRun) -> None:
    bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="needs fhir.resources")
    bundle = fhir_bundle(summarise(made, also=[3]))
    bundles.Bundle.model_validate(json.loads(json.dumps(bundle)))
    with pytest.raises(ValueError, match="statos"):
        bundles.Bundle.model_validate({"resourceType": "Bundle", "type": "collection", "statos": "x"})


def test_the_bundle_has_the_numbers_both_intervals_and_where_they_come_from(made: RecordedRun) -> None:
    bundle = fhir_bundle(summarise(made, also=[3]))
    found = next(each for each in observations(bundle, "AOP") if component(each, "FRAME")["valueInteger"] == 3)
    record = made.table.record(3)
    assert found["valueQuantity"] == {
        "value": record["aop_deg"], "unit": "deg", "system": "http://unitsofmeasure.org", "code": "deg"
    }  # fmt: skip
    for code, name in (("REP_95", "aop"), ("ABS_95", "aop_absolute")):
        bounds = component(found, code)["valueRange"]
        assert [bounds[end]["value"] for end in ("low", "high")] == [
            record[f"{name}_lo95_deg"],
            record[f"{name}_hi95_deg"],
        ]
    assert component(found, "MODEL")["valueString"] == SHA256
    assert component(found, "RUN")["valueString"] == made.manifest["run_id"]
    assert found["code"]["coding"][0]["system"] == SYSTEM
    assert "Research use only" in found["note"][0]["text"]
    assert "subject" not in found
    assert "effectiveDateTime" not in found, "a replay does not know when it was scanned"
    assert str(made.folder.parent) not in json.dumps(bundle)


def test_a_push_has_its_levels_as_members(made: RecordedRun) -> None:
    bundle = fhir_bundle(summarise(made))
    pushes = find_pushes(aop_course(made.table))
    assert len(pushes) == 1
    whole = observations(bundle, "PUSH")[0]
    assert component(whole, "PUSH_START")["valueQuantity"]["value"] == pytest.approx(pushes[0].start_s)
    levels = [observations(bundle, code)[0] for code in ("REST", "PEAK", "DIFFERENCE")]
    assert [each["reference"] for each in whole["hasMember"]] == [f"urn:uuid:{each['id']}" for each in levels]
    assert levels[2]["valueQuantity"]["value"] == pytest.approx(15, abs=1)
    assert component(whole, "PUSH_ORIGIN")["valueCodeableConcept"]["coding"][0]["code"] == "PUSH_FOUND"
    bounds = component(levels[1], "ABS_95")["valueRange"]
    assert bounds["high"]["value"] - bounds["low"]["value"] == pytest.approx(24, abs=1e-3)


def test_the_same_export_twice_has_the_same_identifiers(made: RecordedRun) -> None:
    first, second = (fhir_bundle(summarise(made)) for _ in range(2))
    assert first == second


def test_the_table_of_frames_is_that_of_the_run(made: RecordedRun, tmp_path: Path) -> None:
    assert write_frames([made], tmp_path / "frames.csv") == 170
    table = pd.read_csv(tmp_path / "frames.csv")
    assert tuple(table.columns) == FRAME_COLUMNS
    for column in ("aop_deg", "aop_lo95_deg", "aop_absolute_hi95_deg", "hsd_min_mm", "pts_s"):
        np.testing.assert_allclose(table[column], made.table.numbers(column), atol=1e-6, err_msg=column)
    push = find_pushes(aop_course(made.table))[0]
    inside = table[table["push"] == 1]
    assert (inside["pts_s"].min(), inside["pts_s"].max()) == pytest.approx((push.start_s, push.end_s), abs=0.25)
    assert set(table["run"]) == {made.manifest["run_id"]}


def test_predicted_and_held_values_stand_in_columns_of_their_own(gaps: RecordedRun, tmp_path: Path) -> None:
    write_frames([gaps], tmp_path / "frames.csv")
    table = pd.read_csv(tmp_path / "frames.csv")
    for status in ("measured", "predicted", "held"):
        rows = table[table["track"] == status]
        assert len(rows), status
        for kind in ("measured", "predicted", "held"):
            column = "aop_deg" if kind == "measured" else f"aop_{kind}_deg"
            assert rows[column].notna().all() == (kind == status), (status, column)
    lost = table[table["track"].isna() & (table["state"] == "refused")]
    assert len(lost)
    assert lost[["aop_deg", "aop_predicted_deg", "aop_held_deg"]].isna().all(axis=None)


def test_a_day_is_one_table_of_all_its_runs(made: RecordedRun, gaps: RecordedRun, tmp_path: Path) -> None:
    assert write_frames([made, gaps], tmp_path / "day.csv") == 260
    assert list(pd.read_csv(tmp_path / "day.csv").groupby("run", sort=False).size()) == [170, 90]
    assert write_pushes([made, gaps], tmp_path / "pushes.csv") == 1
    pushes = pd.read_csv(tmp_path / "pushes.csv")
    assert tuple(pushes.columns) == PUSH_COLUMNS
    assert pushes["difference_deg"][0] == pytest.approx(pushes["peak_deg"][0] - pushes["rest_deg"][0])
    assert bool(pushes["is_whole"][0])


def test_an_edit_stands_beside_the_automatic_value(gaps: RecordedRun, tmp_path: Path) -> None:
    before = gaps.table.numbers("aop_deg")[7]
    reading = EditedReading(moved=["tangent"], values={"aop_deg": 141.5, "hsd_min_mm": 12.0})
    add_edit(gaps, 7, EditKind.POINTS, by="Dr B", note="caput", size_px=(128, 128), reading=reading)
    write_frames([gaps], tmp_path / "frames.csv")
    table = pd.read_csv(tmp_path / "frames.csv")
    columns = ["edit", "edited_by", "aop_edited_deg", "hsd_min_edited_mm"]
    assert table.loc[7, columns].tolist() == ["points", "Dr B", 141.5, 12.0]
    assert table.loc[7, "edited_utc"].startswith("20")
    assert table.loc[7, "aop_deg"] == pytest.approx(before, abs=1e-6)
    assert math.isnan(table.loc[8, "aop_edited_deg"])
    assert not table["is_changed"].any()
    bundle = fhir_bundle(summarise(gaps))
    (review,) = observations(bundle, "REVIEW")
    assert component(review, "AOP_REVISED")["valueQuantity"]["value"] == 141.5
    assert component(review, "AOP_RAW")["valueQuantity"]["value"] == gaps.table.record(7)["aop_raw_deg"]
    assert (review["valueString"], review["performer"]) == ("points", [{"display": "Dr B"}])
    assert review["issued"] == table.loc[7, "edited_utc"]
    assert review["note"][-1] == {"authorString": "Dr B", "text": "caput"}
    bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="needs fhir.resources")
    bundles.Bundle.model_validate(json.loads(json.dumps(bundle)))


def test_a_run_that_was_changed_says_so_in_every_file(made: RecordedRun, tmp_path: Path) -> None:
    write_pushes([made], tmp_path / "pushes.csv")  # its records were rewritten
    assert pd.read_csv(tmp_path / "pushes.csv")["is_changed"].tolist() == [True]
    notes = fhir_bundle(summarise(made))["entry"][0]["resource"]["note"]
    assert "changed after it was written: measurements.jsonl has" in notes[1]["text"]


@pytest.mark.parametrize(("count", "off_plane"), [(0, range(0)), (1, range(0)), (3, range(3))])
def test_runs_with_little_in_them_give_tables_and_bundles_with_what_there_is(
    tmp_path: Path, count: int, off_plane: range
) -> None:
    run = finished_run(tmp_path, max(count, 1), off_plane=off_plane)
    if count == 0:
        (run.folder / "measurements.jsonl").write_bytes(b"")
        manifest = json.loads((run.folder / "run.json").read_text())
        (run.folder / "run.json").write_text(json.dumps(manifest | {"results": {"frames_in": 0}}))
        run = RecordedRun(run.folder)
    assert write_frames([run], tmp_path / "frames.csv") == count
    assert len(pd.read_csv(tmp_path / "frames.csv")) == count
    assert write_pushes([run], tmp_path / "pushes.csv") == 0
    bundle = fhir_bundle(summarise(run))
    assert observations(bundle, "FRAMES_IN")[0]["valueInteger"] == count
    assert len(observations(bundle, "AOP_RAW")) == (count == 1)


def test_a_frame_that_was_not_measured_cannot_be_asked_for(gaps: RecordedRun) -> None:
    with pytest.raises(OptionError, match=r"--frame 50: was not measured \(not_standard_plane\)"):
        summarise(gaps, also=[50])


def test_the_commands_write_their_files(made: RecordedRun, tmp_path: Path) -> None:
    from click.testing import CliRunner

    for words in (
        ["export-fhir", str(made.folder), "-o", str(tmp_path / "a.json")],
        ["export-table", str(made.folder), "-o", str(tmp_path / "a.csv")],
        ["export-table", str(made.folder), "--by", "push", "-o", str(tmp_path / "b.csv")],
    ):
        result = CliRunner().invoke(program(partum.COMMANDS), words)
        assert (result.exit_code, "written: " in result.output) == (0, True), result.output
    assert len(list(tmp_path.iterdir())) == 3
    refused = CliRunner().invoke(program(partum.COMMANDS), ["export-fhir", str(tmp_path), "-o", str(tmp_path / "c")])
    assert isinstance(refused.exception, RunUnreadable)


@pytest.mark.parametrize("command", ["export-fhir", "export-table"])
def test_a_file_of_the_run_itself_is_not_written_over(made: RecordedRun, command: str) -> None:
    from click.testing import CliRunner

    own = made.folder / "measurements.csv"
    before = own.read_bytes()
    refused = CliRunner().invoke(program(partum.COMMANDS), [command, str(made.folder), "-o", str(own)])
    assert isinstance(refused.exception, OptionError)
    assert own.read_bytes() == before
