"""The screen tells the truth: its state, its numbers, who may see it, and that viewers never slow the stream."""

from __future__ import annotations

import json
import struct
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from stream.common.clock import ManualClock, MonotonicClock
from stream.common.errors import OptionError, OutputError
from stream.frames.reason import Reason
from stream.inference.label_grid import LabelGrid, outline_of
from stream.measurement.biometry import Outlines
from stream.outputs.marks import MarkFile
from stream.outputs.web.board import Board
from stream.outputs.web.metrics import metrics_text
from stream.outputs.web.server import LONGEST_SIDE_PX, WebServer, encode_picture, is_loopback, parse_address
from stream.outputs.web.state import OUTLINE_POINTS, DisplayState, Snapshot, display_state, page_message
from stream.outputs.web.trend import TREND_S
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record import STALE_S, FrameState, Measurement
from stream.pipeline.record_fields import record_of
from stream.pipeline.stages import Stage
from stream.pipeline.throughput import Throughput
from stream.sources.live.base import LinkState, LinkStatus
from stream.tracking.tracker import EstimateStatus
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LIVE = LinkStatus(link=LinkState.LIVE, reason="", connections=1, frames=9, lost=0, last_frame_ns=0)


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    """Thirty measured frames, twelve off the plane, and eight measured again, at 25 Hz."""
    with Pipeline(DrawnSource(50, off_plane=range(30, 42)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


def snapshot(measurement: Measurement | None, **changes: Any) -> Snapshot:
    settings: dict[str, Any] = {"measurement": measurement, "age_s": 0.02, "link": LIVE, **changes}
    return Snapshot(**settings)


def without_plane(measurement: Measurement, reason: Reason, **changes: Any) -> Measurement:
    return replace(measurement, state=FrameState.REFUSED, reason=reason, biometry=None, **changes)


def captured(measurement: Measurement, at_ns: int, **changes: Any) -> Measurement:
    return replace(measurement, frame=replace(measurement.frame, captured_ns=at_ns), **changes)


def test_the_state_is_what_stands_in_the_way_first(measurements: list[Measurement]) -> None:
    good = measurements[20]
    no_track = without_plane(good, Reason.NO_PS, aop=None)
    lost = replace(LIVE, link=LinkState.RECONNECTING, reason="the cable was pulled")
    cases = {
        DisplayState.LIVE: snapshot(good),
        DisplayState.REPLAY: snapshot(good, link=None),
        DisplayState.HOLD: snapshot(without_plane(good, Reason.NO_PS)),
        DisplayState.NO_PLANE: snapshot(no_track),
        DisplayState.FROZEN: snapshot(without_plane(good, Reason.FROZEN, aop=None)),
        DisplayState.NO_SIGNAL: snapshot(good, age_s=STALE_S + 0.1, link=None),
        DisplayState.DELAYED: snapshot(good, age_s=STALE_S + 0.1),
        DisplayState.RECONNECTING: snapshot(good, link=lost),
        DisplayState.CONNECTING: snapshot(None),
        DisplayState.ENDED: snapshot(good, has_ended=True),
    }
    assert set(cases) == set(DisplayState)
    for expected, each in cases.items():
        assert display_state(each)[0] is expected, expected
        message = page_message(each)
        assert (message["aop"] is not None) == (
            expected in (DisplayState.LIVE, DisplayState.REPLAY, DisplayState.HOLD)
        ), expected
        json.dumps(message, allow_nan=False)
    assert display_state(snapshot(good, link=lost))[1] == "the cable was pulled"
    assert display_state(snapshot(without_plane(good, Reason.NO_SIGNAL, aop=None)))[0] is DisplayState.NO_SIGNAL


def test_the_numbers_are_the_measurement_s(measurements: list[Measurement]) -> None:
    found = page_message(snapshot(measurements[20]))
    aop = measurements[20].aop
    assert aop is not None
    assert found["aop"]["value"] == pytest.approx(aop.value, abs=0.01)
    assert (found["aop"]["low"], found["aop"]["high"]) == (
        pytest.approx(aop.lo95, abs=0.01),
        pytest.approx(aop.hi95, abs=0.01),
    )
    assert found["hsd"] is None  # in millimetres only, and there is no scale
    assert found["is_calibrated"] is False
    assert found["drawing"]["inferior"] == measurements[20].biometry.landmarks.ps_inferior  # type: ignore[union-attr]
    assert 20 < len(found["drawing"]["fh"]) <= 90
    marked = page_message(snapshot(replace(measurements[20], engine_warning="engine not accepted: far off")))
    assert marked["mark"] == "engine not accepted: far off"


def test_the_board_keeps_the_newest_and_a_trend_with_gaps(measurements: list[Measurement]) -> None:
    clock = ManualClock()
    board = Board(clock=clock)
    assert display_state(board.snapshot())[0] is DisplayState.CONNECTING
    for measurement in measurements:
        board.write(captured(measurement, clock.now_ns()))
        clock.advance(40_000_000)
    newest = board.snapshot().measurement
    assert newest is not None
    assert newest.frame.index == measurements[-1].frame.index
    assert board.snapshot().age_s == pytest.approx(0.04)
    assert board.throughput.processed_hz == pytest.approx(25, rel=0.03)
    times = [point[0] for point in board.trend]
    assert np.diff(times).min() >= 0.1 - 1e-9
    board.mark()
    assert board.marks_s == [pytest.approx(measurements[-1].frame.pts_s)]
    for number in range(4000):
        frame = replace(measurements[0].frame, pts=100 + number * 25, index=100 + number)
        board.write(replace(measurements[0], frame=frame, aop=None))
    trend = board.trend
    assert trend[-1][0] - trend[0][0] <= TREND_S
    assert {point[1] for point in trend} == {None}
    board.close()
    assert display_state(board.snapshot())[0] is DisplayState.ENDED


def test_marks_are_written_as_they_come(measurements: list[Measurement], tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    board = Board(clock=ManualClock(), marks=MarkFile(path))
    board.mark()
    assert not path.exists()  # nothing was shown yet, so nothing was marked
    for number in (20, 35):
        board.write(measurements[number])
        board.mark()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["mark"], line["index"], line["state"]) for line in lines] == [(1, 20, "measured"), (2, 35, "refused")]
    assert lines[0]["aop_deg"] == record_of(measurements[20])["aop_deg"]
    assert lines[1]["reason"] == "not_standard_plane"
    board.close()
    board.mark()
    assert len(path.read_text().splitlines()) == len(board.marks_s) == 2


def test_a_mark_that_cannot_be_written_is_said_and_not_counted(measurements: list[Measurement], tmp_path: Path) -> None:
    board = Board(clock=ManualClock(), marks=MarkFile(tmp_path / "gone" / "marks.jsonl"))
    board.write(measurements[20])
    board.mark(request="mine")
    assert board.marks_s == []
    assert "cannot be written" in str(board.mark_answers["mine"])


def test_age_counts_from_capture_and_what_came_late_is_not_live(measurements: list[Measurement]) -> None:
    clock = ManualClock(start_ns=60_000_000_000)
    board = Board(clock=clock)
    for late_s, state in ((0.9, DisplayState.REPLAY), (1.1, DisplayState.NO_SIGNAL), (11.0, DisplayState.NO_SIGNAL)):
        board.write(captured(measurements[20], clock.now_ns() - round(late_s * 1e9)))
        assert board.snapshot().age_s == pytest.approx(late_s)
        assert display_state(board.snapshot())[0] is state
        message = page_message(board.snapshot())
        assert message["age_ms"] == pytest.approx(1e3 * late_s, abs=1)
        assert (message["aop"] is not None) == (state is DisplayState.REPLAY)
        assert f'partum_result_age_seconds{{feed="1"}} {late_s:g}\n' in metrics_text([board])


def test_a_delay_is_said_with_its_cause(measurements: list[Measurement]) -> None:
    slow = replace(measurements[20], latency_ms=1500.0)
    for stage_ms, words in (
        ({Stage.READ: 1400.0, Stage.WAIT: 100.0}, "its picture came late"),
        ({Stage.READ: 1.0, Stage.WAIT: 1499.0}, "this machine does not keep up"),
        ({}, "its picture came late"),
    ):
        state, reason = display_state(snapshot(replace(slow, stage_ms=stage_ms), age_s=1.6))
        assert state is DisplayState.DELAYED
        assert reason == f"the newest result is 2 s old: {words}"


def test_a_recording_played_faster_than_this_machine_measures_is_behind_and_not_without_signal(
    measurements: list[Measurement],
) -> None:
    slow = replace(measurements[20], latency_ms=19_100.0)
    late = snapshot(slow, age_s=19.2, link=None, throughput=Throughput(processed_hz=6.5))
    assert display_state(late) == (
        DisplayState.DELAYED,
        "19 s behind the pace of the recording: this machine does not keep up",
    )
    assert page_message(late)["aop"] is None
    stopped = snapshot(measurements[20], age_s=19.2, link=None, throughput=Throughput(processed_hz=6.5))
    assert display_state(stopped)[0] is DisplayState.NO_SIGNAL


def disc_of(radius_px: float, side_px: int = 256) -> NDArray[np.uint8]:
    y, x = np.mgrid[:side_px, :side_px]
    return np.asarray((x - 128.3) ** 2 + (y - 126.8) ** 2 < radius_px**2, np.uint8)


def test_outlines_on_their_way_to_the_page_are_sub_pixel(measurements: list[Measurement]) -> None:
    """The outline of a disc of labels lies on its circle: the pixel's steps are gone, and so is their inset."""
    grid = LabelGrid(width=256, height=256, scale_x=1.0, scale_y=1.0)
    outline = outline_of(disc_of(60.0) * 2, 2, grid)
    drawn = replace(measurements[20], outlines=Outlines(lambda code: outline))
    points = np.array(page_message(snapshot(drawn))["drawing"]["fh"])
    assert len(points) == OUTLINE_POINTS
    radii = np.hypot(points[:, 0] - 128.3, points[:, 1] - 126.8)
    assert abs(radii.mean() - 60.0) < 0.1  # the labels' own contour: 59.5
    assert np.abs(radii - 60.0).max() < 0.4  # 1.0
    steps = np.hypot(*np.diff(points, axis=0, append=points[:1]).T)
    assert steps.std() < 0.05 * steps.mean()


def test_a_held_value_is_as_old_as_the_reading_it_rests_on(measurements: list[Measurement]) -> None:
    aop = measurements[20].aop
    assert aop is not None
    held = without_plane(measurements[20], Reason.NO_PS, aop=replace(aop, status=EstimateStatus.HELD, age_s=0.7))
    shown = page_message(snapshot(held, age_s=0.25))
    assert shown["state"] == "hold"
    assert shown["aop"]["age_s"] == pytest.approx(0.95)
    too_old = page_message(snapshot(held, age_s=0.35))
    assert (too_old["state"], too_old["aop"]) == ("no plane", None)


def test_overload_is_said_in_words_with_what_would_help(measurements: list[Measurement]) -> None:
    clock = ManualClock()
    board = Board(clock=clock, remedies=["--early-exit"])
    for number in range(250):  # ten seconds at 25 Hz, of which each eighth frame is measured
        new = captured(measurements[20], clock.now_ns())
        board.write(new if number % 8 == 0 else replace(new, state=FrameState.DROPPED, reason=Reason.OVERLOAD))
        clock.advance(40_000_000)
    words = "this machine measures 3 of 25 frames a second"
    assert board.throughput.message == words
    assert page_message(board.snapshot())["overload"] == {"words": words, "remedies": ["--early-exit"]}
    assert 'partum_overloaded{feed="1"} 1' in metrics_text([board])
    clock.advance(1_500_000_000)
    late = replace(board.snapshot(), link=LIVE)
    assert display_state(late) == (DisplayState.DELAYED, f"the newest result is 2 s old: {late.throughput.message}")
    clock.advance(5_000_000_000)
    for _ in range(100):
        board.write(captured(measurements[20], clock.now_ns()))
        clock.advance(40_000_000)
    assert page_message(board.snapshot())["overload"] is None
    assert 'partum_overloaded{feed="1"} 0' in metrics_text([board])


def test_repeated_pictures_are_no_overload(measurements: list[Measurement]) -> None:
    clock = ManualClock()
    board = Board(clock=clock)
    for number in range(240):
        new = captured(measurements[20], clock.now_ns())
        board.write(new if number % 2 else replace(new, state=FrameState.DROPPED, reason=Reason.REPEATED))
        clock.advance(16_666_667)
    assert not board.throughput.is_overloaded
    assert board.throughput.measured_hz == pytest.approx(30, abs=0.5)


def test_dropped_frames_are_counted_and_not_shown(measurements: list[Measurement]) -> None:
    board = Board(clock=ManualClock())
    board.write(measurements[0])
    board.write(replace(measurements[1], state=FrameState.DROPPED, reason=Reason.REPEATED))
    assert board.snapshot().measurement is measurements[0]
    assert board.statistics.drops == {"repeated": 1}
    assert board.statistics.frames_in == 2


@contextmanager
def serving(board: Board, **options: Any) -> Iterator[WebServer]:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 0, **options}
    with WebServer([board], **settings) as server:
        yield server


