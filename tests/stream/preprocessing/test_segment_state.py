"""What is known of a picture ends with the segment it is known for: scale, sector, orientation, and why."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from engines.sharing import BorrowedEngine
from stream.common.clock import MonotonicClock
from stream.frames.frame import Frame, PixelSpacing, SegmentCause
from stream.frames.reason import Reason
from stream.frames.regions import Region, RegionKind
from stream.measurement.biometry import Orientation
from stream.outputs.recorder import Recorder
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.pipeline.record_fields import record_of
from stream.preprocessing import FramePreprocessor, PreprocessingOptions
from stream.preprocessing.recorded import RecordedPreprocessor
from stream.preprocessing.sector.detection import Panes
from stream.preprocessing.sector.tracker import GATHER_LIVE
from stream.sources.demo import DEMO_CLIP
from stream.sources.files.video import VideoSource
from stream.sources.recorded import RecordedSource
from stream.sources.wrappers import LoopedSource
from tests.fakes.doubles import DrawnSource
from tests.samples.screens import HEIGHT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.base import Engine
    from stream.pipeline.record import Measurement

    Picture = NDArray[np.uint8]

FLIPPED_AT = 24
TYPED = PixelSpacing(0.3, 0.3)


@cache
def pictures() -> Sequence[Picture]:
    """A simulated scan at 25 Hz that moves as slowly as a real one."""
    with PhantomSource("phantom:?duration=20&size=384&seed=3", clock=MonotonicClock()) as source:
        return [np.asarray(frame.image) for frame in itertools.islice(source, 100, 164)]


def frame(image: Picture, number: int, **facts: object) -> Frame:
    made = Frame(image=image.copy(), index=number, pts=number, time_base=Fraction(1, 25), captured_ns=0)
    return replace(made, **facts)  # type: ignore[arg-type]


def mirrored(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def shrunk(picture: Picture) -> Picture:
    """At 70 %, as at a greater depth, below the middle of the probe's face."""
    side = picture.shape[0]
    small = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    deeper = np.zeros_like(picture)
    left = (side - small.shape[1]) // 2
    deeper[: small.shape[0], left : left + small.shape[1]] = small
    return deeper


class ChangedSource(DrawnSource):
    """The simulated scan, changed from one frame on."""

    def __init__(self, then: Callable[[Picture], Picture], *, spacing: PixelSpacing | None = None) -> None:
        super().__init__(len(pictures()))
        self._then, self._typed = then, spacing

    def __iter__(self) -> Iterator[Frame]:
        for each in super().__iter__():
            picture = pictures()[each.index]
            image = picture if each.index < FLIPPED_AT else self._then(picture)
            yield replace(each, image=image.copy(), spacing=self._typed)


@dataclass(frozen=True)
class Flipped:
    """A live run over a display that is flipped, and what was recorded of it."""

    measurements: Sequence[Measurement]
    recording: Path


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory, loaded_engine: Engine) -> Flipped:
    folder = tmp_path_factory.mktemp("flipped") / "recording"
    recorder = Recorder(folder, note="")
    with Pipeline(ChangedSource(mirrored), BorrowedEngine(loaded_engine), preprocessor=FramePreprocessor()) as pipeline:
        measurements = list(pipeline)
    for measurement in measurements:
        recorder.write(measurement)
    recorder.close()
    return Flipped(measurements, folder)


@pytest.mark.slow
def test_a_flip_begins_a_stretch_and_no_number_is_shown_until_orientation_is_settled(flipped: Flipped) -> None:
    before, after = flipped.measurements[:FLIPPED_AT], flipped.measurements[FLIPPED_AT:]
    assert [each.state for each in before[GATHER_LIVE:]] == [FrameState.MEASURED] * (FLIPPED_AT - GATHER_LIVE)
    assert {(each.frame.segment, each.frame.segment_cause) for each in before} == {(0, SegmentCause.START)}
    assert {(each.frame.segment, each.frame.segment_cause) for each in after} == {(1, SegmentCause.ORIENTATION)}
    shown = [each for each in after if each.aop is not None or each.state is FrameState.MEASURED]
    assert shown
    assert shown[0].frame.index - FLIPPED_AT <= 20
    assert {each.reason for each in after[: shown[0].frame.index - FLIPPED_AT]} == {
        Reason.NO_SECTOR,
        Reason.AXIS_AMBIGUOUS,
    }
    normal = np.median([each.biometry.aop_deg for each in before[GATHER_LIVE:] if each.biometry])
    for each in shown:
        assert each.biometry is not None
        assert each.biometry.mirrored
        assert each.biometry.aop_deg == pytest.approx(normal, abs=12.0)  # read the wrong way round it is 40 off


