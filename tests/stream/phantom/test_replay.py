"""The whole road on simulated recordings: what is shown lies near the exact truth, whichever way they are flipped."""

from __future__ import annotations

import numpy as np
import pytest

from engines.registry import load_engine
from stream.common.clock import MonotonicClock
from stream.phantom.source import PhantomSource
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["phantom:?duration=3", "phantom:?duration=3&mirrored=1", "phantom:?seed=3&duration=3"])
def test_a_simulated_recording_is_read_the_right_way_round_and_near_the_truth(uri: str) -> None:
    source = PhantomSource(uri, clock=MonotonicClock())
    with Pipeline(source, load_engine()) as pipeline:
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
def test_frames_off_the_plane_are_refused() -> None:
    source = PhantomSource("phantom:?duration=14&size=320", clock=MonotonicClock())
    lost = [index for index in range(420) if not source.truth(index).is_standard_plane]
    assert lost
    first, last = lost[0], lost[-1]
    with Pipeline(source, load_engine()) as pipeline:
        states = {m.frame.index: m for m in pipeline}
    deep = range(first + 15, last - 15)
    assert len(deep) > 10
    assert all(states[index].state is FrameState.REFUSED for index in deep)
    assert states[last - 15].aop is None
