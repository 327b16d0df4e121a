"""Objects on their way to the disk: as large as they are, whole or not at all, and answered whatever they say."""

from __future__ import annotations

import gc
import io
import shutil
from collections import namedtuple
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from stream.common.errors import OutputError
from stream.receiver.arrival import QueueFull
from stream.receiver.associations import import_pynetdicom
from stream.receiver.peers import Peer
from stream.receiver.queue import ReceivedQueue
from stream.receiver.server import NOT_SUPPORTED, OUT_OF_RESOURCES, STORAGE_CLASSES, SUCCESS, StorageServer
from tests.fakes.dicom.archive import loop
from tests.fakes.dicom.dcmtk import SCANNER
from tests.samples.dicom_files import native

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server(queue: ReceivedQueue, told: list[str]) -> Iterator[StorageServer]:
    peers = [Peer(SCANNER, "127.0.0.1")]
    with StorageServer(title="PARTUM", host="127.0.0.1", port=0, peers=peers, queue=queue, told=told.append) as running:
        yield running


def arriving(queue: ReceivedQueue) -> list[Path]:
    return list((queue.root / "arriving").iterdir())


def sent(port: int, file: Path, *, sop_class: str = STORAGE_CLASSES[0], uid: str = "1.2.3") -> int | None:
    """The status that a file is answered with, which is said to be of a class and UID; None where it is aborted."""
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    entity = import_pynetdicom().AE(ae_title=SCANNER)
    entity.dimse_timeout = 20
    entity.add_requested_context(STORAGE_CLASSES[0], "1.2.840.10008.1.2")
    association = entity.associate("127.0.0.1", port, ae_title="PARTUM")
    request, dataset = C_STORE(), dcmread(file)
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = io.BytesIO(encode(dataset, True, True) or b"")
    association._reactor_checkpoint.clear()  # else its own thread takes the answer
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.abort()
    return None if answer is None else int(answer.Status)


def test_an_object_is_written_as_it_comes(server: StorageServer, queue: ReceivedQueue, tmp_path: Path) -> None:
    assert sent(server.port, loop(tmp_path)) == SUCCESS
    (key,) = queue.waiting()
    stored = dcmread(queue.path_of(key))
    assert stored.PixelData == dcmread(tmp_path / "0.dcm").PixelData
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    assert not arriving(queue)


def test_a_piece_of_an_object_is_not_held_in_memory(queue: ReceivedQueue) -> None:
    arrival = queue.arrival()
    arrival.write(bytes(1 << 20))
    arrival.write(bytes(1 << 20))
    (file,) = arriving(queue)
    assert file.stat().st_size >= 1 << 20
    del arrival
    gc.collect()
    assert not arriving(queue), "it was not kept"


def test_a_disk_that_fills_while_an_object_comes_is_answered_by_its_status(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    large = native(tmp_path / "large.dcm", np.zeros((9, 1448, 1448), np.uint8))
    free = [1 << 40]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 40, 0, free.pop() if free else 0))
    assert sent(server.port, large) == OUT_OF_RESOURCES
    assert not arriving(queue)
    assert not list(queue.waiting())
    assert any("No space left" in line for line in told)
    monkeypatch.undo()
    assert sent(server.port, large) == SUCCESS


def test_what_was_discarded_or_never_came_is_not_kept(queue: ReceivedQueue) -> None:
    arrival = queue.arrival()
    with pytest.raises(OutputError, match="nothing came"):
        arrival.keep()
    arrival = queue.arrival()
    arrival.write(b"object")
    arrival.discard()
    arrival.write(b"more of it")
    with pytest.raises(OutputError) as caught:
        arrival.keep()
    assert not isinstance(caught.value, QueueFull)
    assert not arriving(queue)


def test_an_object_of_another_kind_than_agreed_is_refused(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path
) -> None:
    for other in (STORAGE_CLASSES[1], "1.2.840.10008.5.1.4.1.1.2"):
        assert sent(server.port, loop(tmp_path), sop_class=other) == NOT_SUPPORTED
    assert not list(queue.waiting())
    assert not arriving(queue)


def test_an_object_without_a_name_is_not_waited_for(
    server: StorageServer, queue: ReceivedQueue, tmp_path: Path
) -> None:
    assert sent(server.port, loop(tmp_path), uid="") is None
    assert not list(queue.waiting())
    assert not arriving(queue)
    assert sent(server.port, loop(tmp_path)) == SUCCESS


@pytest.mark.parametrize("uid", ["1." + "2" * 62, "9" * 64])
def test_a_long_uid_is_taken_and_the_same_one_twice_with_other_content(
    uid: str, server: StorageServer, queue: ReceivedQueue, tmp_path: Path
) -> None:
    for seed in (1, 2, 1):
        assert sent(server.port, loop(tmp_path, seed), uid=uid) == SUCCESS
    assert len(list(queue.waiting())) == 2
