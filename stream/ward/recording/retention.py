"""How long what was written stays: by age, by size, and by what the disk has left; the oldest goes first.

Only folders that a feed's process made are ever touched (`stream.ward.processes.run_part`): they are known by the form
of their names. One that a feed is writing is locked, and never deleted.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.common.errors import OutputError
from stream.common.folder_lock import is_locked
from stream.ward.processes.parts import folder_bytes
from stream.ward.recording.unfinished import finish_part
from stream.ward.view import RecordingView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stream.ward.tables import RecordingTable

LOOK_S = 2.0
"""The disk is looked at so often."""
SETTLED_S = 60.0
"""A part that has not changed for so long is not measured again."""
ROOM_AGAIN = 1.1
"""Writing goes on when so many times the reserve is free, so that it does not stop and go."""
CLOCK_SET_S = 300.0
"""A clock that went so much further than the time that passed was set."""
GROWTHS = 30
"""Looks whose growth is remembered: a minute."""
MOST_AHEAD = 0.25
"""Of the quota, that is made free ahead of what is written before the next look."""
GB = 1e9
_PART = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}")
_RUNNING = b'"status": "running"'
TRY_AGAIN = 30
"""Looks, after which it is tried again to delete what could not be."""
CLOSE_S = 1.0
"""At the end a disk that hangs is not waited for longer."""


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A part on the disk.

    Attributes:
        path: its folder.
        size: bytes.
        ended_s: when it was last written to, seconds since 1970.
        is_open: a feed is writing it.
    """

    path: Path
    size: int
    ended_s: float
    is_open: bool


