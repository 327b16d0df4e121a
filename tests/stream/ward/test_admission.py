"""A feed is let in while results stay within the deadline, and refused with the number."""

from __future__ import annotations

import math

import pytest

from stream.ward.admission import Admission, FeedLoad
from stream.ward.processes.capacity import Capacity, measure_capacity
from tests.fakes.doubles import ParallelEngine

CAPACITY = Capacity(engine_hz=200.0, engine_cpu_s=0.008, feed_cpu_s=0.004)


def test_the_worked_value_of_the_formula() -> None:
    found = Admission(CAPACITY, cores=2, deadline_ms=100).outlook([FeedLoad(30.0)] * 2)
    assert found.load == pytest.approx(0.36)
    assert found.work_ms == pytest.approx(12.0)
    assert found.expected_ms == pytest.approx(18.75)


def test_feeds_are_let_in_until_the_deadline_and_then_refused_with_the_number() -> None:
    admission = Admission(CAPACITY, cores=2, deadline_ms=100)
    admitted: list[FeedLoad] = []
    while not (reason := admission.refusal(admitted, FeedLoad(30.0))):
        admitted.append(FeedLoad(30.0))
    assert len(admitted) == 4  # load 0.72; a fifth makes it 0.9, and 120 ms
    assert "results would be 120 ms old, and the limit is 100 ms" in reason
    assert "12.0 ms of work a frame at 150 frames a second on 2 cores, load 90 %" in reason
    assert "force = true" in reason
    assert not admission.refusal(admitted, FeedLoad(10.0))  # a slower one still fits


def test_more_than_the_machine_gives_has_no_end() -> None:
    admission = Admission(CAPACITY, cores=2, deadline_ms=1e9)
    assert math.isinf(admission.outlook([FeedLoad(30.0)] * 6).expected_ms)
    assert "108 % of this machine" in admission.refusal([FeedLoad(30.0)] * 5, FeedLoad(30.0))


def test_an_engine_on_another_device_has_its_own_limit() -> None:
    admission = Admission(Capacity(engine_hz=50.0, engine_cpu_s=0.0, feed_cpu_s=0.001), cores=16, deadline_ms=100)
    assert not admission.refusal([], FeedLoad(30.0))
    assert "120 % of this machine" in admission.refusal([FeedLoad(30.0)], FeedLoad(30.0))


def test_what_a_feed_was_seen_to_take_goes_before_what_was_assumed() -> None:
    admission = Admission(CAPACITY, cores=2, deadline_ms=100)
    assert admission.refusal([FeedLoad(30.0, 0.05)], FeedLoad(30.0, 0.05))
    assert not admission.refusal([], FeedLoad(30.0, 0.03))


def test_a_machine_is_measured_in_a_moment() -> None:
    found = measure_capacity(ParallelEngine(), seconds=0.05)
    assert found.engine_hz > 0
    assert 0 <= found.engine_cpu_s < 1
    assert 0 < found.feed_cpu_s < 1