def fetch(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def unpacked(message: bytes | str) -> tuple[dict[str, Any], bytes]:
    assert isinstance(message, bytes)
    (length,) = struct.unpack(">I", message[:4])
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def stream_of(server: WebServer) -> str:
    return server.address.replace("http://", "ws://").replace("/?", "/stream?", 1).removesuffix("/") + (
        "" if server.token else "/stream"
    )


@pytest.mark.slow
def test_a_viewer_gets_facts_then_pictures_with_what_was_measured(measurements: list[Measurement]) -> None:
    board = Board(clock=MonotonicClock(), facts={"print": {"model": "x"}})
    with serving(board) as server, connect(stream_of(server)) as viewer:
        hello, _ = unpacked(viewer.recv())
        assert hello["facts"] == {"print": {"model": "x"}}
        assert "Research use only" in hello["notice"]
        board.write(captured(measurements[20], time.monotonic_ns()))
        picture = b""
        while not picture:
            content, picture = unpacked(viewer.recv())
        assert content["state"] == "replay"
        assert content["index"] == 20
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert np.abs(image.astype(float) - measurements[20].frame.image).mean() < 3
        viewer.send("mark")
        for _ in range(50):
            if unpacked(viewer.recv())[0]["marks"]:
                break
        assert board.marks_s == [measurements[20].frame.pts_s]
        time.sleep(STALE_S + 0.5)
        for _ in range(20):
            content, _ = unpacked(viewer.recv(timeout=2))
            if content["state"] == "no signal":
                break
        assert (content["state"], content["aop"], content["drawing"]) == ("no signal", None, None)


def test_probes_and_metrics_say_how_it_stands(measurements: list[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    with serving(board) as server:
        assert fetch(f"{server.address}healthz") == (200, "ok")
        assert fetch(f"{server.address}readyz") == (503, "connecting")
        for measurement in measurements:
            board.write(captured(measurement, time.monotonic_ns()))
        assert fetch(f"{server.address}readyz") == (200, "replay")
        status, text = fetch(f"{server.address}metrics")
        assert status == 200
        assert 'partum_frames_total{feed="1",state="measured"} 38' in text
        assert 'partum_refused_total{feed="1",reason="not_standard_plane"} 12' in text
        assert 'partum_latency_seconds_bucket{feed="1",le="+Inf"} 50' in text
        assert 'partum_state{feed="1",state="replay"} 1' in text
        assert fetch(f"{server.address}etc/passwd")[0] == 404


def test_from_elsewhere_a_token_is_demanded(measurements: list[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    with serving(board, token="right") as server:
        bare = server.address.partition("?")[0]
        assert server.address.endswith("?token=right")
        assert fetch(bare)[0] == fetch(f"{bare}metrics")[0] == fetch(f"{bare}?token=wrong")[0] == 403
        assert fetch(server.address)[0] == 200
        with pytest.raises((InvalidStatus, ConnectionClosed)), connect(f"{bare.replace('http', 'ws')}stream") as viewer:
            viewer.recv()
        with connect(f"{bare.replace('http', 'ws')}stream?token=right") as viewer:
            assert viewer.recv()


def test_pages_of_other_sites_may_not_look(measurements: list[Measurement]) -> None:
    board = Board(clock=MonotonicClock())
    with serving(board) as server:
        assert fetch(server.address, Origin="http://evil.example")[0] == 403
        with (
            pytest.raises((InvalidStatus, ConnectionClosed)),
            connect(stream_of(server), origin=Origin("http://evil.example")) as viewer,
        ):
            viewer.recv()


def test_an_address_beyond_this_machine_gets_a_token_of_its_own() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "ward-pc")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    tokens = {WebServer([Board(clock=ManualClock())], host="0.0.0.0", port=0).token for _ in range(3)}
    assert len(tokens) == 3
    assert all(token and len(token) > 15 for token in tokens)


@pytest.mark.parametrize(("text", "expected"), [("8400", ("127.0.0.1", 8400)), ("[::1]:80", ("::1", 80))])
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


def test_addresses_that_cannot_be_meant_or_are_taken() -> None:
    for wrong in ("here", "host:port", "host:99999"):
        with pytest.raises(OptionError, match="give HOST:PORT"):
            parse_address(wrong)
    board = Board(clock=ManualClock())
    with serving(board) as server, pytest.raises(OutputError, match="cannot listen there"):
        WebServer([board], host="127.0.0.1", port=server._port).__enter__()


@pytest.mark.slow
def test_twenty_viewers_of_whom_some_sleep_and_some_vanish_do_not_slow_the_stream() -> None:
    clock = MonotonicClock()
    board = Board(clock=clock)
    stop = threading.Event()
    counts: list[int] = []

    def watch(kind: str) -> None:
        with connect(stream_of(server), close_timeout=1) as viewer:  # one that sleeps does not see it end
            seen = 0
            while not stop.is_set():
                if kind == "sleeps":
                    stop.wait(20)
                    continue
                _, picture = unpacked(viewer.recv())
                seen += bool(picture)
                if kind == "vanishes" and seen == 3:
                    viewer.socket.close()
                    return
            counts.append(seen)

    with serving(board) as server:
        kinds = ["watches"] * 12 + ["sleeps"] * 4 + ["vanishes"] * 4
        threads = [threading.Thread(target=watch, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        source = DrawnSource(100, clock=clock, hold=lambda index, closed: time.sleep(0.02))
        longest = 0.0
        with Pipeline(source, GreyLevelEngine(), clock=clock) as pipeline:
            for measurement in pipeline:
                began = time.perf_counter()
                board.write(measurement)
                longest = max(longest, time.perf_counter() - began)
        stop.set()
        board.close()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert longest < 2.0  # those that sleep do so to the end
    assert len(counts) == 16
    assert sorted(counts)[4] > 5  # those that watch saw the stream


def test_large_pictures_are_shrunk_on_their_way() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1080, 1920), np.uint8)
    image = cv2.imdecode(np.frombuffer(encode_picture(large), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert max(image.shape) == LONGEST_SIDE_PX
