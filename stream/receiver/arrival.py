"""An object on its way into the queue: written to the disk as it comes, however large it is."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
import weakref
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIX = ".dcm"
SPARE_BYTES = 64 << 20
"""Of the disk, that are left for results; what does not fit beside them is refused."""
_LOOK_BYTES = 16 << 20
"""The room on the disk is looked at anew after so many."""
_BUFFER_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class QueueFull(OutputError):
    """There is no room on the disk for another object."""


class Arrival:
    """An object that is coming. What keeps it from being written is raised at its end, so that its sender is told.

    One that is not kept is removed with this object, and by `discard`.

    Args:
        folder: for what is not whole.
        kept: gives a file that is whole its name, by the hash of its content; raises OSError.
    """

    def __init__(self, folder: Path, kept: Callable[[Path, str], None]) -> None:
        self._folder, self._kept = folder, kept
        self._path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        self._digest, self._size, self._looked = hashlib.sha256(), 0, -_LOOK_BYTES
        self._file: IO[bytes] | None = None
        self._error: OSError | None = None
        self._removal: weakref.finalize[[IO[bytes], Path], Arrival] | None = None

    def discard(self) -> None:
        """Removes what has come; what comes then is dropped."""
        if self._removal:
            self._removal()

    def write(self, data: bytes | memoryview) -> None:
        """Adds what has come; behind an error it is dropped."""
        if self._error:
            return
        try:
            if self._size - self._looked >= _LOOK_BYTES:
                self._look()
            if self._file is None:
                self._file = self._path.open("wb", buffering=_BUFFER_BYTES)
                self._removal = weakref.finalize(self, _removed, self._file, self._path)
            self._file.write(data)
        except (OSError, ValueError) as error:  # ValueError: it was discarded meanwhile
            self._error = error if isinstance(error, OSError) else OSError(errno.EBADF, "it was cut off")
            self.discard()
            return
        self._digest.update(data)
        self._size += len(data)

    def keep(self) -> str:
        """Makes it one of the queue's; when this returns it outlives a loss of power.

        Returns:
            Its key: the hash of its content.

        Raises:
            QueueFull: there is no room for it.
            OutputError: it could not be written.
        """
        key = self._digest.hexdigest()
        try:
            if self._error:
                raise self._error
            if self._file is None:
                raise OSError(errno.ENODATA, "nothing came")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._kept(self._path, key)
        except (OSError, ValueError) as error:
            self.discard()
            number, why = (error.errno, error.strerror) if isinstance(error, OSError) else (None, "it was cut off")
            kind = QueueFull if number in FULL else OutputError
            raise kind(f"{self._folder.parent}: cannot be written ({why}); free space there") from error
        if self._removal:
            self._removal.detach()
        return key

    def _look(self) -> None:
        """Sees to it that room is left for results.

        Raises:
            OSError: there is too little, as if the disk were full.
        """
        self._looked = self._size
        if shutil.disk_usage(self._folder).free < SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _removed(file: IO[bytes], path: Path) -> None:
    with suppress(OSError, ValueError):
        path.unlink(missing_ok=True)
    with suppress(OSError, ValueError):  # what is in its buffer may not fit on the disk
        file.close()
