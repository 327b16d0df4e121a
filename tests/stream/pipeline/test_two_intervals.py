"""Both intervals of AoP from a model's facts into records, statistics and the web page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stream.frames.frame import PixelSpacing, SegmentCause
from stream.outputs.web.state import Snapshot, page_message
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record_fields import record_of
from stream.pipeline.statistics import RunStatistics
from stream.tracking.tracker import ABSOLUTE, REPEATABILITY
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from stream.pipeline.record import Measurement

QUALITY = {"weights": {}, "constant": 1.0, "surest_deg": 2.0, "mask_only_deg": 6.0}
ABSOLUTE_FIT = {"robust": {"half_deg": 15.0, "usual_expected_deg": 6.0, "power": 0.5, "growth": 0.0}}


def run(*, knows: bool) -> list[Measurement]:
    engine = GreyLevelEngine()
    engine.spec = replace(engine.spec, quality=QUALITY, absolute=ABSOLUTE_FIT if knows else {})
    source = DrawnSource(30, off_plane=range(20, 26), spacing=PixelSpacing(0.4, 0.4))
    with Pipeline(source, engine) as pipeline:
        return list(pipeline)


def test_a_model_that_knows_it_gives_the_absolute_interval_beside_repeatability() -> None:
    measurements = run(knows=True)
    record = record_of(measurements[15])
    value = record["aop_deg"]
    assert isinstance(value, float)
    assert record["aop_expected_error_deg"] == 6.0
    assert (record["aop_absolute_lo95_deg"], record["aop_absolute_hi95_deg"]) == pytest.approx(
        (value - 15, value + 15), abs=2e-3
    )
    assert record["aop_absolute_lo95_deg"] < record["aop_lo95_deg"] < value  # type: ignore[operator]
    alone = record["aop_raw_deg"]
    assert record["aop_raw_absolute_hi95_deg"] == pytest.approx(alone + 15, abs=2e-3)  # type: ignore[operator]
    predicted = record_of(measurements[22])
    assert predicted["aop_absolute_lo95_deg"] is None
    low, high = (predicted[f"aop_extrapolated_absolute_{end}95_deg"] for end in ("lo", "hi"))
    assert high - low > 30.0  # type: ignore[operator]
    message = page_message(Snapshot(measurement=measurements[15], age_s=0.0, link=None))["aop"]
    assert message["interval"] == ABSOLUTE
    assert message["high"] - message["low"] == pytest.approx(30.0, abs=0.02)
    assert message["low"] < message["repeatability"][0]
    statistics = RunStatistics()
    for each in measurements:
        statistics.add(each)
    assert statistics.typical_absolute is not None
    low, high = statistics.typical_absolute
    assert high - low == pytest.approx(30.0, abs=0.5)
    assert statistics.as_json()["median_absolute_interval"] == {"aop_deg": (low, high)}
    assert statistics.typical_raw_absolute is not None
    assert statistics.cut_note == ""
    cut = replace(measurements[15].frame, segment=1, segment_cause=SegmentCause.CUT)
    statistics.add(replace(measurements[15], frame=cut))
    assert statistics.cut_note


def test_a_model_that_does_not_know_it_says_so_and_shows_repeatability_by_its_name() -> None:
    measurements = run(knows=False)
    record = record_of(measurements[15])
    assert record["aop_absolute_lo95_deg"] is None
    assert record["aop_lo95_deg"] is not None
    message = page_message(Snapshot(measurement=measurements[15], age_s=0.0, link=None))["aop"]
    assert message["interval"] == REPEATABILITY
    statistics = RunStatistics()
    for each in measurements:
        statistics.add(each)
    assert statistics.typical_absolute is None
