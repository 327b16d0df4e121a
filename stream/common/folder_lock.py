"""A folder that one process uses at a time."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked_folder(folder: Path, *, waits: bool = False) -> Iterator[None]:
    """Makes a folder, and keeps other processes out of it that ask for the same, until the block ends.

    The lock ends with its process, however that ends. Where the system or the file system has no such locks nothing is
    kept out.

    Args:
        folder: made where it is not there.
        waits: for who has it, as `is_locked` does for a moment.

    Raises:
        BlockingIOError: another process has it.
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            _lock(handle, waits=waits)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, *, waits: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks


def is_locked(folder: Path) -> bool:
    """Whether a process that still runs has the folder by `locked_folder`.

    Raises:
        OSError: the folder cannot be opened, or system or file system have no such locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
