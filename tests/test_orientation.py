"""Whether a picture is mirrored is decided over time, and read right in the pipeline either way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.biometry import Orientation
from stream.orientation import OrientationMemory
from stream.pipeline import Pipeline
from tests.fakes import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.frame import Frame


def found(memory: OrientationMemory) -> Orientation:
    return memory.orientation


def test_a_picture_is_normal_until_shown_otherwise() -> None:
    memory = OrientationMemory(Orientation.AUTO)
    assert found(memory) == Orientation.NORMAL
    memory.add(0.0)
    memory.add(-1.0)
    assert found(memory) == Orientation.NORMAL
    memory.add(-50.0)
    assert found(memory) == Orientation.MIRRORED
    memory.forget()
    assert found(memory) == Orientation.NORMAL


def test_a_few_wrong_frames_do_not_overturn_many_right_ones_but_a_flip_is_followed() -> None:
    memory = OrientationMemory(Orientation.AUTO)
    for _ in range(1000):
        memory.add(3.0)
    for _ in range(9):
        memory.add(-9.0)
        assert found(memory) == Orientation.NORMAL
    for _ in range(2):
        memory.add(-9.0)
    assert found(memory) == Orientation.MIRRORED


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
