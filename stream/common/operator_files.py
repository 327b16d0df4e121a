"""Writes out what an operator installs beside the program: units, rules, configurations to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_operator_files(folder: Path, origin: Path, names: Iterable[str]) -> list[Path]:
    """Copies files into a folder, which is made where it is not there; none that is there is replaced.

    Args:
        folder: where to.
        origin: where they lie in this program.
        names: of the files.

    Raises:
        OutputError: a file is there already, or cannot be written.
    """
    names = list(names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [name for name in names if (folder / name).exists()]
        if taken:
            raise OutputError(f"{folder / taken[0]}: is there already; give an empty folder")
        for name in names:
            (folder / name).write_bytes((origin / name).read_bytes())
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder}: cannot be written to ({error.strerror})") from error
    return [folder / name for name in names]
