"""Feeds that come and go: what is lost comes back, and nothing is left over, however often."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.redaction import redact
from stream.common.channel import Overflow
from stream.common.clock import ManualClock, MonotonicClock
from stream.common.errors import OptionError, SourceDenied, SourceUnreadable
from stream.frames.frame import PixelSpacing
from stream.frames.reason import Reason
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from stream.sources import open_live, open_source
from stream.sources.live.base import JITTER, LONGEST_PAUSE_S, SILENCE_S, LinkState, LivePicture, LiveSource
from tests.fakes.doubles import GreyLevelEngine, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from engines.base import Prediction
    from stream.common.clock import Clock
    from stream.frames.frame import Frame


class DrawnFeed:
    """A connection that gives some pictures and then ends, breaks, or waits for its close."""

    format, note, skipped = "128x128", "", 0

    def __init__(
        self, clock: Clock, count: int, *, ending: str = "ends", size: int = 128, period_s: float = 0.0
    ) -> None:
        self._clock, self._count, self._ending, self._size, self._period_s = clock, count, ending, size, period_s
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[LivePicture]:
        for number in range(self._count):
            if self._period_s:
                self.closed.wait(self._period_s)
            image = np.ascontiguousarray(picture(62 + 0.2 * number)[: self._size])
            yield LivePicture(image=image, captured_ns=self._clock.now_ns(), lost_before=2 if number == 1 else 0)
        if self._ending == "breaks":
            raise SourceUnreadable("the cable was pulled")
        if self._ending == "waits":
            self.closed.wait(30)

    def close(self) -> None:
        self.closed.set()


def live(connect: Callable[[int], DrawnFeed], clock: Clock) -> LiveSource:
    """A source whose n-th connection is `connect(n)`."""
    attempts = iter(range(10**9))
    return LiveSource("drawn:", kind="drawn", connect=lambda cancelled: connect(next(attempts)), clock=clock)


def test_frames_go_on_over_connections_and_each_begins_a_segment() -> None:
    clock = ManualClock()
    source = live(lambda number: DrawnFeed(clock, 3, ending="breaks" if number % 2 else "ends"), clock)
    frames = []
    for frame in source:
        frames.append(frame)
        clock.advance(40_000_000)
        if len(frames) == 9:
            break
    assert [frame.index for frame in frames] == list(range(9))
    assert [frame.segment for frame in frames] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    times = [frame.pts_s for frame in frames]
    assert times == sorted(set(times))
    assert source.status.lost == 6
    source.close()


def test_a_change_of_size_begins_a_segment_too() -> None:
    clock = ManualClock()
    source = live(lambda number: DrawnFeed(clock, 2, size=128 - 16 * number), clock)
    shapes = []
    for frame in source:
        shapes.append((frame.image.shape[0], frame.segment))
        if len(shapes) == 4:
            break
    assert shapes == [(128, 0), (128, 0), (112, 1), (112, 1)]
    assert (source.info.width, source.info.height) == (128, 112)


class GivenFeed(DrawnFeed):
    """A connection that gives these pictures."""

    def __init__(self, pictures: Sequence[LivePicture]) -> None:
        super().__init__(ManualClock(), 0)
        self._pictures = pictures

    def __iter__(self) -> Iterator[LivePicture]:
        return iter(self._pictures)


def of_size(height: int, width: int, **facts: Any) -> LivePicture:
    return LivePicture(image=np.full((height, width), 90, np.uint8), captured_ns=0, **facts)


def first_frames(source: LiveSource, count: int) -> list[Frame]:
    with source:
        return [frame for frame, _ in zip(source, range(count), strict=False)]


def test_a_new_geometry_begins_a_segment_that_says_what_changed() -> None:
    other = PixelSpacing(0.2, 0.2)
    pictures = [
        of_size(8, 8),
        of_size(8, 8),
        of_size(8, 12),
        of_size(8, 12, pixel_aspect=1.5),
        of_size(8, 12, pixel_aspect=1.5, spacing=other),
        of_size(4, 4, refusal=Reason.DAMAGED, pixel_aspect=None),  # tells nothing
        of_size(8, 12, pixel_aspect=1.5, spacing=other),
    ]
    source = live(lambda number: GivenFeed(pictures), ManualClock())
    frames = first_frames(source, 8)
    assert [frame.segment for frame in frames] == [0, 0, 1, 2, 3, 3, 3, 4]
    causes = [str(frame.segment_cause) for frame in frames]
    assert causes == ["start", "start", "size", "aspect", "scale", "scale", "scale", "connection"]
    assert [frame.refusal for frame in frames] == [None] * 5 + [Reason.DAMAGED, None, None]
    assert source.status.damaged == 1


@pytest.mark.parametrize("change", [{"height": 256, "width": 256}, {"height": 512, "width": 512, "pixel_aspect": 1.2}])
def test_a_typed_spacing_ends_with_the_size_it_was_typed_for(change: dict[str, Any]) -> None:
    typed, said = PixelSpacing(0.3, 0.3), PixelSpacing(0.5, 0.5)
    feed = GivenFeed([of_size(512, 512), of_size(**change), of_size(**change, spacing=said), of_size(512, 512)])
    source = LiveSource("x:", kind="x", connect=lambda cancelled: feed, clock=ManualClock(), spacing=typed)
    assert [frame.spacing for frame in first_frames(source, 4)] == [typed, None, said, None]


@pytest.mark.parametrize(
    "error", [UnicodeError("label empty\nor too long"), KeyError("x"), MemoryError(), OSError(5, "x")]
)
def test_whatever_a_connection_raises_is_a_state_of_the_source_in_one_line(error: Exception) -> None:
    clock = ManualClock()
    reasons: list[str] = []

    def connect(number: int) -> DrawnFeed:
        if number:
            reasons.append(source.status.reason)
            source.close()
        raise error

    source = live(connect, clock)
    assert list(source) == []
    assert type(error).__name__ in reasons[0]
    assert "\n" not in reasons[0]


def test_after_a_refused_password_it_is_not_asked_again_soon() -> None:
    clock = ManualClock()
    times: list[float] = []
    reasons: list[str] = []

    def connect(number: int) -> DrawnFeed:
        times.append(clock.now_ns() / 1e9)
        reasons.append(source.status.reason)
        if number == 6:
            source.close()
        raise SourceDenied("cam: user name or password is refused (401)")

    source = live(connect, clock)
    assert list(source) == []
    pauses = np.diff(times)
    assert pauses / [60, 120, 240, 480, 600, 600] == pytest.approx(np.ones(6), abs=JITTER)
    assert reasons[1].endswith("refused (401); the next attempt is in 60 s")


def test_no_two_sources_of_one_address_keep_step() -> None:
    def attempts() -> list[int]:
        clock, times = ManualClock(), []

        def connect(number: int) -> DrawnFeed:
            times.append(clock.now_ns())
            if number == 5:
                source.close()
            raise SourceUnreadable("nobody there")

        source = live(connect, clock)
        list(source)
        return times

    assert attempts() != attempts()


def test_a_feed_that_is_closed_before_its_first_read_is_closed_all_the_same() -> None:
    feed = DrawnFeed(ManualClock(), 3)

    def connect(cancelled: threading.Event) -> DrawnFeed:
        cancelled.set()
        return feed

    assert list(LiveSource("drawn:", kind="drawn", connect=connect, clock=ManualClock())) == []
    assert feed.closed.is_set()


def test_pauses_grow_to_a_second_and_start_small_again_after_a_picture() -> None:
    clock = ManualClock()
    times: list[float] = []

    def connect(number: int) -> DrawnFeed:
        times.append(clock.now_ns() / 1e9)
        if number in (8, 9):
            return DrawnFeed(clock, 1)
        if number == 12:
            source.close()
        raise SourceUnreadable("nobody there")

    source = live(connect, clock)
    assert len(list(source)) == 2
    pauses = np.diff(times)
    assert pauses[0] == pytest.approx(0.1, rel=0.3)
    assert max(pauses) <= LONGEST_PAUSE_S * 1.25
    assert pauses[7] == pytest.approx(LONGEST_PAUSE_S, rel=0.3)
    assert pauses[8] < 0.3
    assert len({round(pause, 6) for pause in pauses}) == len(pauses)  # jitter: none is like another


def test_the_status_says_how_it_stands() -> None:
    clock = ManualClock()
    source = live(lambda number: DrawnFeed(clock, 2, ending="breaks"), clock)
    links = [source.status.link]
    frames = iter(source)
    next(frames)
    links.append(source.status.link)
    assert links == [LinkState.CONNECTING, LinkState.LIVE]
    clock.advance(round((SILENCE_S + 0.5) * 1e9))
    silent = source.status
    next(frames)
    assert [silent.link, source.status.link] == [LinkState.NO_SIGNAL, LinkState.LIVE]
    assert "no picture for 2 s" in silent.reason
    waited = threading.Event()

    class Stop(ManualClock):
        def wait_until(self, deadline_ns: int, cancelled: threading.Event) -> None:
            waited.set()
            assert source.status.link is LinkState.RECONNECTING
            assert source.status.reason == "the cable was pulled"
            source.close()

    source._clock = Stop(clock.now_ns())
    assert list(frames) == []
    assert waited.is_set()
    assert source.status.link is LinkState.CLOSED


def test_closing_ends_a_waiting_read_and_a_pause_at_once() -> None:
    clock = MonotonicClock()
    for connect in (lambda number: DrawnFeed(clock, 1, ending="waits"), _refuse):
        source = live(connect, clock)
        thread = threading.Thread(target=lambda source=source: list(source))
        thread.start()
        time.sleep(0.2)
        began = time.monotonic()
        source.close()
        thread.join(5)
        assert time.monotonic() - began < 1.0
        assert not thread.is_alive()


def _refuse(number: int) -> DrawnFeed:
    raise SourceUnreadable("nobody there")


def test_a_thousand_losses_leave_nothing_behind() -> None:
    clock = ManualClock()
    made: list[DrawnFeed] = []

    def connect(number: int) -> DrawnFeed:
        made.append(DrawnFeed(clock, 2, ending="breaks" if number % 3 else "ends"))
        return made[-1]

    source = live(connect, clock)
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for number, frame in enumerate(source):
        clock.advance(1_000_000)
        assert frame.segment == number // 2
        if number == 1999:
            source.close()
    assert len(made) == 1000
    assert all(feed.closed.is_set() for feed in made)
    made.clear()
    gc.collect()
    assert threading.active_count() <= threads  # those of a test before may have ended meanwhile
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert source._feed is None


def test_under_twice_the_load_the_newest_frame_wins_and_all_are_counted() -> None:
    clock = MonotonicClock()

    class Slow(GreyLevelEngine):
        def infer(self, images: NDArray[np.uint8]) -> Prediction:
            time.sleep(0.02)
            return super().infer(images)

    feed = DrawnFeed(clock, 100, period_s=0.01)
    source = live(lambda number: feed, clock)
    with Pipeline(source, Slow(), overflow=Overflow.DROP_OLDEST) as pipeline:
        found = []
        for measurement in pipeline:
            found.append(measurement)
            if len(found) == 90:
                pipeline.stop()
    assert [measurement.frame.index for measurement in found] == list(range(len(found)))
    states = [measurement.state for measurement in found]
    assert 20 < states.count(FrameState.DROPPED) < 70
    late = [m.latency_ms for m in found if m.state is not FrameState.DROPPED]
    assert np.median(late[5:]) < 4 * 20  # two waiting frames and the one at work: it does not grow


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://user:secret@host:554/live?key=secret", "rtsp://***@host:554/live?***"),
        ("rtsp://host/live", "rtsp://host/live"),
        ("udp://@:5000", "udp://@:5000"),
    ],
)
def test_credentials_never_reach_an_output(uri: str, shown: str) -> None:
    assert redact(uri) == shown
    assert open_live(uri).info.uri == shown


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("clip.mp4", "partum replay"),
        ("srt://host:9000", "cannot be read by this version"),
        ("v4l2:/dev/video99", "no such device"),
        ("v4l2:", "write v4l2:/dev/video0"),
        ("v4l2:/dev/null?colour=red", "write v4l2:/dev/video0"),
        ("screen:everything", "write screen:"),
        ("screen::1640x480+10+20", "write screen:"),
    ],
)
def test_what_is_no_live_feed_is_refused_with_a_mend(uri: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        open_live(uri)


def test_replay_sends_live_feeds_to_attach() -> None:
    with pytest.raises(OptionError, match="partum attach"):
        open_source("rtsp://host/live")


@pytest.fixture
def display() -> Iterator[str]:
    """An X11 display of its own, mid grey, 640 x 480."""
    if shutil.which("Xvfb") is None or shutil.which("xsetroot") is None:
        pytest.skip("needs Xvfb and xsetroot (Debian: xvfb, x11-xserver-utils)")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-noreset"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as numbers:
        name = f":{numbers.readline().strip()}"
    subprocess.run(["xsetroot", "-solid", "#808080"], env={**os.environ, "DISPLAY": name}, check=True)
    yield name
    server.terminate()
    server.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "shape"),
    [
        ("screen:{display}", (480, 640)),
        ("screen:{display}/320x240+100+50", (240, 320)),
        ("screen:320x240+100+50", (240, 320)),  # of the display in the environment
        ("screen:", (480, 640)),
    ],
)
def test_a_screen_or_a_region_of_it_is_seen(
    display: str, address: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", display if "{" not in address else ":99")
    source = open_live(address.format(display=display))
    timer = threading.Timer(20, source.close)
    timer.start()
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 5:
            break
    timer.cancel()
    timer.join()
    source.close()
    assert len(frames) == 5, source.status
    assert frames[-1].image.shape == shape
    assert abs(float(frames[-1].image.mean()) - 128) < 3
