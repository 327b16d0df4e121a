"""The results folder of a run: created, or cleared of an earlier run without losing it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stream.common.errors import OptionError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PARENT = Path("partum-runs")
MEND = "choose another --out"
RESULTS = (
    *("measurements.jsonl", "measurements.csv", "smoothed.csv", "overlay.mp4", "trend.png", "run.json", "recording"),
    *("masks.jsonl", "marks.jsonl", "edits.jsonl", "run-log.jsonl"),
)
"""What a run writes, and what is written to it later; in the order in which it is entered into its log."""


def prepare_folder(out: Path | None, *, source: Path, results: Sequence[str] = RESULTS) -> Path:
    """Makes the folder; results of an earlier run in it are moved to `earlier-N/` below it.

    Args:
        out: what the user asked for; None makes a new numbered folder below `partum-runs/`.
        source: what is read, where that is a path.
        results: names of the files and folders that the run will write.

    Raises:
        OutputError: it cannot be made or written to.
        OptionError: the results would end up in the source, or in its place.
    """
    try:
        if out is None:
            return _new_folder(DEFAULT_PARENT)
        _keep_apart(out, source, results)
        out.mkdir(parents=True, exist_ok=True)
        _move_earlier_results(out, results)
    except OSError as error:
        folder = out or DEFAULT_PARENT
        raise OutputError(f"{folder}: not a folder that can be written to ({error.strerror}); {MEND}") from error
    return out


def check_folder(out: Path | None, *, source: Path, results: Sequence[str] = RESULTS) -> None:
    """Finds out early, without making anything, whether `prepare_folder` would fail.

    Raises:
        OutputError, OptionError: likewise.
    """
    folder = out or DEFAULT_PARENT
    try:
        if out is not None:
            _keep_apart(out, source, results)
        nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:
        raise OutputError(f"{folder}: not a folder that can be written to ({error.strerror}); {MEND}") from error
    if not is_writable:
        why = "is not writable" if nearest.is_dir() else "is a file"
        raise OutputError(f"{folder}: not a folder that can be written to ({nearest} {why}); {MEND}")


def _new_folder(parent: Path) -> Path:
    parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir()  # fails where another run has just taken the number
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there is always a next number")


def _keep_apart(out: Path, source: Path, results: Sequence[str]) -> None:
    """Refuses a folder of pictures that results would be added to, and a source that they would replace."""
    folder, origin = out.resolve(), source.resolve()
    if origin.is_dir() and folder.is_relative_to(origin):
        raise OptionError(f"{out}: lies in the source {source}; choose another --out")
    if any(origin.is_relative_to(folder / name) for name in results):
        raise OptionError(f"{out}: holds the source {source} under the name of a result; choose another --out")


def _move_earlier_results(out: Path, results: Sequence[str]) -> None:
    old = [out / name for name in results if (out / name).exists()]
    if not old:
        return
    earlier = next(folder for number in itertools.count(1) if not (folder := out / f"earlier-{number}").exists())
    earlier.mkdir()
    for path in old:
        path.rename(earlier / path.name)
