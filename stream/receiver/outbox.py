"""Answers to what was received: built once, kept on disk, and sent until the archive has them.

    .queue/outbox/0f3a9c.../report.dcm          to be sent
                            segmentation.sent   the archive has it
                            commitment          the transaction by which it was asked to commit to them

An answer is built once and keeps its UIDs: whatever is killed when, what is sent again is the same object again.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from stream.common.durable import sync_folder
from stream.common.errors import OutputError
from stream.receiver.sender import SendError, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.common.clock import Clock
    from stream.receiver.peers import Peer
    from stream.receiver.queue import ReceivedQueue

RETRY_S = (5.0, 300.0)
"""An archive that does not take an answer is asked again after so long, then after twice as long, up to this."""
COMMIT_S = 3600.0
"""A commitment that nothing was heard of for so long is asked for again."""
TO_SEND, SENT, COMMITMENT_FILE = ".dcm", ".sent", "commitment"


class Outbox:
    """Builds and sends answers in a thread of its own; a context manager.

    Args:
        received: the queue; an object is done when its answer is.
        to: the archive.
        title: our own AE title.
        build: makes the answers to an object, from its file and the folder of its results, in an empty folder.
        told: called with a line for people.
        clock: of further tries.
    """

    def __init__(
        self,
        received: ReceivedQueue,
        *,
        to: Peer,
        title: str,
        build: Callable[[Path, Path, Path], object],
        told: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._received, self._to, self._title, self._build = received, to, title, build
        self._told, self._clock = told, clock
        self._root = received.root / "outbox"
        self._root.mkdir(exist_ok=True)
        for left in self._root.iterdir():
            if left.name[0] == "." or received.is_done(left.name):
                shutil.rmtree(left, ignore_errors=True)
        self._new: queue.SimpleQueue[tuple[str, Path] | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._open: dict[str, Path] = {}
        self._asked_ns: dict[str, int] = {}
        self._tries = 0
        self._next_ns = clock.now_ns()
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="partum-outbox")

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._new.put(None)
        self._thread.join()

    def add(self, key: str, results: Path) -> None:
        """Answers a received object by the folder of its results. From any thread."""
        self._new.put((key, results))

    def committed(self, report: Any) -> None:
        """Takes an archive's report on a commitment. From any thread."""
        self._reports.put(report)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                while (new := self._new.get(timeout=0.2)) is not None:
                    self._open[new[0]] = new[1]
            self.step()

    def step(self) -> None:
        """Takes reports, and sends what is to be sent when its time has come."""
        with suppress(queue.Empty):
            while True:
                self._take_report(self._reports.get_nowait())
        if self._clock.now_ns() < self._next_ns:
            return
        try:
            for key, results in list(self._open.items()):
                if self._stop.is_set():
                    return
                self._answer(key, results)
        except (SendError, OutputError, OSError) as error:
            first_s, most_s = RETRY_S
            wait_s = min(first_s * 2**self._tries, most_s)
            self._tries += 1
            self._next_ns = self._clock.now_ns() + round(wait_s * 1e9)
            if str(error) != self._said:
                self._told(f"{error}; tried again later")
            self._said = str(error)
        else:
            self._tries, self._said = 0, ""

    def _answer(self, key: str, results: Path) -> None:
        """Goes one step on with an answer.

        Raises:
            SendError: the archive did not take it.
            OutputError: the disk did not.
        """
        folder = self._root / key
        if not folder.is_dir() and not self._built(key, results, folder):
            return
        to_send = sorted(folder.glob(f"*{TO_SEND}"))
        waits = (folder / COMMITMENT_FILE).exists() and not to_send
        if waits and self._clock.now_ns() - self._asked_ns.setdefault(key, self._clock.now_ns()) < COMMIT_S * 1e9:
            return
        asked = [*to_send, *sorted(folder.glob(f"*{SENT}"))]
        if not asked:
            self._finish(key)
            return
        sent = send(to_send, title=self._title, to=self._to, is_asked_to_commit=asked, committed=self.committed)
        if sent.transaction:  # noted before anything counts as sent: the report may be here at once
            (folder / COMMITMENT_FILE).write_text(sent.transaction)
            self._asked_ns[key] = self._clock.now_ns()
        for file in sent.stored:
            os.replace(file, file.with_suffix(SENT))
        sync_folder(folder)
        if sent.error:
            raise SendError(sent.error)
        if not sent.transaction:
            self._finish(key)

    def _built(self, key: str, results: Path, folder: Path) -> bool:
        """Builds an answer; one that cannot be built is told, and its object is done."""
        work = self._root / f".{key}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            self._build(self._received.path_of(key), results, work)
        except OutputError:
            raise
        except Exception as error:  # noqa: BLE001 - libraries' own: it would come again, and the others wait
            said = str(error) if isinstance(error, PartumError) else f"{type(error).__name__}, a defect"
            self._told(f"received {key[:16]}: is not answered ({said})")
            shutil.rmtree(work, ignore_errors=True)
            self._finish(key)
            return False
        sync_folder(work)
        os.replace(work, folder)
        return True

    def _finish(self, key: str) -> None:
        self._received.finish(key)
        self._open.pop(key, None)
        shutil.rmtree(self._root / key, ignore_errors=True)

    def _take_report(self, report: Any) -> None:
        """An archive has committed to what it was sent, or to a part: the rest is sent again."""
        transaction = str(getattr(report, "TransactionUID", ""))
        failed = {str(item.ReferencedSOPInstanceUID) for item in getattr(report, "FailedSOPSequence", None) or ()}
        for key in list(self._open):
            folder = self._root / key
            with suppress(OSError):
                if (folder / COMMITMENT_FILE).read_text() != transaction:
                    continue
                if not failed:
                    self._finish(key)
                    return
                for file in folder.glob(f"*{SENT}"):
                    if instance_of(file) in failed:
                        os.replace(file, file.with_suffix(TO_SEND))
                (folder / COMMITMENT_FILE).unlink()
                self._told(f"{self._to.title}@{self._to.host}: did not commit to {len(failed)} objects; sent again")


def instance_of(file: Path) -> str:
    """The SOP instance UID of a file."""
    import pydicom

    return str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
