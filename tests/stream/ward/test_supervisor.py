"""What a ward does by itself, on our own clock and with processes that say what the test says."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.experiments.ward.rig import write_config
from stream.common.clock import ManualClock
from stream.ward import supervisor
from stream.ward.config import read_ward_config
from stream.ward.processes.feed import run_feed
from stream.ward.processes.link import BEAT, READY
from stream.ward.supervisor import FIRST_MEASURE_S, Ward
from stream.ward.view import ProcessState
from tests.stream.ward.test_keeper import ToldChild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ward runs on Linux")
FEEDS = '[feeds.a]\nsource = "phantom:"\n[feeds.b]\nsource = "phantom:"\n'


class Child(ToldChild):
    """A process, and what it was to run."""

    every: list[Child]

    def __init__(self, run: object, task: object, *, name: str) -> None:
        super().__init__()
        self.run, self.task, self.name = run, task, name
        self.every.append(self)


class Steps:
    """A ward that is moved on by hand."""

    def __init__(self, path: Path) -> None:
        self.clock, self.lines = ManualClock(), list[str]()
        self.ward = Ward(read_ward_config(path), told=self.lines.append, clock=self.clock)

    def after(self, seconds: float) -> list[ProcessState]:
        self.clock.advance(round(seconds * 1e9))
        self.ward._step(is_stopping=False)
        return [feed.state for feed in self.ward.view().feeds]

    @property
    def engine(self) -> Child:
        return next(child for child in reversed(Child.every) if child.name == "partum-engine")

    def measured(self, engine_hz: float) -> dict[str, Any]:
        capacity = {"engine_hz": engine_hz, "engine_cpu_s": 0.005, "feed_cpu_s": 0.005}
        return {"kind": READY, "engine": "openvino int8 CPU", "notices": [], "capacity": capacity}


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    Child.every = []
    monkeypatch.setattr(supervisor, "SpawnedChild", Child)
    steps = Steps(write_config(tmp_path / "ward.toml", FEEDS))
    with steps.ward:
        yield steps


def test_a_machine_that_was_busy_when_it_was_measured_is_measured_again(steps: Steps) -> None:
    steps.after(0)
    steps.engine.said.append(steps.measured(20.0))
    assert steps.after(1) == [ProcessState.REFUSED] * 2
    first = steps.engine
    for _ in range(round(FIRST_MEASURE_S)):
        first.said.append({"kind": BEAT, "frames": 0})
        steps.after(1)
    steps.after(1)
    assert steps.engine is not first
    assert first.is_killed
    assert [feed.reason[:8] for feed in steps.ward.view().feeds] == ["with it "] * 2  # it is still true
    steps.engine.said.append(steps.measured(200.0))
    assert steps.after(1) == [ProcessState.STARTING] * 2
    assert [child.run for child in Child.every[2:]] == [run_feed] * 2
    assert [line for line in steps.lines if "measured again" in line] == [
        "not one feed was admitted: the machine is measured again"
    ]


def test_a_machine_on_which_a_feed_runs_is_not_measured_again(steps: Steps) -> None:
    steps.after(0)
    steps.engine.said.append(steps.measured(40.0))
    assert steps.after(1) == [ProcessState.STARTING, ProcessState.REFUSED]
    engine = steps.engine
    for _ in range(round(2 * FIRST_MEASURE_S)):
        for child in Child.every:
            child.said.append({"kind": BEAT, "frames": {}, "cpu_s": 0.0} if child.run is run_feed else {"kind": BEAT})
        steps.after(1)
    assert steps.engine is engine


def test_a_configuration_that_came_by_a_pipe_is_not_waited_for(steps: Steps) -> None:
    path = steps.ward.config.path
    path.unlink()
    os.mkfifo(path)
    steps.ward._reload()
    assert "can be read once" in steps.ward.view().reload_error
