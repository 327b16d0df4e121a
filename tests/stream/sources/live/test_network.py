"""Real publishers in processes of their own, over loopback: UDP, RTSP and motion JPEG by HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.rig.publisher import number_of
from stream.common.clock import MonotonicClock
from stream.sources.demo import DEMO_CLIP
from stream.sources.live.base import LinkState
from stream.sources.live.network import NetworkFeed, open_network
from tests.conftest import REPOSITORY
from tests.fakes.triton_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream.sources.live.base import LiveSource

RATE_HZ = 25.0


class Publisher:
    """Runs `benchmarks.rig.publisher`; may be stopped and started again."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rig.publisher", self._uri, "--seconds", "60", "--rate", str(RATE_HZ)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def start_ns(self) -> int:
        """When it drew picture 0."""
        assert self._process is not None
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def publisher(request: pytest.FixtureRequest) -> Iterator[Publisher]:
    running = Publisher(request.param)
    yield running
    running.stop()


PORTS = free_ports(4)
UDP = f"udp://127.0.0.1:{PORTS[0]}"
HTTP = f"http://127.0.0.1:{PORTS[1]}/stream.mjpg"
RTSP = f"rtsp://127.0.0.1:{PORTS[2]}/live"
RTMP = f"rtmp://127.0.0.1:{PORTS[3]}/live/probe"


def first_frames(source: LiveSource, count: int, *, within_s: float = 30.0) -> list[tuple[int, int]]:
    """The numbers of the first pictures, and when each came."""
    timer = threading.Timer(within_s, source.close)
    timer.start()
    found = []
    for frame in source:
        found.append((number_of(frame.image), frame.captured_ns))
        if len(found) == count:
            break
    timer.cancel()
    timer.join()
    assert len(found) == count, source.status
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("publisher", "uri", "options"),
    [
        (f"{UDP}?pkt_size=1316", UDP, {}),
        (HTTP, HTTP, {}),
        # The publisher pushes, as there is no RTSP or RTMP server to be had: the receiver listens, all else is as ever.
        (RTSP, RTSP, {"rtsp_flags": "listen", "listen_timeout": "10"}),
        (RTMP, RTMP, {"listen": "1"}),
    ],
    ids=["udp", "http", "rtsp", "rtmp"],
    indirect=["publisher"],
)
def test_pictures_come_soon_and_in_order(publisher: Publisher, uri: str, options: Mapping[str, str]) -> None:
    source = open_network(uri, clock=MonotonicClock(), options=options)
    starter = threading.Timer(1.0 if options else 0.0, publisher.start)
    starter.start()
    with source:
        found = first_frames(source, 40)
    starter.join()
    numbers = [number for number, _ in found]
    assert numbers == list(range(numbers[0], numbers[0] + 40))
    start_ns = publisher.start_ns
    delays_s = [(came_ns - start_ns) / 1e9 - number / RATE_HZ for number, came_ns in found]
    assert 0 <= np.median(delays_s) < 0.5  # a second or more would be a buffer somewhere


@pytest.mark.slow
@pytest.mark.parametrize("publisher", [f"{UDP}?pkt_size=1316"], indirect=True, ids=["udp"])
def test_a_publisher_that_goes_away_and_comes_back_is_found_again(publisher: Publisher) -> None:
    source = open_network(UDP, clock=MonotonicClock())
    publisher.start()
    states: list[LinkState] = []
    seen_back = threading.Event()

    def collect_until(state: LinkState) -> None:
        while (link := source.status.link) not in (state, LinkState.CLOSED):
            states.append(link)
            time.sleep(0.01)
        states.append(link)

    def disturb() -> None:
        collect_until(LinkState.LIVE)
        publisher.stop()
        collect_until(LinkState.RECONNECTING)
        publisher.start()
        seen_back.set()

    thread = threading.Thread(target=disturb)
    thread.start()
    timer = threading.Timer(90, source.close)  # a bound alone: a busy machine takes its time
    timer.start()
    segments = set()
    for frame in source:
        segments.add(frame.segment)
        if seen_back.is_set() and len(segments) > 1:
            break
    source.close()
    thread.join()
    timer.cancel()
    timer.join()
    assert len(segments) > 1
    assert LinkState.NO_SIGNAL in states
    assert LinkState.RECONNECTING in states


def test_a_feed_that_is_closed_before_its_first_read_is_given_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    feed = NetworkFeed(str(DEMO_CLIP), {}, MonotonicClock(), threading.Event())
    assert len(os.listdir("/proc/self/fd")) > before
    feed.close()
    feed.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(feed) == []


def test_opening_can_be_given_up_at_once() -> None:
    with socket.socket() as silent:  # takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen(4)
        source = open_network(f"http://127.0.0.1:{silent.getsockname()[1]}/x", clock=MonotonicClock())
        thread = threading.Thread(target=lambda: list(source))
        thread.start()
        time.sleep(0.5)
        source.close()
        thread.join(3)  # by itself it would wait for 5 s
    assert not thread.is_alive()


def test_where_nobody_is_the_reason_is_said_without_the_password() -> None:
    source = open_network(f"rtsp://me:secret@127.0.0.1:{free_ports(1)[0]}/live", clock=MonotonicClock())
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    for _ in range(100):
        if source.status.reason:
            break
        time.sleep(0.05)
    status = source.status
    source.close()
    thread.join(10)
    assert status.link is LinkState.CONNECTING
    assert "cannot be connected (Connection refused)" in status.reason
    assert "secret" not in status.reason
