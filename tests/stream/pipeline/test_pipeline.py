"""The pipeline's promises: every frame answered for, errors raised with their cause, no thread left behind."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engines.errors import InferenceError
from stream.common.channel import Overflow
from stream.common.errors import SourceTruncated
from stream.frames.frame import PixelSpacing
from stream.frames.reason import Reason
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState, Measurement
from stream.pipeline.record_fields import CLOCK_FIELDS, record_of
from stream.preprocessing import FramePreprocessor, PreprocessingOptions
from tests.fakes.doubles import DrawnSource, GreyLevelEngine, PairedEngine, ParallelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.frames.frame import Frame


def partum_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("partum-")]


def without_clock(measurement: Measurement) -> dict[str, object]:
    return {name: value for name, value in record_of(measurement).items() if name not in CLOCK_FIELDS}


def test_every_frame_is_measured_in_order_and_threads_end() -> None:
    with Pipeline(DrawnSource(60), GreyLevelEngine()) as pipeline:
        measurements = list(pipeline)
        assert pipeline.channels["capture"].dropped == 0
    assert [measurement.frame.index for measurement in measurements] == list(range(60))
    assert {measurement.state for measurement in measurements} == {FrameState.MEASURED}
    assert partum_threads() == []


def test_frames_that_are_inferred_side_by_side_keep_their_order_and_their_numbers() -> None:
    with Pipeline(DrawnSource(60), PairedEngine()) as pipeline:
        paired = list(pipeline)
    with Pipeline(DrawnSource(60), GreyLevelEngine()) as pipeline:
        single = list(pipeline)
    assert list(map(without_clock, paired)) == list(map(without_clock, single))
    assert all(measurement.stage_ms.keys() == single[0].stage_ms.keys() for measurement in paired)
    assert all(spent >= 0 for measurement in paired for spent in measurement.stage_ms.values())
    assert partum_threads() == []


def test_an_error_among_frames_side_by_side_comes_after_those_before_it() -> None:
    source, engine = DrawnSource(10_000), ParallelEngine(error=InferenceError("device lost"), fail_at=6)
    measured: list[int] = []
    with Pipeline(source, engine) as pipeline, pytest.raises(InferenceError, match="device lost"):
        measured.extend(measurement.frame.index for measurement in pipeline)
    assert measured == list(range(len(measured)))
    assert 5 <= len(measured) <= 7  # the seventh call is that of the seventh frame, or of the one beside it
    assert engine.closed
    assert partum_threads() == []


def test_refused_frames_carry_their_reason_and_the_track_ends_within_a_second() -> None:
    with Pipeline(DrawnSource(120, off_plane=range(40, 100)), GreyLevelEngine()) as pipeline:
        measurements = list(pipeline)
    refused = measurements[40:100]
    assert {measurement.reason for measurement in refused} == {"not_standard_plane"}
    assert all(record_of(measurement)["aop_raw_deg"] is None for measurement in refused)
    # Frames come every 40 ms; the last measured one is 39.
    shown = [measurement.aop is not None for measurement in refused]
    assert shown[:24] == [True] * 24
    assert not any(shown[26:])
    assert measurements[-1].aop is not None


def test_two_runs_give_the_same_records_apart_from_the_clock() -> None:
    runs = []
    for _ in range(2):
        with Pipeline(DrawnSource(50), GreyLevelEngine()) as pipeline:
            runs.append([without_clock(measurement) for measurement in pipeline])
    assert runs[0] == runs[1]


def test_an_error_of_the_source_is_raised_after_what_was_read_before_it() -> None:
    error = SourceTruncated("clip.mp4: ended after 30 of 60 frames")
    measured: list[int] = []
    with Pipeline(DrawnSource(60, error=error, fail_at=30), GreyLevelEngine()) as pipeline:
        with pytest.raises(SourceTruncated) as caught:
            measured.extend(measurement.frame.index for measurement in pipeline)
        assert caught.value is error
    assert measured == list(range(30))
    assert partum_threads() == []


def test_an_error_of_the_engine_ends_source_and_pipeline() -> None:
    error = InferenceError("device lost")
    source, engine = DrawnSource(10_000), GreyLevelEngine(error=error, fail_at=5)
    measured: list[int] = []
    with Pipeline(source, engine) as pipeline, pytest.raises(InferenceError):
        measured.extend(measurement.frame.index for measurement in pipeline)
    assert measured == list(range(5))
    assert source.closed.is_set()
    assert engine.closed
    assert partum_threads() == []


def test_an_error_of_the_engine_frees_a_source_that_waits_for_a_signal() -> None:
    def wait_for_ever(index: int, closed: threading.Event) -> None:
        if index == 3:
            closed.wait(60)

    source = DrawnSource(10, hold=wait_for_ever)
    with (
        Pipeline(source, GreyLevelEngine(error=InferenceError("device lost"), fail_at=1)) as pipeline,
        pytest.raises(InferenceError),
    ):
        list(pipeline)
    assert partum_threads() == []


def test_leaving_early_ends_every_thread() -> None:
    with Pipeline(DrawnSource(10_000), GreyLevelEngine()) as pipeline:
        first = next(iter(pipeline))
    assert first.frame.index == 0
    assert partum_threads() == []


def test_an_error_of_the_caller_is_not_hidden() -> None:
    def use() -> None:
        with Pipeline(DrawnSource(100), GreyLevelEngine()) as pipeline:
            next(iter(pipeline))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        use()
    assert partum_threads() == []


def test_stop_lets_what_is_under_way_be_measured() -> None:
    with Pipeline(DrawnSource(10_000), GreyLevelEngine()) as pipeline:
        indices = []
        for measurement in pipeline:
            indices.append(measurement.frame.index)
            if measurement.frame.index == 20:
                pipeline.stop()
        sent = pipeline.channels["capture"].sent
    assert indices == list(range(sent))


def test_a_slow_consumer_of_a_live_source_loses_the_oldest_and_every_loss_is_told() -> None:
    released = threading.Event()

    def burst(index: int, closed: threading.Event) -> None:
        if index == 40:
            released.set()

    total = 80
    source = DrawnSource(total, hold=burst)
    with Pipeline(source, GreyLevelEngine(), overflow=Overflow.DROP_OLDEST) as pipeline:
        measurements: list[Measurement] = []
        for measurement in pipeline:
            if not measurements:
                assert released.wait(10)
            measurements.append(measurement)
    assert [measurement.frame.index for measurement in measurements] == list(range(total))
    states = Counter(measurement.state for measurement in measurements)
    assert states[FrameState.DROPPED] == pipeline.channels["capture"].dropped > 0
    dropped = next(measurement for measurement in measurements if measurement.state is FrameState.DROPPED)
    assert record_of(dropped)["plane_probability"] is None


def test_spacing_gives_millimetres() -> None:
    spacing = PixelSpacing(0.5, 0.5)
    with Pipeline(DrawnSource(5, spacing=spacing), GreyLevelEngine()) as pipeline:
        records = [record_of(measurement) for measurement in pipeline]
    with Pipeline(DrawnSource(5), GreyLevelEngine()) as pipeline:
        unscaled = [record_of(measurement) for measurement in pipeline]
    for record, bare in zip(records, unscaled, strict=True):
        raw_px = bare["hsd_min_raw_px"]
        assert isinstance(raw_px, float)
        assert record["hsd_min_raw_mm"] == pytest.approx(raw_px * 0.5, abs=1e-3)
        assert bare["hsd_min_raw_mm"] is None
        assert bare["hsd_min_mm"] is None
        assert record["aop_raw_deg"] == bare["aop_raw_deg"]


@pytest.mark.parametrize("protocol", ["iugc2024", "fhps2023"])
def test_challenge_protocols_measure_on_their_own_square(protocol: str) -> None:
    with Pipeline(DrawnSource(3), GreyLevelEngine(), protocol=protocol) as pipeline:
        records = [record_of(measurement) for measurement in pipeline]
    assert all(record["protocol"] == protocol for record in records)
    assert all(isinstance(record["aop_raw_deg"], float) for record in records)
    has_hsd = protocol == "iugc2024"
    assert all((record["hsd_min_raw_px"] is not None) is has_hsd for record in records)


@pytest.mark.parametrize("refusal", [Reason.DAMAGED, Reason.INVALID])
@pytest.mark.parametrize("is_watched", [False, True])
def test_what_its_source_refuses_is_not_measured(refusal: Reason, *, is_watched: bool) -> None:
    class Source(DrawnSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, refusal=refusal if frame.index == 3 else None)

    preprocessor = FramePreprocessor(PreprocessingOptions(sector="whole"), is_live=False) if is_watched else None
    with Pipeline(Source(6), GreyLevelEngine(), preprocessor=preprocessor) as pipeline:
        results = list(pipeline)
    assert [result.reason for result in results] == [None, None, None, refusal, None, None]
    assert results[3].aop is None
    assert results[3].biometry is None


def test_what_its_source_left_out_is_dropped_in_order_and_takes_no_other_frame_s_place() -> None:
    class Skipping(DrawnSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield frame if frame.index % 12 == 0 else replace(frame, refusal=Reason.OVERLOAD)

    with Pipeline(Skipping(48), GreyLevelEngine()) as pipeline:
        found = list(pipeline)
    assert [measurement.frame.index for measurement in found] == list(range(48))
    assert [m.frame.index for m in found if m.state is FrameState.MEASURED] == [0, 12, 24, 36]
    assert {m.reason for m in found if m.state is FrameState.DROPPED} == {Reason.OVERLOAD}