def test_a_recording_of_it_gives_the_same_lines(flipped: Flipped, loaded_engine: Engine) -> None:
    source = RecordedSource(flipped.recording, clock=MonotonicClock())
    with Pipeline(
        source, BorrowedEngine(loaded_engine), preprocessor=RecordedPreprocessor(flipped.recording)
    ) as pipeline:
        replayed = list(pipeline)
    for one, other in zip(flipped.measurements, replayed, strict=True):
        assert {**record_of(one), "latency_ms": 0} == {**record_of(other), "latency_ms": 0}


@pytest.mark.slow
@pytest.mark.parametrize("said", list(Orientation))
def test_a_flip_that_the_picture_does_not_show_is_found_by_the_cues(said: Orientation, loaded_engine: Engine) -> None:
    """As with a cut to another patient: three frames that contradict what is settled. What the user says holds."""
    with Pipeline(ChangedSource(mirrored), BorrowedEngine(loaded_engine), orientation=said) as pipeline:
        after = list(pipeline)[FLIPPED_AT:]
    if said is not Orientation.AUTO:
        assert {each.frame.segment for each in after} == {0}
        return
    assert [each.reason for each in after[:6]] == [Reason.AXIS_AMBIGUOUS] * 6
    assert {each.frame.segment_cause for each in after[3:]} == {SegmentCause.ORIENTATION}
    measured = [each.biometry for each in after if each.state is FrameState.MEASURED]
    assert len(measured) > 20
    assert all(each is not None and each.mirrored for each in measured)


@pytest.mark.slow
def test_another_depth_ends_a_typed_scale_with_the_reason(loaded_engine: Engine) -> None:
    preprocessor = FramePreprocessor(PreprocessingOptions(typed=TYPED))
    with Pipeline(
        ChangedSource(shrunk, spacing=TYPED), BorrowedEngine(loaded_engine), preprocessor=preprocessor
    ) as pipeline:
        measurements = list(pipeline)
    before, after = measurements[GATHER_LIVE:FLIPPED_AT], measurements[FLIPPED_AT:]
    assert all(record_of(each)["hsd_min_raw_mm"] for each in before)
    assert {each.frame.segment_cause for each in after} == {SegmentCause.DEPTH}
    measured = [record_of(each) for each in after if each.state is FrameState.MEASURED]
    assert len(measured) > 15
    for record in measured:
        assert record["hsd_min_raw_mm"] is None
        assert record["hsd_mm_withheld"] == "uncalibrated"
        assert "depth changed" in str(record["spacing_note"])
    assert "depth changed" in preprocessor.state.scale


def looked(preprocessor: FramePreprocessor, frames: Sequence[Frame]) -> list[tuple[Frame, Reason | None]]:
    return [preprocessor.process(each) for each in frames]


@pytest.mark.parametrize(
    ("changed", "cause", "words"),
    [
        (lambda each: replace(each, image=np.ascontiguousarray(each.image[::2, ::2])), SegmentCause.SIZE, "size"),
        (lambda each: replace(each, pixel_aspect=1.2), SegmentCause.ASPECT, "shape of the pixels"),
        (lambda each: replace(each, image=shrunk(each.image)), SegmentCause.DEPTH, "depth"),
    ],
)
def test_a_typed_scale_ends_with_what_it_was_typed_for(
    changed: Callable[[Frame], Frame], cause: SegmentCause, words: str
) -> None:
    preprocessor = FramePreprocessor(PreprocessingOptions(typed=TYPED))
    frames = [frame(picture, number, spacing=TYPED) for number, picture in enumerate(pictures()[:50])]
    found = looked(preprocessor, [each if each.index < FLIPPED_AT else changed(each) for each in frames])
    assert all(each.spacing == TYPED for each, _ in found[:FLIPPED_AT])
    for each, _ in found[FLIPPED_AT:]:
        assert each.spacing is None
        assert words in each.spacing_note
        assert (each.segment, each.segment_cause) == (1, cause)
    assert found[-1][1] is None


