"""The whole road on simulated recordings: what is shown lies near the exact truth, whichever way they are flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.sharing import BorrowedEngine
from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from engines.base import Engine


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["phantom:?duration=3", "phantom:?duration=3&mirrored=1", "phantom:?seed=3&duration=3"])
def test_a_simulated_recording_is_read_the_right_way_round_and_near_the_truth(uri: str, loaded_engine: Engine) -> None:
    source = PhantomSource(uri, clock=MonotonicClock())
    with Pipeline(source, BorrowedEngine(loaded_engine)) as pipeline:
        measurements = list(pipeline)
    standard = [m for m in measurements if source.truth(m.frame.index).is_standard_plane]
    assert len(standard) > 60
    measured = [m for m in standard if m.state is FrameState.MEASURED]
    assert len(measured) > 0.9 * len(standard)
    assert {m.biometry.mirrored for m in measured if m.biometry} == {"mirrored" in uri}
    aop_errors = [m.aop.value - source.truth(m.frame.index).aop_deg for m in measured if m.aop]
    assert np.median(np.abs(aop_errors)) < 6.0
    hsd_errors = [
        m.hsd_min.value * m.mm_per_px - source.truth(m.frame.index).hsd_min_mm
        for m in measured
        if m.hsd_min and m.mm_per_px
    ]
    assert np.median(np.abs(hsd_errors)) < 3.0


@pytest.mark.slow
def test_frames_off_the_plane_are_refused(loaded_engine: Engine) -> None:
    source = PhantomSource("phantom:?duration=14&size=320&rate=15", clock=MonotonicClock())
    lost = [index for index in range(210) if not source.truth(index).is_standard_plane]
    assert lost
    first, last = lost[0], lost[-1]
    with Pipeline(source, BorrowedEngine(loaded_engine)) as pipeline:
        states = {m.frame.index: m for m in pipeline}
    deep = range(first + 8, last - 8)
    assert len(deep) > 10
    assert all(states[index].state is FrameState.REFUSED for index in deep)
    assert states[last - 8].aop is None
