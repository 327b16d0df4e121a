"""Atomic file writes: a file is replaced whole or stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.atomic_file import atomic_path
from stream.common.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Writes beside `path`, then renames: at every moment the file there is a whole one.

    Raises:
        OutputError: it cannot be written; what was there is still there.
    """
    try:
        with atomic_path(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> OutputError:
    """The error that says so in one line, whatever library met it."""
    said = " ".join(str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}").split())
    return OutputError(f"{path}: cannot be written ({said}); free space or choose another --out")
