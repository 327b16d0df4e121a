"""An archive that offers storage commitment, by pynetdicom; runs in this process, or as one of its own:

    python -m tests.fakes.dicom.archive PORT RECEIVER_PORT FOLDER

which writes a line into FOLDER/log for each object stored, and commits to what it is asked for.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydicom import Dataset

from stream.receiver.associations import import_pynetdicom
from stream.receiver.sender import IMPLICIT
from stream.receiver.server import COMMITMENT
from tests.samples.dicom_files import native, smooth


def loop(folder: Path, seed: int = 0, **attributes: Any) -> Path:
    attributes = {"SOPInstanceUID": f"1.2.3.{seed}", "StudyInstanceUID": "1.2.3", **attributes}
    return native(folder / f"{seed}.dcm", smooth(4, 32, 32, seed=seed), **attributes)


def answers(original: Path, results: Path, folder: Path) -> None:
    for name in ("report", "segmentation"):
        shutil.copy(results / f"{name}.dcm", folder)


class CommittingArchive:
    """An archive that offers storage commitment, and reports over an association of its own.

    Args:
        receiver: the port of the node that it reports to.
        port: to listen on.
        takes_all: all kinds of objects in all transfer syntaxes; else loops of ultrasound in implicit VR alone.
    """

    def __init__(self, receiver: int, port: int = 0, *, takes_all: bool = False) -> None:
        self._net = import_pynetdicom()
        self._receiver = receiver
        self.stored: list[str] = []
        self.asked: list[Dataset] = []
        self.refuses: set[str] = set()
        self.status = 0
        self.is_called, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()
        entity = self._net.AE(ae_title="ARCHIVE")
        if takes_all:
            entity.supported_contexts = self._net.AllStoragePresentationContexts
        else:
            entity.add_supported_context("1.2.840.10008.5.1.4.1.1.3.1", IMPLICIT)
        entity.add_supported_context(COMMITMENT)
        handlers = [(self._net.evt.EVT_C_STORE, self._store), (self._net.evt.EVT_N_ACTION, self._action)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.port = int(self.server.server_address[1])

    def _store(self, event: Any) -> int:
        self.is_called.set()
        self.may_answer.wait(30)
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.status or uid in self.refuses:
            return self.status or 0xC000
        self.stored.append(uid)
        return 0

    def _action(self, event: Any) -> tuple[int, None]:
        self.asked.append(event.action_information)
        return 0, None

    def report(self, *, fails: str = "") -> None:
        """Says of the last request what it commits to."""
        report = Dataset()
        report.TransactionUID = self.asked[-1].TransactionUID
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", fails
        item.FailureReason = 0x0112
        if fails:
            report.FailedSOPSequence = [item]
        entity = self._net.AE(ae_title="ARCHIVE")
        entity.add_requested_context(COMMITMENT)
        role = self._net.build_role(COMMITMENT, scp_role=True)
        association = entity.associate("127.0.0.1", self._receiver, ae_title="PARTUM", ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(report, 2 if fails else 1, COMMITMENT, "1.2.840.10008.1.20.1.1")
        assert status.Status == 0
        association.release()


def main(port: str, receiver: str, folder: str) -> None:
    """Runs an archive that commits to all it is asked for, until this process is ended."""
    log = Path(folder) / "log"
    archive = CommittingArchive(int(receiver), int(port), takes_all=True)
    said = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for uid in archive.stored[said:]:
            with log.open("a") as file:
                file.write(f"{uid}\n")
            said += 1
        while archive.asked:
            with suppress(AssertionError):  # the node is away: it will ask anew
                archive.report()
            archive.asked.pop()
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
