"""An engine that fails in mid-run: every frame is answered for, and the numbers say from which frame on another ran."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from engines.base import EngineDescription
from engines.errors import InferenceError
from engines.selection.failover import Candidate, FailoverEngine
from stream.common.channel import Overflow
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record_fields import record_of
from stream.pipeline.statistics import RunStatistics
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

CARD, SPARE = "card int8 GPU", "spare fp32 CPU"


def engine_failing_at(frame: int, *, threshold: float = 0.5) -> FailoverEngine:
    """A card that fails at a frame, and a spare engine whose model has a plane threshold of its own."""
    card = GreyLevelEngine(error=InferenceError("the card is gone"), fail_at=frame)
    card.description = EngineDescription(backend="card", precision="int8", device="GPU")
    spare = GreyLevelEngine()
    spare.description = EngineDescription(backend="spare", precision="fp32", device="CPU")
    spare.spec = replace(spare.spec, plane_threshold=threshold)
    return FailoverEngine([Candidate("card", lambda: card), Candidate("spare", lambda: spare)])


def test_records_and_statistics_say_from_which_frame_on_another_engine_ran() -> None:
    statistics = RunStatistics()
    with Pipeline(DrawnSource(60), engine_failing_at(20)) as pipeline:
        measurements = list(pipeline)
    for measurement in measurements:
        statistics.add(measurement)
    records = [record_of(measurement) for measurement in measurements]
    assert [record["index"] for record in records] == list(range(60))
    assert {record["state"] for record in records} == {"measured"}
    assert [record["engine"] for record in records] == [CARD] * 20 + [SPARE] * 40
    assert statistics.as_json()["engines"] == [
        {"name": CARD, "from_frame": 0, "replaced": ""},
        {"name": SPARE, "from_frame": 20, "replaced": f"{CARD} failed: the card is gone"},
    ]
    assert statistics.engine_changes == [f"from frame 20 on {SPARE} runs: {CARD} failed: the card is gone"]
    # the track goes on over the change
    assert all(measurement.aop is not None for measurement in measurements[15:30])


def test_frames_of_the_next_engine_are_gated_by_the_threshold_of_its_own_model() -> None:
    with Pipeline(DrawnSource(30), engine_failing_at(10, threshold=0.999)) as pipeline:
        reasons = [measurement.reason for measurement in pipeline]  # drawn planes have a probability of 0.982
    assert reasons == [None] * 10 + ["not_standard_plane"] * 20


def test_a_live_feed_loses_no_frame_without_a_cause_while_the_next_engine_starts() -> None:
    released = threading.Event()

    def hold(index: int, closed: threading.Event) -> None:
        if index == 39:
            released.set()

    card = GreyLevelEngine(error=InferenceError("the card is gone"), fail_at=3)

    def slow_start() -> GreyLevelEngine:
        assert released.wait(20)  # the feed goes on meanwhile
        return GreyLevelEngine()

    engine = FailoverEngine([Candidate("card", lambda: card), Candidate("spare", slow_start)])
    with Pipeline(DrawnSource(40, hold=hold), engine, overflow=Overflow.DROP_OLDEST) as pipeline:
        measurements = list(pipeline)
    assert [measurement.frame.index for measurement in measurements] == list(range(40))
    states = Counter(str(measurement.state) for measurement in measurements)
    assert states["measured"] + states["dropped"] == 40
    assert all(measurement.reason == "overload" for measurement in measurements if measurement.state == "dropped")


def test_where_no_engine_is_left_what_was_measured_is_delivered_first() -> None:
    card = GreyLevelEngine(error=InferenceError("the card is gone"), fail_at=7)
    engine = FailoverEngine([Candidate("card", lambda: card)])
    with Pipeline(DrawnSource(20), engine) as pipeline:
        results = iter(pipeline)
        assert [next(results).frame.index for _ in range(7)] == list(range(7))
        with pytest.raises(InferenceError, match="card is gone; no other back-end is left"):
            next(results)
