"""Hands on the recordings that inputs name: all at once, or, of folders that are watched, when they are whole."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stream.batch.content import stamp_of
from stream.batch.finding import BadInput, Found
from stream.common.errors import OutputError, SourceError
from stream.sources.files.archive import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream.batch.finding import Finder
    from stream.batch.recordings import Recording
    from stream.common.clock import Clock

POLL_S = 2.0
"""Folders that are watched are looked at so often; file systems of a network tell nobody of what is new."""
SETTLE_S = 10.0
"""A recording whose files have not changed for so long has stopped growing."""


class Intake(Protocol):
    """Where the recordings of a batch come from."""

    is_endless: bool
    """Whether more may always come."""
    is_exhausted: bool
    """Whether nothing more will come."""

    def poll(self) -> Found:
        """What has come since the last call."""

    def ended(self, recording: Recording) -> None:
        """A recording needs its files no longer."""


class InputIntake:
    """Recordings of inputs, all at once, unpacked where they are in archives.

    Args:
        inputs: what is looked for.
        finder: finds it.
        new_folder: makes an empty folder by a name, for what is unpacked.
    """

    is_endless = False

    def __init__(self, inputs: Sequence[str], finder: Finder, new_folder: Callable[[str], Path]) -> None:
        self._inputs, self._finder, self._new_folder = inputs, finder, new_folder
        self._unpacked: Counter[str] = Counter()
        self._archives = 0
        self.is_exhausted = False

    def poll(self) -> Found:
        """What has come since: everything at the first call."""
        if self.is_exhausted:
            return Found()
        self.is_exhausted = True
        return self._expanded(self._finder.find(self._inputs))

    def ended(self, recording: Recording) -> None:
        """A recording is done: what was unpacked for it alone goes."""
        folder = recording.unpacked[0]
        if folder:
            self._unpacked[folder] -= 1
            if not self._unpacked[folder]:
                shutil.rmtree(folder, ignore_errors=True)

    def _expanded(self, found: Found) -> Found:
        """The same with what is in its archives in their place."""
        for archive in found.archives:
            self._archives += 1
            folder = self._new_folder(f"archive-{self._archives}")
            try:
                unpack(Path(archive.path), folder)
            except SourceError as error:
                shutil.rmtree(folder, ignore_errors=True)
                found.bad.append(BadInput(archive.source, str(error)))
                continue
            except OutputError as error:
                shutil.rmtree(folder, ignore_errors=True)
                self._has_no_room(archive, error, found)
                continue
            inside = self._finder.find_unpacked(folder, archive)
            self._unpacked[str(folder)] = len(inside.recordings)
            found.add(inside)
        found.archives = []
        return found

    def _has_no_room(self, archive: Recording, error: OutputError, found: Found) -> None:
        """An archive was not unpacked for want of the disk, which will not get better.

        Raises:
            OutputError: that.
        """
        raise error


class WatchingIntake(InputIntake):
    """The same, for ever: each recording once its files have stopped changing, and again when they change later.

    Args:
        inputs: what is looked for, again and again.
        finder: finds it.
        new_folder: makes an empty folder by a name, for what is unpacked.
        clock: of the waiting.
        settle_s: a recording has stopped growing when its files have not changed for so long.
    """

    is_endless = True

    def __init__(
        self,
        inputs: Sequence[str],
        finder: Finder,
        new_folder: Callable[[str], Path],
        *,
        clock: Clock,
        settle_s: float = SETTLE_S,
    ) -> None:
        super().__init__(inputs, finder, new_folder)
        self._clock, self._settle_ns = clock, round(settle_s * 1e9)
        self._since: dict[str, tuple[str, int]] = {}
        self._handed: dict[str, str] = {}
        self._told: set[str] = set()
        self._next_ns = clock.now_ns()

    def poll(self) -> Found:
        """What has become whole since the last call; looks at the folders every `POLL_S`."""
        now_ns = self._clock.now_ns()
        if now_ns < self._next_ns:
            return Found()
        self._next_ns = now_ns + round(min(POLL_S, self._settle_ns / 2e9 or POLL_S) * 1e9)
        seen = self._finder.find(self._inputs)
        ready = Found(
            recordings=list(self._settled(seen.recordings, now_ns)), archives=list(self._settled(seen.archives, now_ns))
        )
        ready.bad = [each for each in seen.bad if each.error not in self._told and not each.is_empty]
        self._told |= {each.error for each in ready.bad}
        return self._expanded(ready)

    def _has_no_room(self, archive: Recording, error: OutputError, found: Found) -> None:
        """It is tried again; that is told once."""
        self._handed.pop(archive.source, None)
        if archive.source not in self._told:
            found.bad.append(BadInput(archive.source, str(error)))
        self._told.add(archive.source)

    def _settled(self, recordings: Iterable[Recording], now_ns: int) -> Iterable[Recording]:
        for recording in recordings:
            try:
                stamp = stamp_of(recording)
            except SourceError:
                continue  # it went while it was looked at
            before, since_ns = self._since.get(recording.source, ("", now_ns))
            if stamp != before:
                self._since[recording.source] = stamp, now_ns
            elif now_ns - since_ns >= self._settle_ns and self._handed.get(recording.source) != stamp:
                self._handed[recording.source] = stamp
                yield recording
