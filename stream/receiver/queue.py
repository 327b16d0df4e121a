"""What was received, on disk before it is acknowledged, until it has been measured and answered long enough ago.

    .queue/received/0f3a9c....dcm    an object, named by the hash of its content
    .queue/failing/0f3a9c...         something is still to be done for it, and was first tried at the time of this file
    .queue/done/0f3a9c...            nothing more is to be done for it, and how it ended; the time of this file is when
    .queue/again/0f3a9c...           it had failed, came again, and is tried once more: how it had ended
    .queue/arriving/                 what is being written; emptied at the next start

Nothing outside this folder holds what identifies a patient, and only its owner can read it.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from importlib import metadata
from typing import TYPE_CHECKING

from stream.common.clock import MonotonicClock
from stream.common.durable import sync_file
from stream.common.errors import OutputError
from stream.receiver.arrival import SUFFIX, Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from stream.common.clock import Clock

FOLDER, OUTBOX = ".queue", "outbox"
SENT = ".sent"
"""Suffix of an answer that the archive has."""
AHEAD_S = 60.0
"""What was done later than now by more than this counts from now."""
LEAST_TRY_S = 60.0
"""However short the time that objects are kept for: what fails is tried for so long before it is given up."""


class ObjectOutcome(Enum):
    """How an object ended, which says what becomes of it when it comes again."""

    DONE = "done"
    """Nothing is left to be done, and never will be."""
    NOT_ANSWERED = "not answered"
    """It was measured where no archive was named: it is answered when it comes again and there is one."""
    NOT_MEASURABLE = "not measurable"
    """This version finds its content at fault: another version tries it again."""
    GIVEN_UP = "given up"
    """The machine or the archive failed for too long: it is tried again."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is kept of an object that ended.

    Attributes:
        outcome: how.
        sent: names of the answers that the archive has; they are not sent again.
        version: that says so.
    """

    outcome: ObjectOutcome = ObjectOutcome.DONE
    sent: tuple[str, ...] = ()
    version: str = ""

    def is_tried_again(self, *, is_answered: bool) -> bool:
        """Whether the object is taken in anew where it comes again; `is_answered` where there is an archive."""
        if self.outcome is ObjectOutcome.NOT_MEASURABLE:
            return self.version != metadata.version("partum")
        return self.outcome is ObjectOutcome.GIVEN_UP or (self.outcome is ObjectOutcome.NOT_ANSWERED and is_answered)

    def to_bytes(self) -> bytes:
        """As a file; of one that is done it is empty."""
        if self == Ending():
            return b""
        return json.dumps({"outcome": self.outcome.value, "sent": self.sent, "version": self.version}).encode()

    @classmethod
    def of(cls, mark: Path) -> Ending | None:
        """What a file says, None where there is none. One that cannot be read says that it is done."""
        try:
            content = mark.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            return cls()
        with suppress(ValueError, LookupError, TypeError):
            facts = json.loads(content)
            return cls(ObjectOutcome(facts["outcome"]), tuple(map(str, facts["sent"])), str(facts["version"]))
        return cls()


class ReceivedQueue:
    """The queue of a receiver; safe from several threads.

    Args:
        folder: of the receiver; the queue is in `.queue` there.
        keep_s: an object is removed so long after it was done, and one for which something fails is given up so long
            after the first try.
        is_answered: whether there is an archive that is sent answers.
        now: the time on the wall, which outlives a restart in the times of files.
        clock: by which time passes between restarts, however the time on the wall is set.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_s: float = 0.0,
        is_answered: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Clock | None = None,
    ) -> None:
        self._root, self._keep_s, self._is_answered, self._now = folder / FOLDER, keep_s, is_answered, now
        names = "received", "failing", "done", "again", "arriving"
        self._received, self._failing, self._done, self._again, self._arriving = (self._root / name for name in names)
        self._ends = threading.Lock()  # an object that ends, and comes again at that moment
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._clock, self._failing_since_ns = clock or MonotonicClock(), dict[str, int]()
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)
            shutil.rmtree(self._arriving, ignore_errors=True)
            for name in names:
                (self._root / name).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._root}: cannot be written ({error.strerror}); choose another --out") from error
        for key in self.waiting():
            self._new.put(key)

    @property
    def root(self) -> Path:
        """The folder of the queue."""
        return self._root

    @property
    def outbox(self) -> Path:
        """The folder of the answers, each in a folder by the key of its object."""
        return self._root / OUTBOX

    def arrival(self) -> Arrival:
        """An object that is about to come."""
        return Arrival(self._arriving, self._kept)

    def put(self, parts: Sequence[bytes | memoryview]) -> str:
        """Takes an object in; when this returns it outlives a loss of power. One that is there already is left.

        Args:
            parts: of the file.

        Returns:
            Its key: the hash of its content.

        Raises:
            QueueFull: there is no room for it.
            OutputError: it cannot be written.
        """
        arrival = self.arrival()
        for part in parts:
            arrival.write(part)
        return arrival.keep()

    def _kept(self, arriving: Path, key: str) -> None:
        """Makes a file that is whole and on the disk one of the objects, where something is to be done for it.

        Raises:
            OSError: the disk does not take it.
        """
        path = self.path_of(key)
        with self._ends:
            ending = Ending.of(self._done / key)
            is_again = ending is not None and ending.is_tried_again(is_answered=self._is_answered)
            is_new = is_again or (ending is None and not path.exists())
            if is_new:
                os.replace(arriving, path)
                sync_file(self._received)  # before it is known as one to be tried again: it must be there then
            else:
                arriving.unlink()
            if is_again:
                self._forget_failing(key)
                os.replace(self._done / key, self._again / key)
                sync_file(self._again)
        sync_file(self._received)  # also where another association brought it at this moment
        if is_new:
            self._new.put(key)

    def path_of(self, key: str) -> Path:
        """The file of an object."""
        return self._received / f"{key}{SUFFIX}"

    def waiting(self) -> Iterable[str]:
        """The keys of the objects that something is to be done for, the oldest first."""
        try:
            with os.scandir(self._received) as entries:
                found = [(entry.stat().st_mtime_ns, entry.name.removesuffix(SUFFIX)) for entry in entries]
        except OSError:
            return []
        return [key for _, key in sorted(found) if not self.is_done(key)]

    def new(self) -> Iterable[str]:
        """The keys of what has come since the last call, at the first one with those that were there; each once.

        One that had failed and was sent again comes again. There is no look at the disk in it: thousands of objects may
        lie there.
        """
        with suppress(queue.Empty):
            while True:
                yield self._new.get_nowait()

    def is_done(self, key: str) -> bool:
        """Whether nothing more is to be done for an object."""
        return (self._done / key).exists()

    def comes_again(self, key: str) -> bool:
        """Whether an object had failed, was sent again, and is tried once more."""
        return (self._again / key).exists()

    def sent_before(self, key: str) -> tuple[str, ...]:
        """The names of the answers to an object that comes again which the archive has from the time before."""
        ending = Ending.of(self._again / key)
        return ending.sent if ending else ()

    def is_overdue(self, key: str) -> bool:
        """Asked after a try that failed: whether the first one was so long ago that the object is to be given up."""
        mark, now_ns, before_s = self._failing / key, self._clock.now_ns(), 0.0
        with suppress(OSError):  # a full disk may have no room for the mark
            if not mark.exists():
                _stamp(mark, self._now())
            before_s = max(0.0, self._age_s(mark))
        since_ns = self._failing_since_ns.setdefault(key, now_ns - round(1e9 * before_s))
        return now_ns - since_ns > 1e9 * max(self._keep_s, LEAST_TRY_S)

    def finish(self, key: str, outcome: ObjectOutcome = ObjectOutcome.DONE, *, is_removed: bool = False) -> None:
        """Nothing more is to be done for an object, until it comes again where that would help. Its answers go.

        Args:
            key: of the object.
            outcome: how it ended.
            is_removed: it was tried for as long as objects are kept, and goes at once.

        Raises:
            OutputError: that cannot be noted.
        """
        version = metadata.version("partum") if outcome is ObjectOutcome.NOT_MEASURABLE else ""
        names = {*self.sent_before(key), *(file.stem for file in (self.outbox / key).glob(f"*{SENT}"))}
        sent = tuple(sorted(names)) if outcome in (ObjectOutcome.GIVEN_UP, ObjectOutcome.NOT_ANSWERED) else ()
        content = Ending(outcome, sent, version).to_bytes()
        with self._ends:
            try:
                try:
                    self._note_done(key, content)
                except OSError:
                    if not is_removed:
                        raise
                    self._remove(key)  # which makes room for the note
                    self._note_done(key, content)
            except OSError as error:
                raise OutputError(f"{self._done}: cannot be written ({error.strerror}); free space there") from error
            if is_removed:
                self._remove(key)
            shutil.rmtree(self.outbox / key, ignore_errors=True)
            self._forget_failing(key)
            with suppress(OSError):
                (self._again / key).unlink(missing_ok=True)

    def _note_done(self, key: str, content: bytes) -> None:
        """Writes the mark, whole whatever is killed when."""
        partial = self._arriving / f"{key}.ending"
        partial.touch(mode=0o600)
        partial.write_bytes(content)
        sync_file(partial)
        _stamp(partial, self._now())
        os.replace(partial, self._done / key)
        sync_file(self._done)

    def _forget_failing(self, key: str) -> None:
        self._failing_since_ns.pop(key, None)
        with suppress(OSError):
            (self._failing / key).unlink(missing_ok=True)

    def empty(self) -> int:
        """Removes the objects that are done for long enough; that they were is still known. Returns how many."""
        count = 0
        with suppress(OSError):
            for path in list(self._received.iterdir()):
                key = path.name.removesuffix(SUFFIX)
                with suppress(OSError), self._ends:
                    age_s = self._age_s(self._done / key)
                    if age_s < -AHEAD_S:  # by a clock that was wrong then
                        _stamp(self._done / key, self._now())
                    elif age_s > self._keep_s:
                        self._remove(key)
                        count += 1
        return count

    def _age_s(self, mark: Path) -> float:
        return self._now().timestamp() - mark.stat().st_mtime

    def _remove(self, key: str) -> None:
        """Removes an object, and its answers where there are some."""
        shutil.rmtree(self.outbox / key, ignore_errors=True)
        with suppress(OSError):
            self.path_of(key).unlink(missing_ok=True)


def _stamp(mark: Path, now: datetime) -> None:
    mark.touch(mode=0o600)
    os.utime(mark, (now.timestamp(), now.timestamp()))
