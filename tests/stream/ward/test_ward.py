"""A ward of published feeds: processes are killed, files changed, a disk filled, and the others do not notice."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.experiments.ward.rig import write_config
from stream.common.errors import RunUnreadable
from stream.exports.verification import verify_run
from stream.labour.recorded_run import RecordedRun
from stream.sources import open_source
from stream.ward.config import read_ward_config
from stream.ward.recording.retention import Retention
from stream.ward.view import ProcessState
from stream.ward.wall.server import WallServer
from stream.ward.wall.settings import WallSettings
from stream.ward.wall.wall import notes_of
from tests.conftest import REPOSITORY, catches
from tests.fakes.doubles import GreyLevelEngine
from tests.fakes.kserve_server import KServeServer
from tests.fakes.ward.asked import ask
from tests.fakes.ward.paced_rtsp import PacedRtspServer
from tests.stream.ward.running import ANALYSIS, RunningWard, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.ward.view import WardView

NAMES = ("a", "b", "c", "d")
SHOWN = {"live", "hold", "no plane"}
"""Tiles of which the picture is of now."""
LIMITS = "[limits]\nstuck = 10\n"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="a ward runs on Linux")]


@pytest.fixture(scope="module")
def scanner() -> Iterator[PacedRtspServer]:
    server = PacedRtspServer()
    yield server
    server.close()


def feeds_of(uri: str, names: tuple[str, ...] = NAMES, more: str = "") -> str:
    return "".join(f'[feeds.{name}]\nsource = "{uri}"\nforce = true\n{more}' for name in names)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """A folder, on a disk of 40 MB where that can be mounted, and whether it is."""
    folder = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    is_small = not subprocess.run(words, capture_output=True, check=False).returncode
    yield folder, is_small
    if is_small:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture(scope="module")
def running(
    scanner: PacedRtspServer, disk: tuple[Path, bool], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningWard]:
    """A megabyte of the disk stays free."""
    text = feeds_of(scanner.uri) + ANALYSIS + f'[recording]\nfolder = "{disk[0] / "kept"}"\nreserve_gb = 0.001\n'
    text += LIMITS
    with RunningWard(write_config(tmp_path_factory.mktemp("ward") / "ward.toml", text)) as ward:
        ward.until_all_show("live", "hold", "no plane")
        yield ward


def restarts(view: WardView) -> list[int]:
    return [feed.restarts for feed in view.feeds]


def frames(view: WardView) -> list[int]:
    return [sum(feed.frames.values()) for feed in view.feeds]


def test_every_feed_has_a_number_of_its_own(running: RunningWard) -> None:
    running.until(lambda view: all(feed.aop for feed in view.feeds), what="numbers")
    view = running.view
    assert [feed.name for feed in view.feeds] == list(NAMES)
    for feed in view.feeds:
        assert feed.aop is not None
        assert feed.aop.low < feed.aop.value < feed.aop.high
        assert feed.age_s is not None
        assert feed.recording == "on"
        assert feed.page is not None
        assert feed.page.token not in repr(view)
    assert view.engine.state is ProcessState.RUNNING
    assert view.engine.name == "openvino fp32 CPU"
    assert view.capacity.engine_hz > 0
    assert view.capacity.load > 0
    assert len({feed.page.port for feed in view.feeds if feed.page}) == 4


def test_a_feed_that_is_killed_comes_back_and_touches_no_other(running: RunningWard) -> None:
    before, pids = running.view, [running.pid(name) for name in NAMES]
    os.kill(pids[1], signal.SIGKILL)
    running.until(lambda view: view.feeds[1].restarts == before.feeds[1].restarts + 1, what="a restart")
    running.until_all_show("live", "hold", "no plane")
    assert [running.pid(name) for name in NAMES if name != "b"] == [pids[0], *pids[2:]]
    assert any("b: its process ended (killed by SIGKILL" in line for line in running.lines)
    gained = [now - then for now, then in zip(frames(running.view), frames(before), strict=True)]
    assert min(gained[0], gained[2], gained[3]) > 0


@pytest.mark.browser
def test_a_killed_process_is_seen_on_the_wall_and_comes_back(running: RunningWard, browser: Any) -> None:
    settings = WallSettings.checked(running.ward.config)
    page = browser.new_page(viewport={"width": 1000, "height": 500})

    def says(name: str) -> str:
        page.wait_for_timeout(20)  # playwright hears of the page only while it waits
        tile = page.locator(f'[data-feed="{name}"] .state b')
        return str(tile.text_content()) if tile.count() else ""

    try:
        with WallServer(running.ward, replace(settings, web=replace(settings.web, port=0))) as server:
            page.goto(server.address)
            until(lambda: {says(name) for name in NAMES} <= SHOWN, what="all feeds on the wall")
            os.kill(running.pid("d"), signal.SIGKILL)
            until(lambda: says("d") not in SHOWN, what="a tile that says it")
            assert page.locator('[data-feed="d"] .veil').is_visible()
            assert not page.locator('[data-feed="d"] .aop-number').is_visible()
            until(lambda: says("d") in SHOWN, what="the feed's return")
            body = ask(server, "/metrics").body
            count = running.feed("d").restarts
            assert f'partum_ward_feed_restarts_total{{feed="d"}} {count}\n' in body
            assert {f'partum_ward_feed_up{{feed="{name}"}} 1' for name in NAMES} <= set(body.splitlines())
    finally:
        page.close()


def test_a_feed_that_hangs_is_replaced(running: RunningWard) -> None:
    text = running.path.read_text()
    write_config(running.path, text.replace("stuck = 10", "stuck = 1.5"))
    reloads = running.view.reloads
    running.ward.reload()
    running.until(lambda view: view.reloads > reloads, what="a reload")
    count = running.view.feeds[2].restarts
    os.kill(running.pid("c"), signal.SIGSTOP)
    running.until(lambda view: view.feeds[2].shown in ("delayed", ""), what="a feed that shows no number")
    assert running.feed("c").aop is None
    running.until(lambda view: view.feeds[2].restarts == count + 1, what="a restart")
    assert any("c: gave no sign of life for 1.5 s" in line for line in running.lines)
    write_config(running.path, text)
    running.ward.reload()
    running.until_all_show("live", "hold", "no plane")


def test_an_engine_that_is_killed_comes_back_and_no_feed_ends(running: RunningWard) -> None:
    before, pids = restarts(running.view), [running.pid(name) for name in NAMES]
    count = running.view.engine.restarts
    os.kill(running.pid("engine"), signal.SIGKILL)
    running.until(lambda view: view.engine.restarts == count + 1, what="a restart of the engine")
    running.until_engine_is(ProcessState.RUNNING)
    after = frames(running.view)
    running.until(
        lambda view: all(now > then + 10 for now, then in zip(frames(view), after, strict=True)), what="frames"
    )
    assert restarts(running.view) == before
    assert [running.pid(name) for name in NAMES] == pids


def test_a_reload_touches_what_changed_and_a_wrong_file_nothing(running: RunningWard, scanner: PacedRtspServer) -> None:
    text, pids = running.path.read_text(), {name: running.pid(name) for name in NAMES}
    reloads = running.view.reloads
    write_config(running.path, text.replace("[feeds.d]", "[feeds.d]\nsorce = 3"))
    running.ward.reload()
    running.until(lambda view: view.reload_error, what="an error")
    assert "Did you mean 'source'?" in running.view.reload_error
    assert "secret" not in "".join(running.lines)
    assert {name: running.pid(name) for name in NAMES} == pids

    write_config(running.path, text.replace("[feeds.d]", "[feeds.e]").replace("[feeds.a]", '[feeds.a]\nlabel = "A"'))
    running.ward.reload()
    running.until(lambda view: view.reloads == reloads + 1, what="a reload")
    assert not running.view.reload_error
    assert running.feed("a").label == "A"
    running.until_all_show("live", "hold", "no plane")
    assert [feed.name for feed in running.view.feeds] == ["a", "b", "c", "e"]
    assert [running.pid(name) for name in "abc"] == [pids[name] for name in "abc"]
    until(lambda: not Path(f"/proc/{pids['d']}").exists(), what="the end of the feed that is gone")


def test_a_feed_that_the_machine_cannot_carry_is_refused_with_the_number(
    running: RunningWard, scanner: PacedRtspServer
) -> None:
    text, pids = running.path.read_text(), running.ward.pids()
    more = f'[feeds.f]\nsource = "{scanner.uri}"\nrate = 240\n'
    write_config(running.path, text.replace(LIMITS, f"{LIMITS}deadline_ms = 1\n{more}"))
    running.ward.reload()
    running.until(lambda view: view.feeds[-1].state is ProcessState.REFUSED, what="a refusal")
    reason = running.feed("f").reason
    assert "ms of work a frame" in reason
    assert "force = true" in reason
    assert len([line for line in running.lines if "f: refused:" in line]) == 1
    write_config(running.path, text)
    running.ward.reload()
    running.until(lambda view: "f" not in [feed.name for feed in view.feeds], what="its end")
    assert running.ward.pids() == pids


def test_a_full_disk_stops_the_recording_and_not_the_measurement(running: RunningWard, disk: tuple[Path, bool]) -> None:
    folder, is_small = disk
    if not is_small:
        pytest.skip("a small disk can be mounted by root alone")
    running.until(lambda view: all(feed.recording == "on" for feed in view.feeds), what="a recording")
    before = restarts(running.view)
    (folder / "others").write_bytes(bytes(shutil.disk_usage(folder).free - 900_000))
    running.until(lambda view: view.recording.state == "stopped", what="a recording that stops")
    running.until(lambda view: all(feed.recording != "on" for feed in view.feeds), what="feeds that write nothing")
    count = frames(running.view)
    running.until(
        lambda view: all(now > then + 10 for now, then in zip(frames(view), count, strict=True)), what="frames"
    )
    assert running.view.recording.free_bytes > 0
    assert len([line for line in running.lines if "recording stopped" in line]) == 1
    (folder / "others").unlink()
    running.until(lambda view: all(feed.recording == "on" for feed in view.feeds), what="a recording that goes on")
    assert restarts(running.view) == before


@contextmanager
def command(path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "partum", "ward", str(path)]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lines_in(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.rglob("measurements.jsonl"))


def test_sigterm_ends_all_with_everything_written_and_no_password_shown(
    scanner: PacedRtspServer, tmp_path: Path
) -> None:
    text = feeds_of(scanner.uri, ("a", "b")) + ANALYSIS + '[recording]\nfolder = "kept"\npictures = true\n'
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    path = write_config(tmp_path / "ward.toml", text + "[web]\nport = 0\n")
    with manager, command(path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000") as process:
        until(lambda: min(lines_in(tmp_path / "kept" / name) for name in "ab") > 10, what="frames on the disk")
        pids = [process.pid, *children(process.pid)]
        assert len(pids) >= 4
        for pid in pids:
            shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert b"nurse" not in shown
        until(lambda: "READY=1" in heard(manager), what="a word that it is ready")
        process.send_signal(signal.SIGHUP)
        until(lambda: "RELOADING=1" in heard(manager), what="a reload")
        until(lambda: "WATCHDOG=1" in heard(manager), what="a sign of life")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began_s < 10
        assert "STOPPING=1" in heard(manager)
    assert process.returncode == 0, said
    assert "secret" not in said
    runs = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [run["status"] for run in runs] == ["complete"] * 2
    for path, run in zip(tmp_path.rglob("measurements.jsonl"), runs, strict=True):
        assert len(path.read_bytes().splitlines()) == run["results"]["frames_in"]
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], what="the end of all processes")


def heard(manager: socket.socket) -> list[str]:
    """What a service manager was told since."""
    found: list[str] = []
    with suppress(BlockingIOError):
        while True:
            found += manager.recv(4096).decode().splitlines()
    return found


def test_a_ward_that_is_stopped_while_it_starts_ends_well(scanner: PacedRtspServer, tmp_path: Path) -> None:
    text = feeds_of(scanner.uri, ("a",)) + ANALYSIS + "[web]\nport = 0\n"
    with command(write_config(tmp_path / "ward.toml", text)) as process:
        until(lambda: catches(process.pid, signal.SIGTERM), what="its handlers")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.endswith("stopped\n")


def test_nothing_outlives_a_ward_that_is_killed_and_what_it_wrote_can_be_read(
    scanner: PacedRtspServer, tmp_path: Path
) -> None:
    text = feeds_of(scanner.uri, ("a",)) + ANALYSIS + "[web]\nport = 0\n"
    text += '[recording]\nfolder = "kept"\npictures = true\n'
    with command(write_config(tmp_path / "ward.toml", text)) as process:
        until(lambda: lines_in(tmp_path / "kept") > 10, what="frames on the disk")
        pids = children(process.pid)
        process.kill()
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], what="the end of its processes")
    (part,) = (tmp_path / "kept" / "a").iterdir()
    with pytest.raises(RunUnreadable, match="--unfinished"):
        RecordedRun(part)
    options = read_ward_config(tmp_path / "ward.toml").recording
    Retention(options, hold=lambda is_held: None, told=lambda line: None).look()  # as the next ward does
    assert RecordedRun(part).status == "interrupted"
    assert not verify_run(part).faults
    with open_source(part / "recording") as again:
        assert len(list(again)) > 5


def test_feeds_ask_a_server_where_the_model_is_on_one(scanner: PacedRtspServer, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    with KServeServer(GreyLevelEngine()) as server:
        text = feeds_of(scanner.uri, ("a",)) + f'[analysis]\nmodel = "{server.uri}"\n'
        with RunningWard(write_config(tmp_path / "ward.toml", text)) as running:
            running.until(lambda view: frames(view)[0] > 10, what="frames")
            engine = running.view.engine
            assert (engine.is_remote, engine.state, list(running.ward.pids())) == (True, ProcessState.RUNNING, ["a"])
            assert engine.name.startswith("triton fp32 127.0.0.1:")
            assert running.view.capacity.engine_hz > 0
            server.fault = away
            running.until_engine_is(ProcessState.RESTARTING)
            assert notes_of(running.view) == ["model on a server: the server does not answer"]
            server.fault = lambda number, answer, context: None
            running.until_engine_is(ProcessState.RUNNING)
            count = frames(running.view)[0]
            running.until(lambda view: frames(view)[0] > count + 10, what="frames")
            assert restarts(running.view) == [0]


def away(number: int, answer: Any, context: Any) -> None:
    context.abort(importlib.import_module("grpc").StatusCode.UNAVAILABLE, "away")
