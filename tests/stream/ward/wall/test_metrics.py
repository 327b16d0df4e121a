"""`/metrics` of a ward: every feed under its name, what the ward knows beside, and a real Prometheus that reads it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from stream.pipeline.pipeline import Pipeline
from stream.ward.deploy import DEPLOY
from stream.ward.view import CapacityView, EngineView, FeedPage, ProcessState, RecordingView
from stream.ward.wall import feed_page
from stream.ward.wall.wall import notes_of
from tests.fakes.doubles import DrawnSource, GreyLevelEngine
from tests.fakes.ward.asked import ask, line
from tests.fakes.ward.shown import METRICS, WATCH, shown_ward

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.pipeline.record import Measurement
    from stream.ward.wall.server import WallServer
    from tests.fakes.ward.shown import FakeWard

Shown = tuple["WallServer", "FakeWard"]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def good() -> Measurement:
    with Pipeline(DrawnSource(30), GreyLevelEngine()) as pipeline:
        return list(pipeline)[20]


@pytest.fixture
def shown(tmp_path: Path, good: Measurement) -> Iterator[Shown]:
    with shown_ward(tmp_path, ["room-1", "room-2"], good) as (server, ward):
        ward.rest = replace(
            ward.rest,
            engine=EngineView(state=ProcessState.RUNNING, restarts=2),
            capacity=CapacityView(load=0.4, expected_ms=31.0, deadline_ms=100.0),
            recording=RecordingView(state="on", used_bytes=7, quota_bytes=50, free_bytes=9, reserve_bytes=5, deleted=3),
            up_s=12.0,
        )
        yield server, ward


def scraped(server: WallServer) -> Samples:
    answer = ask(server, "/metrics", token=METRICS)
    assert answer.status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_each_feed_is_there_under_its_name_and_a_dead_one_is_down(shown: Shown) -> None:
    server, ward = shown
    give_up = time.monotonic() + 10
    while not all(feed.board.statistics.frames_in for feed in ward.feeds):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    samples = scraped(server)
    for feed in ("room-1", "room-2"):
        assert value(samples, "partum_ward_feed_up", feed=feed) == 1
        assert (value(samples, "partum_frames_total", feed=feed, state="measured") or 0) > 0
        assert value(samples, "partum_latency_seconds_bucket", feed=feed, le="+Inf") is not None
    assert value(samples, "partum_ward_feed_info", feed="room-1", label="Room 1") == 1
    ward.feeds[0].end(restarts=4)
    samples = scraped(server)
    assert value(samples, "partum_ward_feed_up", feed="room-1") == 0
    assert value(samples, "partum_ward_feed_state", feed="room-1", state="restarting") == 1
    assert value(samples, "partum_ward_feed_state", feed="room-1", state="running") == 0
    assert value(samples, "partum_ward_feed_restarts_total", feed="room-1") == 4
    assert value(samples, "partum_frames_total", feed="room-1", state="measured") is None
    assert value(samples, "partum_ward_feed_up", feed="room-2") == 1
    ward.feeds[1].fall_silent()  # the ward takes it for running
    assert value(scraped(server), "partum_ward_feed_up", feed="room-2") == 0


def test_what_the_ward_knows_is_there_too(shown: Shown) -> None:
    ask(shown[0], "/", token="z" * 20)
    samples = scraped(shown[0])
    said = {name: found for (name, labels), found in samples.items() if not labels}
    assert said["partum_ward_wrong_tokens_total"] == 1
    assert said["partum_ward_engine_up"] == 1
    assert said["partum_ward_engine_restarts_total"] == 2
    assert said["partum_ward_deadline_seconds"] == pytest.approx(0.1)
    assert said["partum_ward_recorded_bytes"] == 7
    assert said["partum_ward_deleted_recordings_total"] == 3
    assert said["partum_ward_reload_failed"] == 0
    assert "partum_ward_certificate_expiry_timestamp_seconds" not in said


def test_pages_of_feeds_that_hang_hold_up_neither_the_metrics_nor_the_wall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_page, "OPEN_S", 0.5)
    names = [f"room-{number}" for number in range(8)]
    with ExitStack() as stack:
        server, ward = stack.enter_context(shown_ward(tmp_path, names))
        for feed in ward.feeds:
            hangs = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes a connection, and says nothing
            feed.view = replace(feed.view, page=FeedPage(host="127.0.0.1", port=hangs.getsockname()[1], token="t"))
        scrapes = [threading.Thread(target=scraped, args=(server,)) for _ in range(4)]
        began_s = time.monotonic()
        for scrape in scrapes:
            scrape.start()
        with line(server, "/wall", token=WATCH) as viewer:
            for _ in range(40):
                assert viewer.recv(timeout=1.5)
        for scrape in scrapes:
            scrape.join()
        assert time.monotonic() - began_s < 10


def test_a_feed_of_which_nothing_is_written_is_told_apart(shown: Shown) -> None:
    server, ward = shown
    assert value(scraped(server), "partum_ward_feed_recording", feed="room-1") is None
    ward.feeds[0].view = replace(ward.feeds[0].view, recording="on")
    ward.feeds[1].view = replace(ward.feeds[1].view, recording="/kept/room-2: cannot be written (Permission denied)")
    samples = scraped(server)
    assert value(samples, "partum_ward_feed_recording", feed="room-1") == 1
    assert value(samples, "partum_ward_feed_recording", feed="room-2") == 0
    assert notes_of(ward.view()) == [
        "nothing is recorded of Room 2 (/kept/room-2: cannot be written (Permission denied))"
    ]


def test_openmetrics_is_answered_where_it_is_asked_for(shown: Shown) -> None:
    answer = ask(shown[0], "/metrics", token=METRICS, Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "partum_frames" in {family.name for family in openmetrics(answer.body)}  # type: ignore[no-untyped-call]


def test_rules_and_dashboard_ask_for_what_there_is(shown: Shown) -> None:
    names = {name for name, _ in scraped(shown[0])} | {
        "partum_ward_certificate_expiry_timestamp_seconds",  # with a certificate
        *("partum_refused_total", "partum_dropped_total"),  # once there are such frames
        "partum_ward_feed_recording",  # where something is recorded
    }
    for file in ("partum-rules.yml", "grafana-dashboard.json"):
        asked = set(re.findall(r"\bpartum_[a-z0-9_]+", (DEPLOY / file).read_text(encoding="utf-8")))
        assert asked
        assert asked <= names, file


@pytest.mark.slow
def test_a_real_prometheus_scrapes_it_with_the_files_that_ship(shown: Shown, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus (Debian's prometheus), which is not installed")
    server, ward = shown
    ward.feeds[1].end(ProcessState.REFUSED, "would be late")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    token = tmp_path / "token"
    token.write_text(METRICS + "\n")  # as an editor leaves it
    shutil.copy(DEPLOY / "partum-rules.yml", tmp_path)
    config = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    for old, new in (
        ("/etc/prometheus/partum-token", str(token)),
        ("127.0.0.1:8400", f"127.0.0.1:{server._port}"),
        ("scrape_interval: 15s", "scrape_interval: 200ms"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "prometheus.yml").write_text(config)
    command = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    running = subprocess.Popen(
        [*command, f"--web.listen-address={place}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        up = until_found(place, 'up{job="partum-ward"}', {"": 1.0})
        assert up == {"": 1.0}
        found = until_found(place, "partum_ward_feed_up", {"room-1": 1.0, "room-2": 0.0})
        assert found == {"room-1": 1.0, "room-2": 0.0}
        assert set(queried(place, 'partum_frames_total{state="measured"}')) == {"room-1"}
        groups = json.loads(got(f"http://{place}/api/v1/rules"))["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        assert "PartumFeedRefused" in {rule["name"] for group in groups for rule in group["rules"]}
    finally:
        running.terminate()
        running.wait(20)


def got(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def queried(place: str, expression: str) -> dict[str, float]:
    """What Prometheus answers, by feed."""
    answer = json.loads(got(f"http://{place}/api/v1/query?query={urllib.parse.quote(expression)}"))
    return {each["metric"].get("feed", ""): float(each["value"][1]) for each in answer["data"]["result"]}


def until_found(place: str, expression: str, wanted: dict[str, float], *, within_s: float = 40.0) -> dict[str, float]:
    give_up = time.monotonic() + within_s
    found: dict[str, float] = {}
    while found != wanted and time.monotonic() < give_up:
        try:
            found = queried(place, expression)
        except OSError:  # it is not up yet
            found = {}
        time.sleep(0.05)
    return found
