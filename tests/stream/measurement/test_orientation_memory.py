"""Whether a picture is mirrored is decided over time, and read right in the pipeline either way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.frames.frame import SegmentCause
from stream.measurement.biometry import Orientation
from stream.measurement.orientation_memory import (
    CONTRADICTING_FRAMES,
    MEMORY_FRAMES,
    SETTLING_FRAMES,
    OrientationMemory,
)
from stream.pipeline.pipeline import Pipeline
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.frames.frame import Frame


def found(memory: OrientationMemory) -> Orientation | None:
    return memory.orientation


def after(*log_odds: float) -> Orientation | None:
    memory = OrientationMemory(Orientation.AUTO)
    for value in log_odds:
        memory.add(value)
    return memory.orientation


def test_a_picture_is_normal_until_shown_otherwise() -> None:
    assert after() == after(0.0) == after(3.0) == Orientation.NORMAL
    assert after(-5.0) == Orientation.MIRRORED
    memory = OrientationMemory(Orientation.AUTO)
    memory.add(-50.0)
    memory.begin(SegmentCause.SECTOR)
    assert found(memory) == Orientation.NORMAL


def test_evidence_that_leans_without_saying_is_no_answer_however_often_it_is_repeated() -> None:
    assert after(-1.0) is None
    assert after(*[-1.0] * 1000) is None
    assert after(0.0, -1.0) is None


def test_a_frame_that_contradicts_what_is_settled_is_no_answer_and_three_in_a_row_are_a_flip() -> None:
    memory = OrientationMemory(Orientation.AUTO)
    assert [memory.add(3.0) for _ in range(1000)] == [False] * 1000
    assert not memory.add(-9.0)
    assert memory.orientation is None
    assert not memory.add(3.0)
    assert memory.orientation is Orientation.NORMAL
    assert [memory.add(-4.0) for _ in range(CONTRADICTING_FRAMES)] == [False] * (CONTRADICTING_FRAMES - 1) + [True]
    assert memory.orientation is None


def test_after_a_flip_nothing_is_presumed_and_what_the_user_said_of_the_display_before_holds_no_longer() -> None:
    for fixed in Orientation:
        memory = OrientationMemory(fixed)
        memory.begin(SegmentCause.ORIENTATION)
        assert memory.orientation is None
        for _ in range(SETTLING_FRAMES - 1):
            memory.add(-9.0)
            assert memory.orientation is None
        memory.add(-9.0)
        assert memory.orientation is Orientation.MIRRORED
        memory.begin(SegmentCause.LOOP)
        assert memory.orientation is (Orientation.NORMAL if fixed is Orientation.AUTO else fixed)


@pytest.mark.parametrize("fixed", [Orientation.NORMAL, Orientation.MIRRORED])
def test_what_the_user_says_holds(fixed: Orientation) -> None:
    memory = OrientationMemory(fixed)
    memory.add(-100.0 if fixed is Orientation.NORMAL else 100.0)
    assert memory.orientation is fixed


class MirroredSource(DrawnSource):
    """The drawn frames, flipped left to right."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1]))


def test_a_mirrored_source_gives_the_same_values() -> None:
    readings = []
    for source in (DrawnSource(20), MirroredSource(20)):
        with Pipeline(source, GreyLevelEngine()) as pipeline:
            readings.append([measurement.biometry for measurement in pipeline])
    for normal, mirrored in zip(*readings, strict=True):
        assert normal is not None
        assert mirrored is not None
        assert not normal.mirrored
        assert mirrored.mirrored
        assert mirrored.aop_deg == pytest.approx(normal.aop_deg, abs=0.3)
        assert mirrored.hsd_min == pytest.approx(normal.hsd_min, abs=0.3)


@pytest.mark.parametrize(
    ("cause", "odds", "answer"),
    [
        (SegmentCause.CUT, 1.0, Orientation.NORMAL),
        (SegmentCause.CUT, -1.0, None),
        (SegmentCause.ORIENTATION, 1.0, None),
    ],
)
def test_evidence_that_stays_unclear_says_after_a_cut_what_it_says_at_a_start(
    cause: SegmentCause, odds: float, answer: Orientation | None
) -> None:
    memory = OrientationMemory(Orientation.AUTO)
    memory.begin(cause)
    for _ in range(MEMORY_FRAMES - 1):
        memory.add(odds)
        assert memory.orientation is None
    memory.add(odds)
    assert memory.orientation is answer
