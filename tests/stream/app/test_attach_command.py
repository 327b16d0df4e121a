"""`partum attach` as a user meets it: a real feed, none at all, an end by signal, and addresses with passwords."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from partum import main
from tests.conftest import REPOSITORY
from tests.fakes.triton_server import free_ports
from tests.stream.sources.live.test_network import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def attach(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "partum", "attach", *map(str, words)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def feed() -> Iterator[str]:
    (port,) = free_ports(1)
    publisher = Publisher(f"http://127.0.0.1:{port}/stream.mjpg")
    publisher.start()
    yield f"http://nurse:secret@127.0.0.1:{port}/stream.mjpg?key=secret"
    publisher.stop()


def records_in(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_live_feed_is_measured_until_the_time_is_up(feed: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    process = attach(feed, "--duration", 4, "--out", tmp_path, "--serve", f"127.0.0.1:{port}")
    ready = 0
    for _ in range(600):
        if process.poll() is not None:
            break
        time.sleep(0.1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
                ready += answer.status == 200
        except OSError:
            continue
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert ready > 0
    records = records_in(tmp_path)
    assert [record["index"] for record in records] == list(range(len(records)))
    run = json.loads((tmp_path / "run.json").read_text())
    results = run["results"]
    assert run["status"] == "complete"
    assert results["frames_in"] == len(records) > 10
    assert results["frames_in"] == results["measured"] + results["refused"] + results["dropped"]
    everything = out + error + "".join(path.read_text() for path in tmp_path.glob("*.[jc]s*"))
    assert "secret" not in everything
    assert "http://***@127.0.0.1" in run["options"]["source"]
    assert not (tmp_path / "overlay.mp4").exists()  # whole pictures are written only where they are asked for


@pytest.mark.slow
def test_sigterm_is_a_clean_stop_with_everything_written(feed: str, tmp_path: Path) -> None:
    process = attach(feed, "--out", tmp_path)
    for _ in range(300):
        time.sleep(0.1)
        if (tmp_path / "measurements.jsonl").exists() and len(records_in(tmp_path)) > 5:
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["status"] == "interrupted"
    assert run["results"]["frames_in"] == len(records_in(tmp_path))


@pytest.mark.slow
def test_a_feed_that_never_comes_is_waited_for_and_said(tmp_path: Path) -> None:
    process = attach(f"rtsp://me:secret@127.0.0.1:{free_ports(1)[0]}/live", "--duration", 3, "--out", tmp_path)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    # What is said of engines comes before it.
    *waiting, last = [line for line in error.splitlines() if not line.startswith("engine: ")]
    # Said while it waits, not only at the end; a slow machine may say before it that nothing has answered yet.
    assert any("connecting (" in line and "Connection refused" in line for line in waiting), error
    assert "no picture came" in last
    assert "Connection refused" in last
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["status"] == "failed"
    assert run["error"] in last
    assert run["results"]["frames_in"] == 0
    assert "secret" not in out + error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clip.mp4"], "partum replay"),
        (["rtsp://host/live", "--serve", "here"], "give HOST:PORT"),
        (["v4l2:/dev/video99"], "no such device"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["attach", *words, "--out", str(tmp_path / "out"), "--duration", "2"])
    assert end.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line


@pytest.mark.slow
@pytest.mark.usefixtures("no_loading")
def test_several_feeds_share_an_engine_and_the_loss_of_one_stalls_no_other(tmp_path: Path) -> None:
    ports = free_ports(3)
    addresses = [f"http://127.0.0.1:{port}/stream.mjpg" for port in ports[:2]]
    publishers = [Publisher(address) for address in addresses]
    for publisher in publishers:
        publisher.start()
    process = attach(*addresses, "--sector", "whole", "--record", "--out", tmp_path, "--serve", f"127.0.0.1:{ports[2]}")

    def counted(number: int) -> int:
        path = tmp_path / str(number) / "measurements.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def wait_for(number: int, count: int) -> None:
        for _ in range(400):
            if counted(number) >= count:
                return
            time.sleep(0.1)
        pytest.fail(f"feed {number} did not reach {count} frames")

    try:
        wait_for(1, 10)
        wait_for(2, 10)
        publishers[0].stop()
        wait_for(2, counted(2) + 40)
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        assert 'partum_frames_total{feed="2",state=' in metrics
    finally:
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        for publisher in publishers:
            publisher.stop()
    assert process.returncode == 0, error
    for number in (1, 2):
        folder = tmp_path / str(number)
        run = json.loads((folder / "run.json").read_text())
        assert run["status"] == "interrupted"
        assert run["engine"].endswith("shared")
        assert run["results"]["frames_in"] == counted(number)
        main(["replay", str(folder / "recording"), "--out", str(folder / "again"), "--no-overlay"])
        for one, other in zip(records_in(folder), records_in(folder / "again"), strict=True):
            assert (one["index"], one["pts_s"], one["state"]) == (other["index"], other["pts_s"], other["state"])
