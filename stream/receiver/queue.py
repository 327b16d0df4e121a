"""What was received, on disk before it is acknowledged, until it has been measured and answered long enough ago.

    .queue/received/0f3a9c....dcm    an object, named by the hash of its content
    .queue/failing/0f3a9c...         something is still to be done for it, and was first tried at the time of this file
    .queue/done/0f3a9c...            nothing more is to be done for it; the time of this file is when
    .queue/arriving/                 what is being written; emptied at the next start

Nothing outside this folder holds what identifies a patient, and only its owner can read it.
"""

from __future__ import annotations

import os
import queue
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.common.durable import sync_file
from stream.common.errors import OutputError
from stream.receiver.arrival import SUFFIX, Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

FOLDER, OUTBOX = ".queue", "outbox"
LEAST_TRY_S = 60.0
"""However short the time that objects are kept for: what fails is tried for so long before it is given up."""


class ReceivedQueue:
    """The queue of a receiver; safe from several threads.

    Args:
        folder: of the receiver; the queue is in `.queue` there.
        keep_s: an object is removed so long after it was done, and one for which something fails is given up so long
            after the first try.
        now: the time on the wall, which outlives a restart in the times of files.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(
        self, folder: Path, *, keep_s: float = 0.0, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._root, self._keep_s, self._now = folder / FOLDER, keep_s, now
        names = "received", "failing", "done", "arriving"
        self._received, self._failing, self._done, self._arriving = (self._root / name for name in names)
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._failing_since: dict[str, float] = {}
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
        """Makes a file that is whole and on the disk one of the objects.

        Raises:
            OSError: the disk does not take it.
        """
        path = self.path_of(key)
        if self.is_done(key) or path.exists():
            arriving.unlink()
        else:
            os.replace(arriving, path)
        sync_file(self._received)
        if not self.is_done(key):
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
        """The keys of what has come since the last call, at the first one with those that were there; some come twice.

        There is no look at the disk in it: thousands of objects may lie there.
        """
        with suppress(queue.Empty):
            while True:
                yield self._new.get_nowait()

    def is_done(self, key: str) -> bool:
        """Whether nothing more is to be done for an object."""
        return (self._done / key).exists()

    def is_overdue(self, key: str) -> bool:
        """Asked after a try that failed: whether the first one was so long ago that the object is to be given up."""
        mark, now_s = self._failing / key, self._now().timestamp()
        age_s = now_s - self._failing_since.setdefault(key, now_s)
        with suppress(OSError):  # a full disk may have no room for the mark
            if not mark.exists():
                _stamp(mark, self._now())
            age_s = max(age_s, self._age_s(mark))
        return age_s > max(self._keep_s, LEAST_TRY_S)

    def finish(self, key: str, *, is_given_up: bool = False) -> None:
        """Nothing more is to be done for an object; one that was given up has been kept for long enough.

        Raises:
            OutputError: that cannot be noted.
        """
        self._failing_since.pop(key, None)
        if is_given_up:
            self._remove(key)
        try:
            _stamp(self._done / key, self._now())
            sync_file(self._done)
        except OSError as error:
            raise OutputError(f"{self._done}: cannot be written ({error.strerror}); free space there") from error
        with suppress(OSError):
            (self._failing / key).unlink(missing_ok=True)

    def empty(self) -> int:
        """Removes the objects that are done for long enough; that they were is still known. Returns how many."""
        count = 0
        with suppress(OSError):
            for path in list(self._received.iterdir()):
                key = path.name.removesuffix(SUFFIX)
                with suppress(OSError):
                    if self._age_s(self._done / key) > self._keep_s:
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
