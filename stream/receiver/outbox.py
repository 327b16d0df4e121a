"""Answers to what was received: built once, kept on disk, and sent until the archive has them.

    .queue/outbox/0f3a9c.../report.dcm          to be sent
                            segmentation.sent   the archive has it
                            commitment          the transaction by which it was asked to commit to them

An answer is built once and keeps its UIDs: whatever is killed when, what is sent again is the same object again. One
that was given up is gone; where its object comes again it is built anew, without what the archive has by then.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from stream.common.durable import sync_folder
from stream.common.errors import OutputError
from stream.common.text import place_of
from stream.receiver.arrival import FULL
from stream.receiver.associations import end_associations
from stream.receiver.queue import SENT, ObjectOutcome
from stream.receiver.sender import ArchiveAway, SendError, send

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
COMMIT_AGAIN_S = 60.0
"""Likewise after a start, where it was asked for before."""
LOOK_S = 5.0
"""Whether it is to be given up is looked at so often."""
STEP_S = 0.2
STOP_S = 2.0
"""An archive that does not answer keeps the end waiting so long; what it was being sent is sent by the next start."""
TO_SEND, COMMITMENT_FILE = ".dcm", "commitment"


@dataclass(slots=True)
class _Tries:
    """When something that failed is tried again, and what was said of it."""

    count: int = 0
    next_ns: int = 0
    said: str = ""

    def failed(self, error: object, now_ns: int) -> bool:
        """Puts the next try off; returns whether that is new, and to be told."""
        first_s, most_s = RETRY_S
        self.next_ns = now_ns + round(min(first_s * 2**self.count, most_s) * 1e9)
        self.count = min(self.count + 1, 32)
        is_new, self.said = str(error) != self.said, str(error)
        return is_new


@dataclass(slots=True)
class _Answer:
    """An answer that the archive does not have yet, or has not committed to."""

    results: Path
    tries: _Tries
    asked_ns: int | None = None
    """When the archive was asked to commit to it."""


class DiskFull(OutputError):
    """There is no room for an answer, and for no other one either."""


class Outbox:
    """Builds and sends answers in a thread of its own; a context manager.

    Args:
        received: the queue; an object is done when its answer is.
        to: the archive.
        title: our own AE title.
        build: makes the answers to an object, from its file and the folder of its results, in an empty folder.
        told: called with a line for people.
        clock: of further tries.
        noted: called with the key of an object, and what is to be said of its answer; from the outbox' thread.
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
        noted: Callable[[str, str], None] = lambda key, words: None,
    ) -> None:
        self._received, self._to, self._title, self._build = received, to, title, build
        self._told, self._clock, self._noted = told, clock, noted
        self._root = received.outbox
        self._where = f"{to.title}@{to.host}"
        self._root.mkdir(exist_ok=True)
        for left in self._root.iterdir():
            if left.name[0] == "." or received.is_done(left.name) or not received.path_of(left.name).exists():
                shutil.rmtree(left, ignore_errors=True)
        self._new: queue.SimpleQueue[tuple[str, Path]] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._open: dict[str, _Answer] = {}
        self._tries = _Tries()
        self._sending: Any = None
        self._is_here = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partum-outbox", daemon=True)

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive() and self._sending is not None:
            end_associations([self._sending])
            self._thread.join(STOP_S)

    def add(self, key: str, results: Path) -> None:
        """Answers a received object by the folder of its results. From any thread."""
        self._new.put((key, results))

    def committed(self, report: Any) -> None:
        """Takes an archive's report on a commitment. From any thread."""
        self._reports.put(report)

    def _run(self) -> None:
        while not self._stop.wait(STEP_S):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - no error ends this thread: without it nothing is answered
                self._failed(self._tries, f"no answer is sent now ({type(error).__name__} at {place_of(error)})")

    def step(self) -> None:
        """Takes what was added and reported, and sends what is to be sent when its time has come.

        An answer that the archive refuses waits by itself; an archive that is away, or a disk that is full, lets all
        wait.
        """
        with suppress(queue.Empty):
            while True:
                key, results = self._new.get_nowait()
                self._open[key] = _Answer(results, _Tries())
                if self._received.comes_again(key):  # somebody sees to it: an archive that was away is asked now
                    self._tries = _Tries()
        with suppress(queue.Empty):
            while True:
                self._hear(self._reports.get_nowait())
        if self._clock.now_ns() < self._tries.next_ns:
            return
        try:
            for key, answer in list(self._open.items()):
                if self._stop.is_set():
                    return
                if self._clock.now_ns() >= answer.tries.next_ns:
                    self._answer(key, answer)
        except (ArchiveAway, DiskFull) as error:
            self._is_here = False
            self._failed(self._tries, str(error))
            for key in list(self._open):
                self._give_up_if_overdue(key, str(error))
        else:
            self._tries = _Tries()

    def _failed(self, tries: _Tries, error: str) -> None:
        if tries.failed(error, self._clock.now_ns()):
            self._told(f"{error}; tried again later")

    def _put_off(self, key: str, answer: _Answer, error: str) -> None:
        """An answer waits by itself for its next try, or is given up."""
        if not self._give_up_if_overdue(key, error):
            self._failed(answer.tries, f"received {key[:16]}: {error}")

    def _give_up_if_overdue(self, key: str, error: str) -> bool:
        """What an archive does not take for as long as objects are kept is given up: no identifiers stay for it."""
        if not self._received.is_overdue(key):
            return False
        said = f"its answer was given up: {error}"
        self._noted(key, said)
        self._finish(key, ObjectOutcome.GIVEN_UP, is_removed=True)
        self._told(f"received {key[:16]}: {said}")
        return True

    def _answer(self, key: str, answer: _Answer) -> None:
        """Goes one step on with an answer; one that cannot go on is put off.

        Raises:
            ArchiveAway: the archive cannot be reached.
            DiskFull: the disk is.
        """
        try:
            self._go_on(key, answer)
        except ArchiveAway:
            raise
        except (SendError, OutputError, OSError) as error:
            if _is_full(error):
                raise DiskFull(str(error)) from error
            self._put_off(key, answer, str(error) if isinstance(error, PartumError) else f"{error.strerror}")
        except Exception as error:  # noqa: BLE001 - libraries' own, of what an archive says: the others go on
            self._put_off(key, answer, f"cannot be answered ({type(error).__name__} at {place_of(error)})")

    def _go_on(self, key: str, answer: _Answer) -> None:
        """Builds, sends, and asks to commit to an answer, what is to be done next of it.

        Raises:
            SendError: the archive did not take it.
            OutputError: the disk did not.
        """
        folder = self._root / key
        if not folder.is_dir() and not self._built(key, answer.results, folder):
            return
        to_send = sorted(folder.glob(f"*{TO_SEND}"))
        if (folder / COMMITMENT_FILE).exists() and not to_send:
            if self._give_up_if_overdue(key, f"{self._where} did not commit to it"):
                return
            if self._waits(answer):
                return
        asked = [*to_send, *sorted(folder.glob(f"*{SENT}"))]
        if not asked:
            self._finish(key)
            return
        sent = send(
            to_send,
            title=self._title,
            to=self._to,
            is_asked_to_commit=asked,
            committed=self.committed,
            opened=self._opened,
            is_probed=not self._is_here,
        )
        self._is_here = True
        for file in sent.stored:
            os.replace(file, file.with_suffix(SENT))
        if sent.transaction:
            (folder / COMMITMENT_FILE).write_text(sent.transaction)
            answer.asked_ns = self._clock.now_ns()
        sync_folder(folder)
        if sent.error:
            raise SendError(sent.error)
        if not sent.transaction:
            self._finish(key)

    def _opened(self, association: Any) -> None:
        self._sending = association

    def _waits(self, answer: _Answer) -> bool:
        """Whether a commitment was asked for not too long ago."""
        now_ns = self._clock.now_ns()
        if answer.asked_ns is None:  # by a run before, which may have ended when the report came
            answer.asked_ns = now_ns - round((COMMIT_S - COMMIT_AGAIN_S) * 1e9)
        is_early = now_ns < answer.asked_ns + round(COMMIT_S * 1e9)
        if is_early:
            answer.tries.next_ns = now_ns + round(LOOK_S * 1e9)
        return is_early

    def _built(self, key: str, results: Path, folder: Path) -> bool:
        """Builds an answer, without what the archive has of it; one that cannot be built is told, and given up."""
        work = self._root / f".{key}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            self._build(self._received.path_of(key), results, work)
        except Exception as error:  # libraries' own, too
            if isinstance(error, (OutputError, MemoryError)) or _is_of_the_system(error):
                raise
            said = str(error) if isinstance(error, PartumError) else f"{type(error).__name__} at {place_of(error)}"
            self._told(f"received {key[:16]}: is not answered ({said})")
            self._noted(key, f"it is not answered: {said}")
            shutil.rmtree(work, ignore_errors=True)
            self._finish(key, ObjectOutcome.GIVEN_UP)
            return False
        for name in self._received.sent_before(key):
            (work / f"{name}{TO_SEND}").unlink(missing_ok=True)
        sync_folder(work)
        os.replace(work, folder)
        return True

    def _finish(self, key: str, outcome: ObjectOutcome = ObjectOutcome.DONE, *, is_removed: bool = False) -> None:
        if outcome is ObjectOutcome.DONE and self._received.comes_again(key):
            self._noted(key, "it came again, and the archive has its answer")
        self._received.finish(key, outcome, is_removed=is_removed)
        self._open.pop(key, None)

    def _hear(self, report: Any) -> None:
        try:
            self._take_report(report)
        except Exception as error:  # noqa: BLE001 - what an archive says is not to be trusted
            self._told(f"{self._where}: its report cannot be read ({type(error).__name__})")

    def _take_report(self, report: Any) -> None:
        """An archive has committed to what it was sent, or to a part: the rest is sent again."""
        transaction = str(getattr(report, "TransactionUID", ""))
        failed = {str(item.ReferencedSOPInstanceUID) for item in getattr(report, "FailedSOPSequence", None) or ()}
        for key, answer in list(self._open.items()):
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
                self._put_off(key, answer, f"{self._where} did not commit to {len(failed)} objects")


def _is_full(error: BaseException) -> bool:
    """Whether a disk has no room: an error of it, or one of ours that tells it."""
    number = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    return number in FULL


def _is_of_the_system(error: Exception) -> bool:
    """Whether it is an error of disk or system that a library passed on, and none of ours that says what is wrong."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, PartumError)


def instance_of(file: Path) -> str:
    """The SOP instance UID of a file."""
    import pydicom

    return str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
