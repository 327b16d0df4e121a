"""What is written for every frame: the JSON Schema, the data dictionary and the tables say the same."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from stream.common.channel import Overflow
from stream.frames.frame import PixelSpacing
from stream.outputs.tables import CsvTable, JsonLinesTable
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState, Measurement
from stream.pipeline.record_documents import DICTIONARY_FILE, SCHEMA_FILE, data_dictionary, schema_text
from stream.pipeline.record_fields import flatten, record_of
from stream.pipeline.statistics import LogHistogram, RunStatistics
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    import threading
    from pathlib import Path

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def run(source: DrawnSource, overflow: Overflow = Overflow.BLOCK) -> list[Measurement]:
    with Pipeline(source, GreyLevelEngine(), overflow=overflow) as pipeline:
        return list(pipeline)


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    return run(DrawnSource(60, off_plane=range(20, 50), spacing=PixelSpacing(0.4, 0.4)))


def test_every_line_written_is_valid(measurements: list[Measurement], tmp_path: Path) -> None:
    sink = JsonLinesTable(tmp_path / "m.jsonl")
    for measurement in measurements:
        sink.write(measurement)
    sink.close()
    lines = (tmp_path / "m.jsonl").read_text().splitlines()
    assert len(lines) == 60
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for line in lines:
        validator.validate(json.loads(line))
    assert {json.loads(line)["state"] for line in lines} == {"measured", "refused"}


def test_a_dropped_frame_has_a_valid_line() -> None:
    def burst(index: int, closed: threading.Event) -> None:
        """No wait: the source is far faster than the engine."""

    records = [record_of(m) for m in run(DrawnSource(200, hold=burst), overflow=Overflow.DROP_OLDEST)]
    dropped = [record for record in records if record["state"] == FrameState.DROPPED]
    assert dropped
    for record in dropped:
        jsonschema.Draft202012Validator(SCHEMA).validate(record)


@pytest.mark.parametrize(
    ("field", "value"), [("aop_raw_deg", None), ("reason", "no_ps"), ("latency_ms", None), ("extra", 1)]
)
def test_the_schema_refuses_a_broken_measured_line(measurements: list[Measurement], field: str, value: object) -> None:
    record = record_of(measurements[0]) | {field: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(record)


def test_schema_and_data_dictionary_are_as_the_record_is_defined(measurements: list[Measurement]) -> None:
    mend = "run python -m stream.pipeline.record_documents"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), mend
    text = DICTIONARY_FILE.read_text(encoding="utf-8")
    assert text == data_dictionary(text), mend
    assert list(record_of(measurements[0])) == list(SCHEMA["properties"])
    assert "| `index` | integer | Number of the frame in the order read, from 0, without gaps. |" in text
    assert "| `reason` | null, not_standard_plane, no_ps, " in text


def test_a_new_row_of_the_definition_is_noticed() -> None:
    text = DICTIONARY_FILE.read_text(encoding="utf-8")
    broken = text.replace("| `segment` |", "| `stretch` |")
    assert broken != text
    assert data_dictionary(broken) == text


def test_no_value_of_a_refused_frame_stands_in_a_column_of_measured_ones(measurements: list[Measurement]) -> None:
    records = [record_of(measurement) for measurement in measurements]
    tracked = ("aop_deg", "aop_lo95_deg", "hsd_min_px", "hsd_min_mm", "hsd_min_hi95_mm")
    for record in records:
        is_measured = record["track"] == "measured"
        for name in tracked:
            head, _, unit = name.rpartition("_")
            stem, bound = head.removesuffix("_lo95").removesuffix("_hi95"), head[-5:] if "95" in head else ""
            extrapolated = record[f"{stem}_extrapolated{bound}_{unit}"]
            assert (record[name] is not None) == is_measured, name
            assert (extrapolated is not None) == (record["track"] in ("predicted", "held")), name
    refused = [record for record in records if record["state"] == "refused"]
    assert refused[0]["track"] == "predicted"
    assert isinstance(refused[0]["aop_extrapolated_deg"], float)
    assert refused[0]["aop_deg"] is None
    assert refused[-1]["track"] is None  # beyond a second nothing is shown
    broken = refused[0] | {"aop_deg": 120.0}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(broken)


def test_csv_holds_the_same_values(measurements: list[Measurement], tmp_path: Path) -> None:
    sink = CsvTable(tmp_path / "m.csv")
    for measurement in measurements:
        sink.write(measurement)
    sink.close()
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row, measurement in zip(rows, measurements, strict=True):
        expected = flatten(record_of(measurement))
        assert row == {name: "" if value is None else str(value) for name, value in expected.items()}
    assert float(rows[0]["ps_inferior_x_px"]) > float(rows[0]["ps_superior_x_px"])


def test_statistics_count_every_frame(measurements: list[Measurement]) -> None:
    statistics = RunStatistics()
    for measurement in measurements:
        statistics.add(measurement)
    assert statistics.frames_in == 60
    assert statistics.states == {"measured": 30, "refused": 30, "dropped": 0}
    assert statistics.reasons == {"not_standard_plane": 30}
    typical = statistics.typical("aop_deg")
    assert typical is not None
    value, low, high = typical
    assert low < value < high
    assert json.loads(json.dumps(statistics.as_json(), allow_nan=False))["frames_in"] == 60


def test_quantiles_are_right_to_one_percent() -> None:
    histogram = LogHistogram(least=1e-3, most=1e6, growth=0.01)
    for value in range(1, 10_001):
        histogram.add(value / 10)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        assert histogram.quantile(share) == pytest.approx(share * 1000, rel=0.01)
    assert LogHistogram(least=1.0, most=2.0, growth=0.1).quantile(0.5) is None
