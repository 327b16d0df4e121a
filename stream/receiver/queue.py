"""What was received, on disk before it is acknowledged, until it has been measured and answered long enough ago.

    .queue/received/0f3a9c....dcm    an object, named by the hash of its content
    .queue/done/0f3a9c...            nothing more is to be done for it; the time of this file is when
    .queue/arriving/                 what is being written; emptied at the next start

Nothing outside this folder holds what identifies a patient, and only its owner can read it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.common.durable import sync_file
from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

FOLDER = ".queue"
SUFFIX = ".dcm"
SPARE_BYTES = 64 << 20
"""Of the disk, that are left for results; what does not fit beside them is refused."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class QueueFull(OutputError):
    """There is no room on the disk for another object."""


class ReceivedQueue:
    """The queue of a receiver; safe from several threads.

    Args:
        folder: of the receiver; the queue is in `.queue` there.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / FOLDER
        self._received, self._done, self._arriving = (self._root / name for name in ("received", "done", "arriving"))
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)
            shutil.rmtree(self._arriving, ignore_errors=True)
            for each in (self._received, self._done, self._arriving):
                each.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._root}: cannot be written ({error.strerror}); choose another --out") from error

    @property
    def root(self) -> Path:
        """The folder of the queue."""
        return self._root

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
        size = sum(len(part) for part in parts)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        key = digest.hexdigest()
        path = self.path_of(key)
        if path.exists() or self.is_done(key):
            return key
        arriving = self._arriving / f"{uuid.uuid4().hex}{SUFFIX}"
        try:
            if shutil.disk_usage(self._root).free < size + SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with arriving.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(arriving, path)
            sync_file(self._received)
        except OSError as error:
            with suppress(OSError):
                arriving.unlink(missing_ok=True)
            kind = QueueFull if error.errno in FULL else OutputError
            raise kind(f"{self._root}: cannot be written ({error.strerror}); free space there") from error
        return key

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

    def is_done(self, key: str) -> bool:
        """Whether nothing more is to be done for an object."""
        return (self._done / key).exists()

    def finish(self, key: str) -> None:
        """Nothing more is to be done for an object.

        Raises:
            OutputError: that cannot be noted.
        """
        try:
            (self._done / key).touch(mode=0o600)
            sync_file(self._done)
        except OSError as error:
            raise OutputError(f"{self._done}: cannot be written ({error.strerror}); free space there") from error

    def empty(self, *, older_than_s: float, now: datetime | None = None) -> int:
        """Removes the objects that are done for so long; that they were is still known. Returns how many."""
        now = now or datetime.now(UTC)
        count = 0
        for mark in self._done.iterdir():
            with suppress(OSError):
                path = self.path_of(mark.name)
                age_s = now.timestamp() - mark.stat().st_mtime
                if age_s > older_than_s and path.exists():
                    path.unlink()
                    count += 1
        return count
