"""The results folder of a run: created, or cleared of an earlier run without losing it."""

from __future__ import annotations

import itertools
import logging
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stream.common.errors import OptionError, OutputError
from stream.common.folder_lock import locked_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PARENT = Path("partum-runs")
MEND = "choose another --out"
RESULTS = (
    *("measurements.jsonl", "measurements.csv", "smoothed.csv", "overlay.mp4", "trend.png", "run.json", "recording"),
    *("masks.jsonl", "marks.jsonl", "edits.jsonl", "run-log.jsonl"),
)
"""What a run writes, and what is written to it later; in the order in which it is entered into its log."""

_log = logging.getLogger(__name__)


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
        raise _unusable(out or DEFAULT_PARENT, error) from error
    return out


@contextmanager
def own_folder(out: Path | None, *, source: Path) -> Iterator[Path]:
    """The folder of a run, from `prepare_folder`; other runs are kept out of it until the block ends.

    Raises:
        OutputError: likewise, or another run writes to it.
        OptionError: likewise.
    """
    with ExitStack() as stack:
        if out is not None:
            _keep_apart(out, source, RESULTS)
            stack.enter_context(_kept_from_others(out))
        yield prepare_folder(out, source=source)


@contextmanager
def _kept_from_others(out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(out))
        except BlockingIOError as error:
            raise OutputError(f"{out}: another run writes to it; wait for its end, or {MEND}") from error
        except OSError as error:
            raise _unusable(out, error) from error
        yield


def check_folder(out: Path | None, *, source: Path, results: Sequence[str] = RESULTS) -> None:
    """Finds out early, without making anything, whether `prepare_folder` or `own_folder` would fail.

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
        raise _unusable(folder, error) from error
    if not is_writable:
        why = "is not writable" if nearest.is_dir() else "is a file"
        raise OutputError(f"{folder}: not a folder that can be written to ({nearest} {why}); {MEND}")
    if out is not None and out.is_dir():
        with _kept_from_others(out):
            pass


def _unusable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"{folder}: not a folder that can be written to ({error.strerror}); {MEND}")


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
    # A run that was killed leaves what it had not finished under another name.
    old = [path for name in results for path in (out / name, out / f"{name}.part") if path.exists()]
    if not old:
        return
    earlier = next(folder for number in itertools.count(1) if not (folder := out / f"earlier-{number}").exists())
    earlier.mkdir()
    for path in old:
        path.rename(earlier / path.name)
    _log.warning("%s: held results of an earlier run; they are kept in %s", out, earlier)
