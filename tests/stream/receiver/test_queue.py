"""The queue of a receiver, its server, and its answers, in one process."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest

from stream.common.errors import OptionError, OutputError
from stream.receiver.peers import Peer
from stream.receiver.queue import QueueFull, ReceivedQueue
from stream.receiver.server import StorageServer
from tests.fakes.dcmtk import SCANNER, call, cut_after, tool
from tests.samples.dicom_files import PATIENT, native, smooth

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = [Peer(SCANNER, "127.0.0.1"), Peer("ARCHIVE", "127.0.0.1")]


@pytest.fixture
def queue(tmp_path: Path) -> ReceivedQueue:
    return ReceivedQueue(tmp_path / "out")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def server(queue: ReceivedQueue, told: list[str]) -> Iterator[StorageServer]:
    tool("storescu")
    with StorageServer(title="PARTUM", host="127.0.0.1", port=0, peers=LOCAL, queue=queue, told=told.append) as running:
        yield running


def loop(folder: Path, seed: int = 0, **attributes: Any) -> Path:
    attributes = {"SOPInstanceUID": f"1.2.3.{seed}", "StudyInstanceUID": "1.2.3", **attributes}
    return native(folder / f"{seed}.dcm", smooth(4, 32, 32, seed=seed), **attributes)


@pytest.mark.parametrize(
    "text", ["SCANNER", "@host", "A@", "A@host:port", "TOO LONG FOR A TITLE@host", "A\\B@host", "A@host:104"]
)
def test_a_peer_that_is_none_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(OptionError, match="--peer"):
        Peer.parse(text, option="--peer", has_port=False)


def test_a_peer_has_a_title_and_a_place() -> None:
    assert Peer.parse("MY PACS@[::1]:104", option="--send-to", has_port=True) == Peer("MY PACS", "::1", 104)


def test_what_was_taken_in_is_there_once_and_is_removed_when_it_is_done_for_long(queue: ReceivedQueue) -> None:
    key = queue.put([b"head", b"pixels"])
    assert queue.put([b"headpix", b"els"]) == key
    assert list(queue.waiting()) == [key]
    assert queue.path_of(key).read_bytes() == b"headpixels"
    assert (queue.root.stat().st_mode & 0o777) == 0o700
    queue.finish(key)
    assert not list(queue.waiting())
    assert queue.empty(older_than_s=3600) == 0
    assert queue.empty(older_than_s=3600, now=datetime.now(UTC) + timedelta(hours=2)) == 1
    assert queue.put([b"headpixels"]) == key, "it was measured and answered: it is not taken in again"
    assert not list(queue.waiting())


def test_what_was_arriving_when_it_was_killed_is_nothing(queue: ReceivedQueue, tmp_path: Path) -> None:
    (queue.root / "arriving" / "half.dcm").write_bytes(b"half")
    again = ReceivedQueue(tmp_path / "out")
    assert not list(again.waiting())
    assert not list((again.root / "arriving").iterdir())


def test_known_peers_alone_are_served(server: StorageServer, told: list[str]) -> None:
    assert call("echoscu", server.port)[0] == 0
    code, said = call("echoscu", server.port, title="STRANGER")
    assert code
    assert "Calling AE Title Not Recognized" in said
    code, said = call("echoscu", server.port, called="SOMEBODY")
    assert code
    assert "Called AE Title Not Recognized" in said
    assert told == ["a peer at 127.0.0.1 was rejected: it is none of --peer"]


def test_a_known_title_at_another_address_is_rejected(queue: ReceivedQueue) -> None:
    elsewhere = [Peer(SCANNER, "192.0.2.1")]
    with StorageServer(
        title="PARTUM", host="127.0.0.1", port=0, peers=elsewhere, queue=queue, told=lambda line: None
    ) as server:
        assert call("echoscu", server.port)[0]


def test_a_full_disk_is_answered_by_its_status(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 0))
    _, said = call("storescu", server.port, loop(tmp_path))
    assert "OutOfResources" in said.replace(" ", "")
    assert not list(queue.waiting())
    assert any("No space left" in line for line in told)
    monkeypatch.undo()
    assert call("storescu", server.port, loop(tmp_path))[0] == 0
    assert len(list(queue.waiting())) == 1


def test_a_disk_that_fails_otherwise_is_an_error_too(queue: ReceivedQueue) -> None:
    shutil.rmtree(queue.root / "arriving")
    with pytest.raises(OutputError) as caught:
        queue.put([b"x"])
    assert not isinstance(caught.value, QueueFull)


def test_an_association_that_is_cut_leaves_nothing_and_ten_at_once_lose_nothing(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path
) -> None:
    big = native(tmp_path / "big.dcm", smooth(8, 128, 128, seed=99))
    for port in cut_after(60_000, server.port):
        call("storescu", port, big)
    assert not list(queue.waiting())
    files = [loop(tmp_path, seed) for seed in range(10)]
    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda file: call("storescu", server.port, file)[0], files))
    assert codes == [0] * 10
    assert len(list(queue.waiting())) == 10
    received = {pydicom.dcmread(queue.path_of(key)).PixelData for key in queue.waiting()}
    assert received == {pydicom.dcmread(file).PixelData for file in files}


def test_what_is_not_ultrasound_is_not_taken(server: StorageServer, queue: ReceivedQueue, tmp_path: Path) -> None:
    ct = loop(tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert call("storescu", server.port, ct)[0]
    assert not list(queue.waiting())


def test_no_log_holds_what_identifies_a_patient(
    server: StorageServer,
    tmp_path: Path,
    told: list[str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(0)
    call("storescu", server.port, loop(tmp_path))
    said = "".join([*told, caplog.text, *capfd.readouterr()])
    assert PATIENT not in said
    assert os.fspath(tmp_path) not in said
