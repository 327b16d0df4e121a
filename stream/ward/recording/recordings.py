"""The recordings of a ward: the folder that it alone has, who looks after it, and whether feeds may write."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from stream.common.errors import OutputError
from stream.common.folder_lock import locked_folder
from stream.ward.processes.run_part import PartOptions
from stream.ward.recording.retention import GB, Retention
from stream.ward.view import RecordingView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.ward.config import WardConfig
    from stream.ward.tables import RecordingTable

SHARE_OF_QUOTA = 4
"""A part is at most this part of what a feed's share of the quota is, so that there is always one that can go."""


class Recordings:
    """All methods but those of `Retention` are for the ward's own thread.

    Args:
        options: of the ward.
        told: takes lines for the log.
        changed: called, in another thread, when `is_held` is to be looked at.

    Raises:
        OutputError: the folder cannot be had.
    """

    def __init__(self, options: RecordingTable, *, told: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._told, self._changed = told, changed
        self._folder: Path | None = None
        self._lock = ExitStack()
        self._retention: Retention | None = None
        self.is_held = False
        """Whether nothing may be written now for want of room."""
        self.use(options, self.locked(options.folder))

    @property
    def view(self) -> RecordingView:
        return RecordingView() if self._retention is None else self._retention.view

    def locked(self, folder: Path | None) -> ExitStack | None:
        """Makes another folder, and keeps other wards out of it; None where it is the one that it has, or none.

        Raises:
            OutputError: it cannot be made, or another ward has it.
        """
        if folder is None or (self._folder is not None and _is_same(folder, self._folder)):
            return None
        with ExitStack() as taken:
            try:
                taken.enter_context(locked_folder(folder))
            except BlockingIOError as error:
                raise OutputError(f"{folder}: another ward writes there; choose another folder") from error
            except OSError as error:
                raise OutputError(
                    f"{folder}: cannot be made ({error.strerror}); choose another folder of [recording]"
                ) from error
            return taken.pop_all()

    def use(self, options: RecordingTable, lock: ExitStack | None) -> None:
        """Other options from now on.

        Args:
            options: of the ward.
            lock: what `locked` gave for their folder.
        """
        if self._retention is not None and lock is None and options.folder is not None:
            self._retention.use(options)
            return
        self.close()
        self._folder, self._lock = options.folder, lock or ExitStack()
        if options.folder is not None:
            self._retention = Retention(options, hold=self._hold, told=self._told, make_again=self._make_again)
            self._retention.start()

    def close(self) -> None:
        """Looks after the folder no more, and lets others have it."""
        if self._retention is not None:
            self._retention.close()
        self._retention = None
        self._lock.close()
        self._folder, self.is_held = None, False

    def _make_again(self) -> None:
        """Makes the folder where somebody removed it, and keeps other wards out of it. Raises OSError."""
        folder = self._folder
        if folder is None or folder.is_dir():
            return
        with ExitStack() as taken:
            taken.enter_context(locked_folder(folder))
            before, self._lock = self._lock, taken.pop_all()
        before.close()

    def _hold(self, is_held: bool) -> None:
        if is_held != self.is_held:
            self.is_held = is_held
            self._changed()


def part_options(config: WardConfig, feed: str) -> PartOptions | None:
    """What a feed writes; None where nothing is written."""
    recording = config.recording
    if recording.folder is None:
        return None
    share = recording.keep_gb * GB / len(config.feeds) / SHARE_OF_QUOTA
    return PartOptions(
        folder=recording.folder / feed,
        pictures=recording.pictures,
        longest_s=60 * recording.part_minutes,
        most_bytes=max(1, round(share)),
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
