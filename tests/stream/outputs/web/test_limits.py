"""A bad peer costs nothing: viewers, connections and what they say are bounded; probes and metrics tell the truth."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from stream.common.clock import ManualClock, MonotonicClock
from stream.frames.reason import Reason
from stream.outputs.web import broadcast, transport
from stream.outputs.web.board import Board
from stream.outputs.web.server import WebServer
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import FrameState
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.pipeline.record import Measurement

from tests.fakes.screen_server import asked, port_of, serving, status_of


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(30, off_plane=range(20, 25)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def test_paths_and_requests_that_nobody_means_are_refused_and_the_server_stays() -> None:
    with serving() as server:
        host = f"Host: 127.0.0.1:{port_of(server)}"
        for path in (
            "/../../etc/passwd",
            "/static/../server.py",
            "/static/%2e%2e/server.py",
            "/static/..%2fserver.py",
            "//etc/passwd",
            "/static//etc/passwd",
            "/%00",
            "/static/%00",
            "/" + "a" * 9000,
        ):
            answer = asked(server, f"GET {path} HTTP/1.1", host, "Connection: close")
            assert answer.split()[1] in (b"404", b"400"), path
            assert b"import" not in answer
        assert (
            asked(server, "POST / HTTP/1.1", host, "Content-Length: 5", "Connection: close", body=b"hello").split()[1]
            == b"405"
        )
        assert asked(server, "GET / HTTP/1.1", host, "X: " + "b" * 200_000).split(b"\r\n")[0].split()[1:2] in (
            [b"400"],
            [b"431"],
            [],
        )
        assert asked(server, "\x00\xff\xfe").startswith((b"HTTP/1.1 400", b""))
        assert status_of(server, "/healthz", "127.0.0.1") == 200


def test_metrics_are_valid_in_both_forms(measurements: Sequence[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    for measurement in measurements:
        board.write(measurement)
    board.write(replace(measurements[0], state=FrameState.DROPPED, reason=Reason.OVERLOAD))
    with serving(board, Board(clock=MonotonicClock())) as server:
        for accept, parse, kind in (
            ("text/plain", parse_text, "text/plain"),
            ("application/openmetrics-text; version=1.0.0", parse_openmetrics, "application/openmetrics-text"),
        ):
            request = urllib.request.Request(f"{server.address}metrics", headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.headers["Content-Type"].startswith(kind)
                text = answer.read().decode()
            assert 'partum_frames_total{feed="1",state="measured"} 25\n' in text  # whole: scripts read it by int()
            families = {family.name: family for family in parse(text)}
            counts = {
                tuple(sample.labels.values()): sample.value
                for sample in families["partum_frames"].samples
                if sample.name == "partum_frames_total"
            }
            assert counts["1", "measured"] == 25
            assert counts["1", "refused"] == 5
            assert counts["1", "dropped"] == 1
            assert counts["2", "measured"] == 0
            assert families["partum_latency_seconds"].type == "histogram"
            buckets = [
                s.value
                for s in families["partum_latency_seconds"].samples
                if s.name.endswith("_bucket") and s.labels["feed"] == "1"
            ]
            assert buckets == sorted(buckets)
            assert buckets[-1] == 30
            states = [s for s in families["partum_state"].samples if s.labels["feed"] == "2"]
            assert [s.labels["state"] for s in states if s.value == 1] == ["connecting"]


def content_of(message: bytes | str) -> dict[str, Any]:
    assert isinstance(message, bytes)
    (length,) = struct.unpack(">I", message[:4])
    content: dict[str, Any] = json.loads(message[4 : 4 + length])
    return content


def say_all(viewer: Any, words: Sequence[str | bytes]) -> None:
    for word in words:
        viewer.send(word)
    for _ in range(1000):
        viewer.recv(timeout=10)


def test_a_viewer_that_talks_too_much_or_too_long_is_let_go(measurements: Sequence[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    board.write(measurements[0])
    with serving(board) as server:
        address = f"ws://127.0.0.1:{port_of(server)}/stream"
        for words in (["x"] * 50, ["x" * (broadcast.LONGEST_MESSAGE + 1)], [b"\0" * 100_000], ["mark"] * 1000):
            with connect(address, max_size=None) as viewer, pytest.raises(ConnectionClosed):
                say_all(viewer, words)
        with connect(address) as viewer:
            viewer.send(b"mark")  # no text: not looked at
            viewer.send('{"mark": "mark", "id": "mine"}')
            while "mine" not in (message := content_of(viewer.recv(timeout=10))).get("mark_answers", {}):
                pass
            assert 0 < message["mark_count"] <= broadcast.MOST_MESSAGES_HZ + 1


def test_there_are_so_many_viewers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.outputs.web.server.MOST_VIEWERS", 3)
    with serving() as server:
        address = f"ws://127.0.0.1:{port_of(server)}/stream"
        with contextlib.ExitStack() as stack:
            viewers = [stack.enter_context(connect(address)) for _ in range(3)]
            for viewer in viewers:
                viewer.recv()
            with connect(address) as late, pytest.raises(ConnectionClosed) as closed:
                late.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too many viewers")
            viewers[0].close()
            assert any(is_let_in(address) for _ in range(100))


def is_let_in(address: str) -> bool:
    with connect(address) as viewer:
        try:
            return bool(viewer.recv())
        except ConnectionClosed:
            return False


def stuck_viewer(server: WebServer) -> socket.socket:
    """One that asks for the stream and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port_of(server)))
    connection.sendall(
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return connection


@pytest.mark.slow
def test_a_viewer_that_does_not_read_is_let_go_and_costs_nobody_anything(
    measurements: Sequence[Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SLOW_VIEWER_S", 0.4)
    from dataclasses import replace

    noise = np.random.default_rng(0).integers(0, 255, (600, 600), np.uint8)
    board = Board(clock=MonotonicClock())
    with serving(board) as server:
        stuck = [stuck_viewer(server) for _ in range(3)]
        pinging = stuck_viewer(server)
        with connect(f"ws://127.0.0.1:{port_of(server)}/stream", max_size=None) as viewer:
            pictures, index = 0, 0
            give_up = time.monotonic() + 20
            while time.monotonic() < give_up and (server._broadcasts[0].viewers - {None}):
                index += 1
                board.write(replace(measurements[0], frame=replace(measurements[0].frame, image=noise, index=index)))
                with contextlib.suppress(OSError):
                    pinging.sendall(b"\x89\x80\0\0\0\0" * 2000)  # each wants an answer, and none is read
                message = viewer.recv(timeout=10)
                pictures += len(message) > 100_000
                if len(server._broadcasts[0].viewers) == 1 and pictures > 3:
                    break
            assert len(server._broadcasts[0].viewers) == 1  # the one that reads
            assert pictures > 3
        for connection in (*stuck, pinging):
            connection.close()


def test_connections_that_ask_nothing_are_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_CONNECTIONS", 8)
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.5)
    with serving() as server:
        idle = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) for _ in range(20)]
        idle[0].sendall(b"GET / HTTP/1.1\r\nHost: 127.0")  # and never ends it
        closed = 0
        for connection in idle:
            try:
                closed += connection.recv(1) == b""
            except ConnectionResetError:
                closed += 1
            connection.close()
        assert closed == 20
        assert status_of(server, "/healthz", "127.0.0.1") == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_connections_of_one_address_keep_out_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_CONNECTIONS", 12)
    monkeypatch.setattr(transport, "MOST_OF_ONE", 6)
    with serving() as server, contextlib.ExitStack() as stack:
        for _ in range(30):
            place, own = ("127.0.0.1", port_of(server)), ("127.0.0.2", 0)
            stack.enter_context(socket.create_connection(place, timeout=10, source_address=own))
        assert status_of(server, "/healthz", "127.0.0.1") == 200


def test_the_server_ends_soon_with_stuck_and_idle_peers() -> None:
    with serving() as server:
        peers = [stuck_viewer(server) for _ in range(3)]
        peers += [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(3)]
        assert status_of(server, "/healthz", "127.0.0.1") == 200
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for peer in peers:
        peer.close()


def test_probes_tell_the_truth(measurements: Sequence[Measurement]) -> None:
    clock = ManualClock(start_ns=measurements[0].frame.captured_ns)
    board, other = Board(clock=clock), Board(clock=clock)
    with serving(board, other) as server:

        def ready() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"{server.address}readyz", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        assert ready() == (503, "connecting, connecting")
        board.write(measurements[0])
        assert ready() == (503, "replay, connecting")  # all of them, or it is not ready
        other.write(measurements[0])
        assert ready() == (200, "replay, replay")
        clock.advance(5_000_000_000)
        assert ready() == (503, "no signal, no signal")
        board.close()
        assert ready()[0] == 503


def test_health_is_not_well_where_viewers_are_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(broadcast.Broadcast, "run", fails)
    with serving() as server:
        assert status_of(server, "/healthz", "127.0.0.1") == 500
        for task in server._background:
            task.exception()
