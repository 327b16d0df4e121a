"""Wrappers around sources: endless replay, pace, and the user's spacing."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream.common.clock import ManualClock, MonotonicClock
from stream.common.errors import OptionError, SourceUnreadable
from stream.frames.frame import Frame, PixelSpacing
from stream.sources.base import SourceInfo
from stream.sources.recording_base import RecordingSource
from stream.sources.wrappers import LoopedSource, PacedSource, RespacedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

MS = 1_000_000


class Listed(RecordingSource):
    """Frames at the times given, in milliseconds, each with its segment."""

    def __init__(self, times: Sequence[tuple[int, int]], *, rate_hz: int | None = 20) -> None:
        self._times = times
        self.releases = 0
        super().__init__(
            SourceInfo(
                uri="listed",
                kind="images",
                width=3,
                height=2,
                frame_count=len(times),
                frame_rate_hz=None if rate_hz is None else Fraction(rate_hz),
            )
        )

    def _read(self) -> Generator[Frame, None, None]:
        for index, (time_ms, segment) in enumerate(self._times):
            yield Frame(
                image=np.full((2, 3), index, np.uint8),
                index=index,
                pts=time_ms,
                time_base=Fraction(1, 1000),
                captured_ns=index,
                segment=segment,
            )

    def _release(self) -> None:
        self.releases += 1


class Waiting(Listed):
    """Gives one frame, then waits until it is closed, as a feed does from which nothing comes."""

    def _read(self) -> Generator[Frame, None, None]:
        (first,) = itertools.islice(super()._read(), 1)
        yield first
        self._closed.wait(10)
        yield replace(first, index=1, pts=1)


def read_until_closed(source: RecordingSource) -> list[int]:
    """Indices of the frames a thread reads before this one closes the source while it waits for the second."""
    started = threading.Event()
    read: list[int] = []

    def follow() -> None:
        for frame in source:
            read.append(frame.index)
            started.set()

    reader = threading.Thread(target=follow)
    reader.start()
    assert started.wait(10)
    closer = threading.Thread(target=source.close)
    closer.start()
    closer.join(5)
    is_stuck = closer.is_alive()
    closer.join()
    reader.join()
    assert not is_stuck
    return read


WRAPPERS: dict[str, Callable[[RecordingSource], RecordingSource]] = {
    "looped": lambda recording: LoopedSource(lambda: recording),
    "paced": lambda recording: PacedSource(recording, speed=1, clock=MonotonicClock()),
    "respaced": lambda recording: RespacedSource(recording, spacing=PixelSpacing(1, 2)),
}


def test_a_frame_that_comes_after_the_close_is_not_given() -> None:
    assert read_until_closed(Waiting([(0, 0)])) == [0]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_closing_a_wrapper_frees_the_thread_that_waits_in_what_it_wraps(wrapper: str) -> None:
    assert read_until_closed(WRAPPERS[wrapper](Waiting([(0, 0)]))) == [0]


def test_each_pass_of_a_loop_goes_on_in_index_time_and_segment() -> None:
    times = [(0, 0), (30, 0), (70, 2)]
    with LoopedSource(lambda: Listed(times)) as source:
        assert source.info.frame_count is None
        frames = list(itertools.islice(source, 8))
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.pts for frame in frames] == [0, 30, 70, 120, 150, 190, 240, 270]
    assert [frame.segment for frame in frames] == [0, 0, 2, 3, 3, 5, 6, 6]
    assert [int(frame.image[0, 0]) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_loop_over_one_frame_without_a_rate_moves_forward() -> None:
    with LoopedSource(lambda: Listed([(0, 0)], rate_hz=None)) as source:
        assert [frame.pts for frame in itertools.islice(source, 3)] == [0, 40, 80]


def test_a_loop_closes_every_pass() -> None:
    opened: list[Listed] = []

    def open_recording() -> Listed:
        opened.append(Listed([(0, 0), (50, 0)]))
        return opened[-1]

    with LoopedSource(open_recording) as source:
        list(itertools.islice(source, 5))
    assert len(opened) == 3
    assert all(recording.releases for recording in opened)


def test_a_loop_over_nothing_is_an_error_and_does_not_spin() -> None:
    with LoopedSource(lambda: Listed([])) as source, pytest.raises(SourceUnreadable, match="nothing to loop"):
        next(iter(source))


def test_a_recording_that_is_empty_on_a_later_pass_is_an_error() -> None:
    passes = iter([[(0, 0)], []])
    with LoopedSource(lambda: Listed(next(passes))) as source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceUnreadable, match="nothing to loop"):
            next(frames)


@pytest.mark.parametrize(("speed", "due_ms"), [(1.0, [0, 30, 70]), (2.0, [0, 15, 35]), (0.5, [0, 60, 140])])
def test_frames_are_released_when_due(speed: float, due_ms: list[int]) -> None:
    clock = ManualClock(5 * MS)
    with PacedSource(Listed([(0, 0), (30, 0), (70, 1)]), speed=speed, clock=clock) as source:
        for frame, due in zip(source, due_ms, strict=True):
            assert frame.captured_ns == (5 + due) * MS
            assert clock.now_ns() == frame.captured_ns


def test_a_late_reader_gets_frames_at_once_stamped_when_they_were_due() -> None:
    clock = ManualClock()
    with PacedSource(Listed([(0, 0), (30, 0), (70, 0)]), speed=1, clock=clock) as source:
        frames = iter(source)
        next(frames)
        clock.advance(60 * MS)
        assert next(frames).captured_ns == 30 * MS
        assert clock.now_ns() == 60 * MS
        assert next(frames).captured_ns == 70 * MS
        assert clock.now_ns() == 70 * MS


def test_pace_starts_anew_where_time_begins_anew() -> None:
    clock = ManualClock()
    with PacedSource(Listed([(0, 0), (1000, 0), (0, 1), (40, 1)]), speed=1, clock=clock) as source:
        assert [frame.captured_ns // MS for frame in source] == [0, 1000, 1000, 1040]


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_speed_must_be_a_positive_number(speed: float) -> None:
    with Listed([(0, 0)]) as recording, pytest.raises(OptionError, match="not a positive number"):
        PacedSource(recording, speed=speed, clock=ManualClock())


def test_closing_ends_a_wait_for_a_frame_that_is_due_much_later() -> None:
    recording = Listed([(0, 0), (3_600_000, 0)])
    assert read_until_closed(PacedSource(recording, speed=1, clock=MonotonicClock())) == [0]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_closes_what_it_wraps(wrapper: str) -> None:
    recording = Listed([(0, 0), (50, 0)])
    source = WRAPPERS[wrapper](recording)
    next(iter(source))
    source.close()
    assert recording.releases
    assert list(recording) == []


def test_the_users_spacing_takes_the_place_of_the_sources() -> None:
    spacing = PixelSpacing(x_mm=0.3, y_mm=0.4)
    with RespacedSource(Listed([(0, 0), (50, 1)]), spacing=spacing) as source, Listed([(0, 0), (50, 1)]) as plain:
        assert source.info == replace(plain.info, spacing=spacing)
        for frame, bare in zip(source, plain, strict=True):
            assert frame.spacing == spacing
            assert (frame.pts, frame.segment, frame.index) == (bare.pts, bare.segment, bare.index)
