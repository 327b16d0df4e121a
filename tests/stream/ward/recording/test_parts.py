"""Parts: a folder every so often, each a run by itself; a disk that fails or lags stops nothing but the writing."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream.app.options.session_options import SessionOptions
from stream.common.clock import ManualClock
from stream.common.errors import OutputError
from stream.exports.verification import verify_run
from stream.frames.reason import Reason
from stream.outputs.marks import MarkKind
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.sources import open_source
from stream.ward.processes.parts import ON, RETRY_S, WAITING, PartMarks, PartWriter
from stream.ward.processes.run_part import PartOptions, RunPart
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stream.pipeline.record import Measurement


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(12), GreyLevelEngine()) as pipeline:
        return list(pipeline)


class Feed:
    """A writer of parts, on a clock of our own; `write` waits until a frame is on the disk."""

    def __init__(
        self, folder: Path, *, pictures: bool = False, longest_s: float = 5.0, most_bytes: int = 10**9
    ) -> None:
        self.clock, self.folder = ManualClock(), folder
        self.error: OutputError | None = None
        options = PartOptions(folder=folder, pictures=pictures, longest_s=longest_s, most_bytes=most_bytes)
        session = SessionOptions(source="rtsp://nurse:secret@host/live", live=True)

        def begin() -> RunPart:
            if self.error is not None:
                raise self.error
            return RunPart(options, session, source=DrawnSource(1), engine=GreyLevelEngine())

        self.writer = PartWriter(options, begin, clock=self.clock)

    def write(self, *measurements: Measurement) -> None:
        """One after the other, each a second later."""
        for each in measurements:
            self.writer.write(each)
            done = threading.Event()
            while self.writer.waiting:
                done.wait(0.002)
            self.clock.advance(10**9)

    @property
    def parts(self) -> Sequence[Path]:
        return sorted(self.folder.iterdir()) if self.folder.exists() else []

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads((part / "run.json").read_text()) for part in self.parts]

    def indices(self) -> list[list[int]]:
        lines = [(part / "measurements.jsonl").read_text().splitlines() for part in self.parts]
        return [[json.loads(line)["index"] for line in each] for each in lines]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    made = Feed(tmp_path / "room-1")
    yield made
    made.writer.close()


def test_parts_follow_each_other_without_a_gap_and_each_is_a_whole_run(
    measurements: list[Measurement], tmp_path: Path
) -> None:
    feed = Feed(tmp_path / "room-1", pictures=True)
    feed.write(*measurements)
    feed.writer.close()
    assert feed.indices() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1]]
    assert [run["status"] for run in feed.runs()] == ["complete"] * 3
    assert [run["results"]["frames_in"] for run in feed.runs()] == [5, 5, 2]
    for part in feed.parts:
        assert not verify_run(part).faults
        assert "secret" not in "".join(each.read_text() for each in part.glob("*.[jc]s*"))
    with open_source(feed.parts[1] / "recording") as again:
        frames = list(again)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    for frame, measured in zip(frames, measurements[5:10], strict=True):
        np.testing.assert_array_equal(frame.image, measured.frame.image)


def test_a_part_that_is_large_enough_ends_early(measurements: list[Measurement], tmp_path: Path) -> None:
    feed = Feed(tmp_path / "room-1", longest_s=1e6, most_bytes=1)
    feed.write(*measurements[:4])
    feed.writer.close()
    assert len(feed.parts) == 4


def test_a_disk_that_fails_stops_writing_and_is_tried_again(measurements: list[Measurement], feed: Feed) -> None:
    feed.error = OutputError("kept/room-1: cannot be written (No space left on device)")
    feed.write(*measurements[:3])
    assert feed.writer.state == str(feed.error)
    feed.error = None
    feed.write(measurements[3])  # too soon
    assert not feed.parts
    feed.clock.advance(round(RETRY_S * 1e9))
    feed.write(*measurements[4:6])
    assert feed.writer.state == ON
    assert feed.indices() == [[0, 1]]


def test_a_disk_that_fails_in_mid_part_leaves_what_was_written(
    measurements: list[Measurement], feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.write(*measurements[:2])

    def full(self: RunPart, measurement: Measurement) -> None:
        raise OutputError("kept/room-1: cannot be written (No space left on device)")

    monkeypatch.setattr(RunPart, "write", full)
    feed.write(measurements[2])
    feed.writer.close()
    assert "No space left" in feed.writer.state
    (run,) = feed.runs()
    assert (run["status"], run["results"]["frames_in"]) == ("failed", 2)
    assert "No space left" in run["error"]


def test_writing_that_is_held_ends_the_part_and_goes_on_with_another(
    measurements: list[Measurement], feed: Feed
) -> None:
    feed.write(*measurements[:2])
    feed.writer.hold()
    feed.write(*measurements[2:4])
    assert feed.writer.state == "the disk has no room"
    feed.writer.resume()
    feed.write(*measurements[4:6])
    assert feed.writer.state == ON
    feed.writer.close()
    assert feed.indices() == [[0, 1], [0, 1]]
    assert [run["status"] for run in feed.runs()] == ["interrupted", "complete"]


def test_a_disk_that_lags_holds_up_nothing_and_the_gap_is_between_parts(
    measurements: list[Measurement], feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, entered, real = threading.Event(), threading.Event(), RunPart.write

    def slow(self: RunPart, measurement: Measurement) -> None:
        entered.set()
        assert go.wait(20)
        real(self, measurement)

    monkeypatch.setattr(RunPart, "write", slow)
    feed.writer.write(measurements[0])
    assert entered.wait(20)
    for _ in range(WAITING + 5):  # returns at once, whatever the disk does
        feed.writer.write(measurements[1])
    go.set()
    feed.writer.close()
    first, second = feed.runs()
    assert (first["status"], first["results"]["frames_in"]) == ("interrupted", 1)
    assert "did not keep up" in first["error"]
    assert second["results"]["frames_in"] == WAITING


def test_frames_that_were_dropped_all_at_once_are_no_lag_of_the_disk(
    measurements: list[Measurement], feed: Feed
) -> None:
    dropped = replace(measurements[1], state=FrameState.DROPPED, reason=Reason.OVERLOAD)
    for _ in range(10 * WAITING):
        feed.writer.write(dropped)
    feed.write(measurements[2])
    for _ in range(3):
        feed.writer.write(dropped)
    feed.writer.close()
    (run,) = feed.runs()
    assert (run["status"], run["results"]["frames_in"]) == ("complete", 10 * WAITING + 4)


def test_marks_go_into_the_part_that_is_being_written(measurements: list[Measurement], feed: Feed) -> None:
    page = PartMarks(feed.writer)
    with pytest.raises(OutputError):
        page.add(measurements[0])
    feed.write(*measurements[:4])
    page.add(measurements[3], MarkKind.PUSH_START)
    feed.write(*measurements[4:7])
    page.add(measurements[6], MarkKind.PUSH_END)
    feed.writer.close()
    marks = [json.loads((part / "marks.jsonl").read_text()) for part in feed.parts]
    assert [(mark["kind"], mark["index"]) for mark in marks] == [("push_start", 3), ("push_end", 1)]