def unset_clock_s() -> float:
    """Seconds of a clock that nobody sets; on Linux it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def parts_to_delete(
    parts: Sequence[KeptPart],
    options: RecordingTable,
    *,
    now_s: float,
    free_bytes: int,
    ahead_bytes: int = 0,
    clock_set_s: float = 0.0,
) -> Iterator[KeptPart]:
    """The parts that must go, the oldest first.

    Args:
        parts: all there are.
        options: hours, size and reserve.
        now_s: seconds since 1970.
        free_bytes: of the disk.
        ahead_bytes: that may be written before it is looked again.
        clock_set_s: when the clock was set, by itself: how old a part from before is nobody knows, and it counts from
            then.
    """
    total = ahead_bytes + sum(part.size for part in parts)
    for part in sorted((each for each in parts if not each.is_open), key=lambda each: each.path.name):
        is_old = now_s - max(part.ended_s, clock_set_s) > options.keep_hours * 3600
        if not is_old and total <= options.keep_gb * GB and free_bytes >= options.reserve_gb * GB:
            continue
        yield part
        total -= part.size
        free_bytes += part.size


class Retention:
    """Looks after the folder of all feeds; `look` does it once, `run` in a thread until `close`.

    Args:
        options: folder, hours, size and reserve.
        hold: told True when writing must stop for want of room, False when it may go on.
        told: takes lines for the log.
        free_bytes: of the disk that a folder is on.
        now: the time of day.
        elapsed_s: seconds of a clock that nobody sets, and that goes on while the machine sleeps.
        make_again: makes the folder where it has gone; raises OSError.
    """

    def __init__(
        self,
        options: RecordingTable,
        *,
        hold: Callable[[bool], None],
        told: Callable[[str], None],
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed_s: Callable[[], float] = unset_clock_s,
        make_again: Callable[[], None] = lambda: None,
    ) -> None:
        assert options.folder is not None
        self.folder, self._options = options.folder, options
        self._hold, self._told, self._free_bytes, self._now = hold, told, free_bytes, now
        self._elapsed_s, self._make_again = elapsed_s, make_again
        self._clock_offset_s: float | None = None
        self._clock_set_s = 0.0
        self._settled: dict[Path, KeptPart] = {}
        self._finished: set[Path] = set()
        self._kept_by_force: set[Path] = set()
        self._used_bytes: int | None = None
        self._growths: deque[int] = deque(maxlen=GROWTHS)
        self._is_held = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partum-retention", daemon=True)
        self.view = RecordingView(
            state="on", quota_bytes=round(options.keep_gb * GB), reserve_bytes=round(options.reserve_gb * GB)
        )

    def start(self) -> None:
        """Looks now, and then every `LOOK_S`."""
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def use(self, options: RecordingTable) -> None:
        """Other hours, size or reserve of the same folder."""
        self._options = options

    def look(self) -> None:
        """Deletes what must go, says whether there is room, and finishes a part that was cut off."""
        options = self._options
        self._look_at_clock()
        parts = {part.path: part for part in self._parts()}
        count = len(parts)
        if self._used_bytes is not None:
            self._growths.append(sum(part.size for part in parts.values()) - self._used_bytes)
        try:
            self._make_again()
            self._delete_what_must_go(parts, options)
            free = self._free_bytes(self.folder)
            fault = ""
        except OSError as error:
            free, fault = self.view.free_bytes, f"{self.folder}: cannot be looked after ({error.strerror or error})"
        self._used_bytes = used = sum(part.size for part in parts.values())
        reason = fault or self._why_held(used, free)
        self.view = replace(
            self.view,
            state="stopped" if reason else "on",
            reason=reason,
            used_bytes=used,
            free_bytes=free,
            quota_bytes=round(options.keep_gb * GB),
            reserve_bytes=round(options.reserve_gb * GB),
            deleted=self.view.deleted + count - len(parts),
        )
        if bool(reason) != self._is_held:
            self._is_held = bool(reason)
            self._told(f"recording stopped: {reason}" if reason else "recording goes on")
        self._hold(self._is_held)
        if not fault:
            self._finish_one(list(parts.values()))

    def _delete_what_must_go(self, parts: dict[Path, KeptPart], options: RecordingTable) -> None:
        """Deletes parts, and takes them out of `parts`; where one cannot be deleted, another in its place.

        Raises:
            OSError: the disk does not say how much of it is free.
        """
        is_over = False
        while not is_over:
            kept = self._kept_by_force
            may_go = [replace(part, is_open=part.is_open or path in kept) for path, part in parts.items()]
            free = self._free_bytes(self.folder)
            is_over = True
            now_s, ahead = self._now().timestamp(), self._ahead_bytes(options)
            for part in parts_to_delete(
                may_go, options, now_s=now_s, free_bytes=free, ahead_bytes=ahead, clock_set_s=self._clock_set_s
            ):
                if self._done.is_set():
                    return
                if not self._delete(part.path):
                    is_over = False
                    break
                del parts[part.path]

    def _look_at_clock(self) -> None:
        """Notices that the clock was set: recordings of a minute ago may look years old by it."""
        now_s = self._now().timestamp()
        offset_s = now_s - self._elapsed_s()
        if self._clock_offset_s is not None and abs(offset_s - self._clock_offset_s) > CLOCK_SET_S:
            self._clock_set_s = now_s
            self._told("the clock was set: recordings from before count as ended now")
        self._clock_offset_s = offset_s

    def _ahead_bytes(self, options: RecordingTable) -> int:
        """Room for what is written before the next look: twice the most between two looks of the last minute."""
        return max(0, min(2 * max(self._growths, default=0), round(MOST_AHEAD * options.keep_gb * GB)))

    def _delete(self, path: Path) -> bool:
        """Deletes a part; one that cannot be is said once, and the others go in its place."""
        try:
            shutil.rmtree(path)
        except OSError as error:
            self._kept_by_force.add(path)
            self._told(f"{path}: cannot be deleted ({error.strerror or error})")
            return False
        self._settled.pop(path, None)
        self._finished.discard(path)
        return True

    def _finish_one(self, parts: Sequence[KeptPart]) -> None:
        """Finishes one part that its process could not; one at a time, for reading all of it takes a while."""
        for part in parts:
            if part.is_open or part.path in self._finished or not _is_let_go(part.path):
                continue
            with suppress(FileNotFoundError):  # it is being made, or goes
                if self._is_finished(part.path):
                    return

    def _is_finished(self, path: Path) -> bool:
        """Whether it was cut off, and is finished now. Raises FileNotFoundError."""
        was_cut_off = False
        try:
            was_cut_off = finish_part(path)
        except FileNotFoundError:
            raise
        except (OutputError, OSError, ValueError, LookupError, TypeError):
            pass  # its manifest was cut off too: it stays as it is until its time is over
        self._finished.add(path)
        if was_cut_off:
            self._settled.pop(path, None)
            self._told(f"{path}: was cut off by a kill; it is finished as far as it was written")
        return was_cut_off

    def _why_held(self, used: int, free: int) -> str:
        reserve = self._options.reserve_gb * GB * (ROOM_AGAIN if self._is_held else 1.0)
        if free < reserve:
            return f"{free / GB:.1f} GB of the disk are free, and reserve_gb = {self._options.reserve_gb:g} stay so"
        if used > self._options.keep_gb * GB:
            return f"what is being written is larger than keep_gb = {self._options.keep_gb:g}"
        return ""

    def _run(self) -> None:
        fault = ""
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        for look in itertools.count(1):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a thread's boundary: the disk must be looked after on and on
                if str(error) != fault:
                    fault = str(error)
                    self._told(f"recordings cannot be looked after ({type(error).__name__}: {fault})")
            if look % TRY_AGAIN == 0:
                self._kept_by_force.clear()
            if self._done.wait(LOOK_S):
                return

    def _parts(self) -> Iterator[KeptPart]:
        """Every part of every feed, also of feeds that are no more."""
        for feed in _folders_in(self.folder):
            paths = [path for path in _folders_in(feed) if _PART.fullmatch(path.name)]
            for path in paths:
                with suppress(OSError):  # it goes while it is looked at
                    yield self._settled.get(path) or self._measured(path, is_newest=path == paths[-1])

    def _measured(self, path: Path, *, is_newest: bool) -> KeptPart:
        files = list(path.iterdir())
        ended_s = max((each.stat().st_mtime for each in (*files, path)), default=0.0)
        part = KeptPart(path, folder_bytes(path), ended_s, is_open=_is_open(path, is_newest=is_newest))
        if not part.is_open and self._now().timestamp() - ended_s > SETTLED_S:
            self._settled[path] = part
        return part


def _folders_in(folder: Path) -> list[Path]:
    """In order of their names; none of a folder that cannot be read."""
    with suppress(OSError):
        return sorted(each for each in folder.iterdir() if each.is_dir())
    return []


def _is_open(path: Path, *, is_newest: bool) -> bool:
    """Whether a process writes it; where the file system has no locks, as its manifest says, if there is none newer."""
    try:
        return is_locked(path)
    except OSError:
        return is_newest and _is_running(path)


def _is_let_go(path: Path) -> bool:
    """Whether for certain no process writes it."""
    try:
        return not is_locked(path)
    except OSError:
        return False


def _is_running(path: Path) -> bool:
    """Whether its run has not ended, as its manifest says; one without a manifest is just being made."""
    try:
        with (path / "run.json").open("rb") as file:
            return _RUNNING in file.read(4096)
    except OSError:
        return True
