"""Hands on the recordings that inputs name: all at once, or, of folders that are watched, when they are whole."""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stream.batch.content import size_of, stamp_of
from stream.batch.finding import BadInput, Found
from stream.common.errors import OutputError, SourceError
from stream.sources.files.unpacking import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream.batch.finding import Finder
    from stream.batch.recordings import Recording
    from stream.common.clock import Clock

POLL_S = 2.0
"""Folders that are watched are looked at so often; file systems of a network tell nobody of what is new."""
SETTLE_S = 10.0
"""A recording whose files have not changed for so long has stopped growing."""
MOST_UNPACKED = 2
"""Archives that lie unpacked at a time, one being measured and the next; more where workers would wait."""


class Intake(Protocol):
    """Where the recordings of a batch come from."""

    @property
    def is_endless(self) -> bool:
        """Whether more may always come."""

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing more will come."""

    @property
    def bytes_to_come(self) -> int:
        """Of archives that are still to be unpacked."""

    def poll(self, *, is_idle: bool = False) -> Found:
        """What has come since the last call; `is_idle`: a worker waits for something to do."""

    def ended(self, recording: Recording) -> None:
        """A recording needs its files no longer."""


class InputIntake:
    """Recordings of inputs, all at once; those of archives as they are unpacked, few archives at a time.

    Args:
        inputs: what is looked for.
        finder: finds it.
        new_folder: makes an empty folder by a name, for what is unpacked.
    """

    is_endless = False

    def __init__(self, inputs: Sequence[str], finder: Finder, new_folder: Callable[[str], Path]) -> None:
        self._inputs, self._finder, self._new_folder = inputs, finder, new_folder
        self._packed: deque[Recording] = deque()
        self._unpacked: dict[str, int] = {}
        self._archives = 0
        self._has_looked = False

    @property
    def is_exhausted(self) -> bool:
        return self._has_looked and not self._packed

    @property
    def bytes_to_come(self) -> int:
        return sum(map(size_of, self._packed))

    def poll(self, *, is_idle: bool = False) -> Found:
        """What has come since the last call; for a worker that waits, one archive more is unpacked."""
        found, most = self._look(), MOST_UNPACKED
        if is_idle:
            most = max(most, len(self._unpacked) + 1)
        self._packed.extend(found.archives)
        found.archives = []
        while self._packed and len(self._unpacked) < most:
            archive = self._packed.popleft()
            try:
                self._unpack(archive, found)
            except OutputError as error:
                if self._unpacked:  # there will be room when these are measured
                    self._packed.appendleft(archive)
                    break
                self._has_no_room(archive, error, found)
        return found

    def ended(self, recording: Recording) -> None:
        """A recording is done: what was unpacked for it alone goes."""
        folder = recording.unpacked[0]
        if folder in self._unpacked:
            self._unpacked[folder] -= 1
            self._remove_if_done(folder)

    def _look(self) -> Found:
        if self._has_looked:
            return Found()
        self._has_looked = True
        return self._finder.find(self._inputs)

    def _unpack(self, archive: Recording, found: Found) -> None:
        """Adds what is in an archive.

        Raises:
            OutputError: there is no room for it.
        """
        self._archives += 1
        folder = self._new_folder(f"archive-{self._archives}")
        try:
            bad = unpack(Path(archive.path), folder)
        except SourceError as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._add_bad(archive, [BadInput(archive.source, str(error))], found)
            return
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        inside = self._finder.find_unpacked(folder, archive, bad)
        self._unpacked[str(folder)] = len(inside.recordings)
        self._remove_if_done(str(folder))
        self._add_bad(archive, inside.bad, found)
        inside.bad = []
        found.add(inside)

    def _remove_if_done(self, folder: str) -> None:
        if not self._unpacked[folder]:
            del self._unpacked[folder]
            shutil.rmtree(folder, ignore_errors=True)

    def _add_bad(self, archive: Recording, bad: Sequence[BadInput], found: Found) -> None:
        """What of an archive cannot be measured."""
        found.bad += bad

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
        self._bad: dict[str, str] = {}
        self._bad_inside: dict[str, list[str]] = {}
        self._next_ns = clock.now_ns()

    @property
    def is_exhausted(self) -> bool:
        return False

    def _look(self) -> Found:
        """What has become whole since the last call; looks at the folders every `POLL_S`."""
        now_ns = self._clock.now_ns()
        if now_ns < self._next_ns:
            return Found()
        self._next_ns = now_ns + round(min(POLL_S, self._settle_ns / 2e9 or POLL_S) * 1e9)
        seen = self._finder.find(self._inputs)
        ready = Found(
            recordings=list(self._settled(seen.recordings, now_ns)), archives=list(self._settled(seen.archives, now_ns))
        )
        self._forget_others(seen, ready)
        before, self._bad = self._bad, {each.source: each.error for each in seen.bad if not each.is_empty}
        ready.bad = [BadInput(*each) for each in self._bad.items() if before.get(each[0]) != each[1]]
        ready.gone += [source for source in before if source not in self._bad]
        return ready

    def _forget_others(self, seen: Found, ready: Found) -> None:
        """What is no longer there is new if it comes again, and what was wrong with it is over."""
        there = {each.source for each in (*seen.recordings, *seen.archives)}
        for source in self._since.keys() - there:
            del self._since[source]
            if self._handed.pop(source, None):
                ready.gone.append(source)
        for source in self._bad_inside.keys() - there:
            ready.gone += self._bad_inside.pop(source)
        self._packed = deque(each for each in self._packed if each.source in there)

    def _add_bad(self, archive: Recording, bad: Sequence[BadInput], found: Found) -> None:
        found.gone += self._bad_inside.pop(archive.source, [])
        self._bad_inside[archive.source] = [each.source for each in bad]
        super()._add_bad(archive, bad, found)

    def _has_no_room(self, archive: Recording, error: OutputError, found: Found) -> None:
        """It is tried again; that is told once."""
        self._handed.pop(archive.source, None)
        if self._bad_inside.get(archive.source) != [archive.source]:
            self._add_bad(archive, [BadInput(archive.source, str(error))], found)

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
