"""The queue of a receiver, its server, and its answers, in one process."""

from __future__ import annotations

import os
import queue as queue_module
import shutil
import subprocess
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from pydicom import Dataset

from stream.common.clock import ManualClock
from stream.common.errors import OutputError
from stream.receiver.arrival import QueueFull
from stream.receiver.associations import import_pynetdicom
from stream.receiver.outbox import Outbox
from stream.receiver.peers import Peer
from stream.receiver.queue import ReceivedQueue
from stream.receiver.server import IDLE_S, STORAGE_CLASSES, TRANSFER_SYNTAXES, StorageServer
from tests.fakes.dicom.archive import CommittingArchive, answers, loop
from tests.fakes.dicom.dcmtk import SCANNER, call, cut_after, free_port, tool
from tests.samples.dicom_files import PATIENT, native, smooth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCAL = [Peer(SCANNER, "127.0.0.1"), Peer("ARCHIVE", "127.0.0.1")]


@pytest.fixture
def server(queue: ReceivedQueue, told: list[str]) -> Iterator[StorageServer]:
    tool("storescu")
    with StorageServer(title="PARTUM", host="127.0.0.1", port=0, peers=LOCAL, queue=queue, told=told.append) as running:
        yield running


def test_what_was_taken_in_is_there_once(queue: ReceivedQueue) -> None:
    key = queue.put([b"head", b"pixels"])
    assert queue.put([b"headpix", b"els"]) == key
    assert list(queue.waiting()) == [key]
    assert queue.path_of(key).read_bytes() == b"headpixels"
    assert (queue.root.stat().st_mode & 0o777) == 0o700
    queue.finish(key)
    assert not list(queue.waiting())
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
    assert told == ["a peer at 127.0.0.1 was rejected: no --peer has its title"], "once: others may follow it"


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
    with cut_after(60_000, server.port) as port:
        call("storescu", port, big)
    assert not list(queue.waiting())
    files = [loop(tmp_path, seed) for seed in range(10)]
    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda file: call("storescu", server.port, file)[0], files))
    assert codes == [0] * 10
    assert len(list(queue.waiting())) == 10
    received = {pydicom.dcmread(queue.path_of(key)).PixelData for key in queue.waiting()}
    assert received == {pydicom.dcmread(file).PixelData for file in files}


def test_ultrasound_is_taken_as_every_scanner_sends_it(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path
) -> None:
    net = import_pynetdicom()
    file = loop(tmp_path)
    for storage_class in STORAGE_CLASSES:
        entity = net.AE(ae_title=SCANNER)
        for syntax in TRANSFER_SYNTAXES:
            entity.add_requested_context(storage_class, syntax)
        association = entity.associate("127.0.0.1", server.port, ae_title="PARTUM")
        assert {context.transfer_syntax[0] for context in association.accepted_contexts} == set(TRANSFER_SYNTAXES)
        dataset = pydicom.dcmread(file)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(storage_class)
        assert association.send_c_store(dataset).Status == 0, storage_class
        association.release()
    assert len(list(queue.waiting())) == len(STORAGE_CLASSES)


