"""New, repeated, frozen, black: told from pictures whose history is known."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from stream.common.clock import MonotonicClock
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.preprocessing import FramePreprocessor, PreprocessingOptions
from stream.preprocessing.duplicates import FREEZE_S, SAME_AFTER_CODING, SAME_LEVELS, DuplicateDetector
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray


def frame(image: NDArray[np.uint8], time_s: float, *, segment: int = 0) -> Frame:
    return Frame(
        image=image.copy(),
        index=0,
        pts=round(time_s * 1000),
        time_base=Fraction(1, 1000),
        captured_ns=0,
        segment=segment,
    )


def classify(repeats: DuplicateDetector, shown: Frame) -> Reason | None:
    return repeats.classify(shown, shown.image)


@pytest.fixture(scope="module")
def scan() -> list[NDArray[np.uint8]]:
    """Two seconds of a simulated scan, 25 Hz."""
    with PhantomSource("phantom:?duration=2&size=256", clock=MonotonicClock()) as source:
        return [each.image for each in source]


def through_h264(images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """As they arrive from an encoder of live video, which codes the same picture a little differently each time."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=30, options={"tune": "zerolatency", "crf": "23", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuvj420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as container:
        found = [np.asarray(each.to_ndarray(format="gray"), np.uint8) for each in container.decode(video=0)]
    assert len(found) == len(images)
    return found


def test_every_picture_of_a_scan_is_new_however_still_the_probe(scan: list[NDArray[np.uint8]]) -> None:
    detector = DuplicateDetector()
    assert {classify(detector, frame(image, 0.04 * number)) for number, image in enumerate(scan)} == {None}
    rng = np.random.default_rng(1)
    still = DuplicateDetector()
    for number in range(60):  # the same tissue, with the noise of a live receiver
        noisy = np.clip(scan[0] + rng.normal(0, 3, scan[0].shape), 0, 255).astype(np.uint8)
        assert classify(still, frame(noisy, 0.04 * number)) is None


def test_a_display_at_60_hz_of_a_25_hz_scan_shows_each_picture_once(scan: list[NDArray[np.uint8]]) -> None:
    detector = DuplicateDetector(same_levels=SAME_LEVELS)
    reasons = [classify(detector, frame(scan[int(number / 60 * 25)], number / 60)) for number in range(110)]
    assert reasons.count(None) == int(109 / 60 * 25) + 1
    assert set(reasons) == {None, Reason.REPEATED}


@pytest.mark.parametrize("is_coded", [False, True])
def test_a_freeze_shows_within_half_a_second_and_ends_with_the_first_new_picture(
    scan: list[NDArray[np.uint8]], is_coded: bool
) -> None:
    shown = [*scan[:10], *[scan[10]] * 30, *scan[11:21]]
    if is_coded:
        shown = through_h264(shown)
    detector = DuplicateDetector(same_levels=SAME_AFTER_CODING if is_coded else SAME_LEVELS)
    reasons = [classify(detector, frame(image, number / 30)) for number, image in enumerate(shown)]
    assert set(reasons[:11]) == {None}
    first = reasons.index(Reason.FROZEN)
    assert FREEZE_S <= (first - 10) / 30 <= 0.5
    assert set(reasons[first:40]) == {Reason.FROZEN}
    assert set(reasons[40:]) == {None}


def test_a_running_clock_at_the_edge_does_not_hide_a_freeze(scan: list[NDArray[np.uint8]]) -> None:
    detector = DuplicateDetector()
    reasons = []
    for number in range(40):
        image = scan[3].copy()
        cv2.putText(image, f"12:00:{number:02d}", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
        reasons.append(classify(detector, frame(image, number / 30)))
    assert Reason.FROZEN in reasons
    assert reasons.count(None) == 1


def test_black_is_no_picture_and_a_dark_scan_is_one(scan: list[NDArray[np.uint8]]) -> None:
    detector = DuplicateDetector()
    assert classify(detector, frame(np.zeros((64, 64), np.uint8), 0)) is Reason.NO_SIGNAL
    assert classify(detector, frame(np.full((64, 64), 3, np.uint8), 0.1)) is Reason.NO_SIGNAL
    assert classify(detector, frame((scan[0] // 3).astype(np.uint8), 0.2)) is None


def test_another_size_or_a_new_segment_is_new(scan: list[NDArray[np.uint8]]) -> None:
    detector = DuplicateDetector()
    image = scan[0]
    assert classify(detector, frame(image, 0.0)) is None
    assert classify(detector, frame(image, 0.1)) is Reason.REPEATED
    assert classify(detector, frame(image[::2, ::2], 0.2)) is None
    assert classify(detector, frame(image[::2, ::2], 0.3, segment=1)) is None


class Repeating(DrawnSource):
    """Shows each picture three times, freezes from frame 60, and turns black from frame 90."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        kept = None
        for each in super().__iter__():
            if each.index < 60 and each.index % 3 == 0:
                kept = each
            assert kept is not None
            image = np.zeros_like(kept.image) if each.index >= 90 else kept.image
            yield replace(each, image=image)


def test_the_pipeline_measures_each_picture_once_and_no_frozen_one() -> None:
    engine = GreyLevelEngine()
    with Pipeline(
        Repeating(120),
        engine,
        preprocessor=FramePreprocessor(PreprocessingOptions(sector="whole"), same_levels=SAME_LEVELS),
    ) as pipeline:
        found = list(pipeline)
    assert [each.frame.index for each in found] == list(range(120))
    reasons = [str(each.reason) if each.reason else None for each in found]
    assert reasons.count(None) == 20 == engine.calls
    assert reasons.count("repeated") >= 40
    assert set(reasons[75:90]) == {"frozen"}
    assert set(reasons[90:]) == {"no_signal"}
    for each in found:
        if each.reason:
            assert each.aop is None  # no old number beside a picture that is not new
        assert (each.state is FrameState.DROPPED) == (str(each.reason) == "repeated")