def test_what_a_source_calls_a_new_stretch_is_one_and_a_new_connection_finds_the_sector_anew() -> None:
    preprocessor = FramePreprocessor()
    facts = {"segment": 1, "segment_cause": SegmentCause.CONNECTION}
    found = looked(
        preprocessor, [frame(p, n, **(facts if n >= FLIPPED_AT else {})) for n, p in enumerate(pictures()[:44])]
    )
    assert {(each.segment, each.segment_cause) for each, _ in found[FLIPPED_AT:]} == {(1, SegmentCause.CONNECTION)}
    assert [reason for _, reason in found[FLIPPED_AT:]].count(Reason.NO_SECTOR) == GATHER_LIVE - 1


def test_an_upside_down_picture_is_refused_until_it_is_turned_back() -> None:
    images = [*pictures()[:20], *(picture[::-1] for picture in pictures()[20:40]), *pictures()[40:60]]
    found = looked(
        FramePreprocessor(), [frame(np.ascontiguousarray(image), number) for number, image in enumerate(images)]
    )
    assert {reason for _, reason in found[20:40]} == {Reason.NO_SECTOR, Reason.UPSIDE_DOWN}
    assert {reason for _, reason in found[40:]} == {Reason.NO_SECTOR, None}
    assert [each.segment for each, _ in found] == [0] * 20 + [1] * 20 + [2] * 20


LEFT = Region(box=(190, 140, 420, 420), kind=RegionKind.TISSUE, spacing=PixelSpacing(0.2, 0.2))
RIGHT = Region(box=(1000, 140, 420, 420), kind=RegionKind.TISSUE, spacing=PixelSpacing(0.4, 0.4))


@pytest.mark.parametrize(
    ("pane", "left", "expected"),
    [(Panes.LEFT, 200, 0.2), (Panes.RIGHT, 200, 0.4), (None, 200, 0.2), (None, 1010, 0.4), (None, 640, None)],
)
def test_the_scale_is_that_of_the_region_the_sector_lies_in(
    pane: Panes | None, left: int, expected: float | None
) -> None:
    frames = []
    for number, picture in enumerate(pictures()[:20]):
        screen = np.zeros((HEIGHT, WIDTH), np.uint8)
        screen[150:534, left : left + 384] = picture
        if pane is not None:
            screen[150:534, 1010:1394] = pictures()[number + 30]
        frames.append(frame(screen, number, regions=(LEFT, RIGHT)))
    preprocessor = FramePreprocessor(PreprocessingOptions(pane=pane), is_live=False)
    preprocessor.look_ahead(frames)
    shown, reason = looked(preprocessor, frames)[-1]
    assert reason is None
    assert (shown.spacing.y_mm if shown.spacing else None) == expected
    assert ("none of the file's ultrasound regions" in shown.spacing_note) == (expected is None)


@pytest.mark.slow
def test_the_demonstration_is_one_stretch_a_round_and_keeps_its_ruler() -> None:
    preprocessor = FramePreprocessor(is_live=False)
    with VideoSource(DEMO_CLIP, clock=MonotonicClock()) as beginning:
        preprocessor.look_ahead(beginning)
        length = beginning.info.frame_count
    assert length is not None
    with LoopedSource(lambda: VideoSource(DEMO_CLIP, clock=MonotonicClock())) as source:
        found = looked(preprocessor, list(itertools.islice(source, length + 120)))
    assert {(each.segment, each.segment_cause) for each, _ in found} == {
        (0, SegmentCause.START),
        (1, SegmentCause.LOOP),
    }
    scales = [each.spacing.y_mm for each, _ in found if each.spacing]
    assert len(scales) > 0.9 * len(found)
    assert found[-1][0].spacing is not None
    assert scales == pytest.approx([0.324] * len(scales), rel=0.01)