def test_what_is_not_ultrasound_is_not_taken(server: StorageServer, queue: ReceivedQueue, tmp_path: Path) -> None:
    ct = loop(tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert call("storescu", server.port, ct)[0]
    assert not list(queue.waiting())


def outbox_to(
    port: int, queue: ReceivedQueue, told: list[str], clock: ManualClock, build: Callable[..., None] = answers
) -> Outbox:
    to = Peer("ARCHIVE", "127.0.0.1", port)
    return Outbox(queue, to=to, title="PARTUM", build=build, told=told.append, clock=clock)


def test_answers_reach_an_archive_once_it_is_there_and_once(
    queue: ReceivedQueue, results: Path, told: list[str], tmp_path: Path
) -> None:
    port, clock, archive = free_port(), ManualClock(), tmp_path / "archive"
    archive.mkdir()
    outbox = outbox_to(port, queue, told, clock)
    key = queue.put([b"object"])
    outbox.add(key, results)
    outbox.step()
    assert "does not answer" in told[0]
    assert not queue.is_done(key)
    command = [tool("storescp"), "-aet", "ARCHIVE", "-od", str(archive), "-uf", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        outbox = outbox_to(port, queue, told, clock)  # killed and started anew in between
        outbox.add(key, results)
        give_up = time.monotonic() + 30
        while not queue.is_done(key):
            assert time.monotonic() < give_up, told
            clock.advance(400_000_000_000)
            outbox.step()
        outbox.step()
        process.kill()
    assert len(list(archive.iterdir())) == 2
    assert not list((queue.root / "outbox").iterdir())


def test_an_object_is_done_when_the_archive_has_committed_to_its_answers(
    queue: ReceivedQueue, results: Path, told: list[str]
) -> None:
    reports: queue_module.SimpleQueue[Any] = queue_module.SimpleQueue()
    clock = ManualClock()
    with StorageServer(
        title="PARTUM",
        host="127.0.0.1",
        port=0,
        peers=LOCAL,
        queue=queue,
        told=told.append,
        committed=reports.put,
    ) as server:
        archive = CommittingArchive(server.port)
        outbox = outbox_to(archive.port, queue, told, clock)
        key = queue.put([b"object"])
        outbox.add(key, results)
        outbox.step()
        assert len(archive.stored) == 2
        assert len(archive.asked[0].ReferencedSOPSequence) == 2
        outbox.step()
        assert len(archive.asked) == 1, "it waits for the report"
        archive.report(fails=archive.stored[1])
        outbox.committed(reports.get(timeout=10))
        outbox.step()
        assert len(archive.stored) == 2, "an archive that commits to nothing is not asked without pause"
        clock.advance(6_000_000_000)
        outbox.step()
        assert archive.stored[2:] == archive.stored[1:2]
        assert not queue.is_done(key)
        archive.report()
        outbox.committed(reports.get(timeout=10))
        outbox.step()
        archive.server.shutdown()
    assert queue.is_done(key)
    assert len(archive.stored) == 3


def test_an_answer_that_is_refused_or_cannot_be_written_keeps_no_other_waiting(
    queue: ReceivedQueue, results: Path, told: list[str], tmp_path: Path
) -> None:
    clock, archive, is_full = ManualClock(), CommittingArchive(0), [True]
    others = shutil.copytree(results, tmp_path / "others")
    for seed, name in enumerate(("report", "segmentation"), 60):
        loop(others, seed).rename(others / f"{name}.dcm")

    def build(original: Path, made: Path, folder: Path) -> None:
        if is_full[0]:
            raise OSError(28, "No space left on device")
        answers(original, made, folder)

    outbox = outbox_to(archive.port, queue, told, clock, build)
    bad = Dataset()
    bad.FailedSOPSequence = [Dataset()]
    outbox.committed(bad)
    archive.refuses = {"1.2.3.50"}
    refused, taken = (queue.put([bytes([number])]) for number in range(2))
    outbox.add(refused, results)
    outbox.add(taken, others)
    outbox.step()
    assert not archive.stored
    assert any("No space left" in line for line in told)
    is_full[0] = False
    for _ in range(4):
        clock.advance(6_000_000_000)
        outbox.step()
    assert sorted(archive.stored) == ["1.2.3.51", "1.2.3.60", "1.2.3.61"], "an archive that takes implicit VR alone"
    (line,) = (line for line in told if "C000" in line)
    assert line.startswith(f"received {refused[:16]}: ")
    archive.refuses.clear()
    clock.advance(400_000_000_000)
    outbox.step()
    assert archive.stored[3:] == ["1.2.3.50"]
    archive.server.shutdown()


def test_an_archive_that_says_nothing_does_not_keep_the_end_waiting(
    queue: ReceivedQueue, results: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.receiver.outbox.STOP_S", 0.01)
    archive = CommittingArchive(0)
    archive.may_answer.clear()
    with outbox_to(archive.port, queue, told, ManualClock()) as outbox:
        outbox.add(queue.put([b"object"]), results)
        assert archive.is_called.wait(30)
        started = time.monotonic()
    assert time.monotonic() - started < IDLE_S / 4
    archive.may_answer.set()
    outbox._thread.join(30)
    assert not outbox._thread.is_alive()
    archive.server.shutdown()


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
