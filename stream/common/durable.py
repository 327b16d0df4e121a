"""What must outlive a loss of power: files and folders that are on the disk when a call returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stream.common.atomic_file import write_error

if TYPE_CHECKING:
    from pathlib import Path


def sync_file(path: Path) -> None:
    """Waits until a file, or what a folder lists, is on the disk.

    Raises:
        OutputError: the disk says only now that it is full.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        if path.is_dir():
            return  # a system that opens no folders
        raise write_error(path, error) from error
    try:
        os.fsync(handle)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """The same of all files in a folder, of the folders in it, and of itself.

    Raises:
        OutputError: likewise.
    """
    for each in folder.iterdir():
        if each.is_dir():
            sync_folder(each)
        else:
            sync_file(each)
    sync_file(folder)
