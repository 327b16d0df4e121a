"""Results that come a fixed lag later: in order, smoothed by what followed, right on courses with known truth."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibration.fitting.courses import measured_course
from stream.frames.frame import Frame, PixelSpacing
from stream.pipeline.lag_buffer import LagBuffer
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState, Measurement
from stream.tracking.fixed_lag import smooth_first
from stream.tracking.smoother import smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG, Track, TrackStates
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.tracking.fixed_lag import TrackState
    from stream.tracking.tracker import Estimate

PIXEL = np.zeros((1, 1), np.uint8)


def result(index: int, t_s: float, aop: Estimate | None, *, segment: int = 0) -> Measurement:
    captured_ns = round(1e9 * t_s)
    frame = Frame(
        image=PIXEL,
        index=index,
        pts=captured_ns,
        time_base=Fraction(1, 10**9),
        captured_ns=captured_ns,
        segment=segment,
    )
    return Measurement(frame=frame, protocol="robust", state=FrameState.MEASURED, latency_ms=5.0, aop=aop)


def followed(
    t_s: Iterable[float], values: Iterable[float], track: Track
) -> list[tuple[Estimate | None, TrackState | None]]:
    found = []
    for t, value in zip(t_s, values, strict=True):
        estimate = track.refuse(t) if math.isnan(value) else track.update(t, value)
        found.append((estimate, track.state(t)))
    return found


def delayed(steps: list[tuple[Measurement, TrackState | None]], lag_s: float) -> list[Measurement]:
    now = {"ns": 0}
    buffer = LagBuffer(lag_s, now_ns=lambda: now["ns"])
    out = []
    for measurement, state in steps:
        now["ns"] = measurement.frame.captured_ns + 5_000_000
        states = TrackStates(aop=state, hsd_min=None, hsd_perp=None)
        out += list(buffer.add(measurement, states))
    return out + list(buffer.flush())


def course(seed: int, lag_s: float) -> tuple[list[Measurement], list[Measurement], np.ndarray]:
    one = measured_course(seed, t_s=np.arange(0.0, 30.0, 1 / 15))
    track = Track(AOP_NOISE_DEG)
    steps = [
        (result(index, t, estimate), state)
        for index, (t, (estimate, state)) in enumerate(
            zip(one.t_s.tolist(), followed(one.t_s.tolist(), one.measured_deg.tolist(), track), strict=True)
        )
    ]
    return [each for each, _ in steps], delayed(steps, lag_s), one.truth_deg


def test_every_result_comes_once_in_order_and_its_latency_holds_the_lag() -> None:
    causal, late, _ = course(1, 0.5)
    assert [each.frame.index for each in late] == [each.frame.index for each in causal]
    waited = [each.latency_ms for each in late[:-8]]
    assert min(waited) == pytest.approx(505.0, abs=40.0)
    assert max(waited) == pytest.approx(505.0, abs=70.0)
    assert [each.aop is None for each in late] == [each.aop is None for each in causal]


def test_the_error_falls_and_the_interval_holds() -> None:
    errors: dict[str, list[float]] = {"causal": [], "late": []}
    inside = []
    for seed in range(2000, 2006):
        causal, late, truth = course(seed, 0.5)
        for name, results in (("causal", causal), ("late", late)):
            errors[name] += [each.aop.value - truth[each.frame.index] for each in results if each.aop]
        inside += [each.aop.lo95 <= truth[each.frame.index] <= each.aop.hi95 for each in late if each.aop]
    rmse = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    assert rmse["late"] < 0.85 * rmse["causal"]
    assert 0.92 <= np.mean(inside) <= 0.99


def test_a_long_lag_is_the_fixed_interval_smoother() -> None:
    noise = replace(AOP_NOISE_DEG, dof=math.inf, memory_s=math.inf)
    t_s = np.arange(0.0, 4.0, 0.1)
    z = 118.0 + 3.0 * np.sin(t_s) + np.random.default_rng(5).normal(0.0, 1.0, len(t_s))
    states = [state for _, state in followed(t_s.tolist(), z.tolist(), Track(noise))]
    whole = smooth_course(t_s, z, noise=noise)
    belief = smooth_first(states[20:])
    assert belief is not None
    assert belief.x[0] == pytest.approx(whole.value[20], abs=0.02)
    assert math.sqrt(belief.P[0, 0]) == pytest.approx(whole.std[20], rel=0.02)


def test_a_new_segment_waits_for_nothing_and_no_lag_holds_nothing() -> None:
    buffer = LagBuffer(0.5, now_ns=lambda: 0)
    states = TrackStates(aop=None, hsd_min=None, hsd_perp=None)
    assert list(buffer.add(result(0, 0.0, None), states)) == []
    assert list(buffer.add(result(1, 0.1, None), None)) == []  # dropped: nothing is known of it
    assert [each.frame.index for each in buffer.add(result(2, 0.0, None, segment=1), states)] == [0, 1]
    assert [each.frame.index for each in buffer.flush()] == [2]
    direct = result(0, 0.0, None)
    assert list(LagBuffer(0.0, now_ns=lambda: 0).add(direct, None)) == [direct]


def test_what_another_thing_followed_says_does_not_count() -> None:
    t_s = np.arange(0.0, 3.0, 0.05)
    z = np.where(t_s < 1.5, 110.0, 150.0)  # the scene changes: the track goes over to it
    states = [state for _, state in followed(t_s.tolist(), z.tolist(), Track(AOP_NOISE_DEG))]
    belief = smooth_first(states[20:])
    assert belief is not None
    assert belief.x[0] == pytest.approx(110.0, abs=0.5)
    assert smooth_first([None]) is None


def test_a_pipeline_with_a_lag_gives_every_frame_of_one_without() -> None:
    def run(lag_s: float) -> list[Measurement]:
        source = DrawnSource(40, off_plane=range(10, 14), spacing=PixelSpacing(0.4, 0.4))
        with Pipeline(source, GreyLevelEngine(), lag_s=lag_s) as pipeline:
            return list(pipeline)

    direct, late = run(0.0), run(0.3)
    assert [(each.frame.index, each.state, each.reason) for each in late] == [
        (each.frame.index, each.state, each.reason) for each in direct
    ]
    shown = [(one.aop, other.aop) for one, other in zip(late, direct, strict=True) if one.aop and other.aop]
    assert len(shown) > 30
    assert all(one.std <= other.std for one, other in shown)
    assert sum(one.std < 0.9 * other.std for one, other in shown) > 20
