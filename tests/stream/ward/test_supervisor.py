"""What a ward does by itself, on our own clock and with processes that say what the test says."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.experiments.ward.rig import write_config
from stream.common.clock import ManualClock
from stream.common.folder_lock import locked_folder
from stream.ward import supervisor
from stream.ward.admission import FIRST_MEASURE_S
from stream.ward.config import read_ward_config
from stream.ward.engine_process import engine_socket
from stream.ward.processes.feed import run_feed
from stream.ward.processes.link import BEAT, READY
from stream.ward.supervisor import Ward
from stream.ward.view import ProcessState
from tests.stream.ward.test_keeper import ToldChild

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self.frames, self.busy_s = 0, 0.0
        self.ward = Ward(read_ward_config(path), told=self.lines.append, clock=self.clock)

    def after(self, seconds: float) -> list[ProcessState]:
        self.clock.advance(round(seconds * 1e9))
        self.ward._step(is_stopping=False)
        return [feed.state for feed in self.ward.view().feeds]

    @property
    def engine(self) -> Child:
        return next(child for child in reversed(Child.every) if child.name == "partum-engine")

    def run(self, *, seconds: int, busy_s: float) -> None:
        """All that run answer 30 frames a second, for which the engine is busy so long of each."""
        for _ in range(seconds):
            self.frames, self.busy_s = self.frames + 30, self.busy_s + busy_s
            self.engine.said.append(
                {"kind": BEAT, "frames": self.frames, "busy_s": self.busy_s, "cpu_s": 0.005 * self.frames}
            )
            self.feeds_say(self.frames)
            self.after(1)

    def feeds_say(self, frames: int) -> None:
        for child in Child.every:
            if child.run is run_feed:
                facts = {"shown": "live", "is_there": True, "cpu_s": 0.005 * frames}
                child.said += [{"kind": READY}, {"kind": BEAT, "frames": {"measured": frames}} | facts]

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


def test_a_machine_that_was_busy_when_it_let_some_in_lets_others_in_when_the_engine_was_seen_at_work(
    steps: Steps,
) -> None:
    steps.after(0)
    steps.engine.said.append(steps.measured(40.0))
    assert steps.after(1) == [ProcessState.STARTING, ProcessState.REFUSED]
    engine = steps.engine
    steps.run(seconds=60, busy_s=30 * 0.024)  # 42 frames a second: as was measured
    assert steps.ward.view().feeds[1].state is ProcessState.REFUSED
    steps.run(seconds=20, busy_s=30 * 0.005)  # 200 frames a second
    assert steps.ward.view().feeds[1].state is ProcessState.RUNNING
    assert steps.ward.view().capacity.engine_hz == pytest.approx(200)
    assert steps.lines[-1] == "b: let in, as there is room for it now"
    assert steps.engine is engine  # nothing that runs was disturbed


def test_a_feed_that_waits_for_an_engine_that_hangs_is_not_blamed_for_it(steps: Steps) -> None:
    steps.after(0)
    steps.engine.said.append(steps.measured(400.0))
    steps.after(1)
    steps.run(seconds=5, busy_s=0.1)
    hanging = steps.engine
    for _ in range(12):  # a frame waits in it, and no feed gets an answer
        hanging.said.append({"kind": BEAT, "frames": 150, "waiting_s": 1.0})
        steps.feeds_say(150)
        steps.after(1)
    assert hanging.is_killed
    steps.after(0.6)
    assert steps.engine is not hanging
    assert [feed.restarts for feed in steps.ward.view().feeds] == [0, 0]


def test_a_configuration_that_came_by_a_pipe_is_not_waited_for(steps: Steps) -> None:
    path = steps.ward.config.path
    path.unlink()
    os.mkfifo(path)
    steps.ward._reload()
    assert "can be read once" in steps.ward.view().reload_error


def test_what_a_killed_ward_left_behind_is_removed_and_what_another_uses_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    left, used, new = (tmp_path / f"partum-ward-{name}" for name in ("left", "used", "new"))
    for folder in (left, used, new):
        folder.mkdir()
        (folder / "engine").touch()
    for folder in (left, used):
        os.utime(folder, (1e9, 1e9))
    with ExitStack() as stack, locked_folder(used):
        _, path = engine_socket(stack)
        assert Path(path).is_socket()
        assert [folder.exists() for folder in (left, used, new)] == [False, True, True]
    assert sorted(tmp_path.iterdir()) == [new, used]
