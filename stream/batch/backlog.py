"""What is to be measured, each content once, with another try for what failed for want of the machine."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.errors import EngineError
from stream.batch.content import hash_of, size_of, stamp_of
from stream.batch.recordings import Job
from stream.batch.store import DIGITS
from stream.batch.summary import FAILED, write_summary
from stream.batch.workers import Failed
from stream.common.durable import sync_folder
from stream.common.errors import OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from engines.errors import PartumError
    from stream.batch.recordings import Recording
    from stream.batch.reporting.progress import BatchProgress
    from stream.batch.store import ResultStore
    from stream.batch.summary import Row
    from stream.batch.workers import Measured
    from stream.common.clock import Clock

RETRY_S = (60.0, 900.0)
"""Where a batch goes on for ever, what failed for want of the machine is tried again after so long, then after twice as
long, up to this."""
MOST_CRASHES = 2
"""So often a recording may take its process with it before it is given up."""


GIVEN_UP = "; given up"
"""Ends what is said of a recording that was not measured though its content may be sound."""
GivenUp = Callable[["Recording", int], bool]
"""Asked with a recording that failed, and how often its process died with it."""


@dataclass(slots=True)
class _Waiting:
    """A recording that is to be measured when its time has come."""

    recording: Recording
    tries: int = 0
    crashes: int = 0
    not_before_ns: int = 0
    alike: list[_Waiting] = field(default_factory=list)
    """Others of the same content, which wait for its result."""


class JobBacklog:
    """Recordings on their way to a worker; keeps the store to one result for each content.

    Args:
        store: of the results, open.
        progress: told of each step.
        clock: of further tries.
        goes_on: whether there will be time for further tries; else an error of the machine ends the batch.
        ended: called with each recording that needs its files no longer.
        published: called with each new result.
        given_up: where a batch goes on for ever and its inputs do not stay: whether what failed is given up. Then it
            has a result too, which says so. Without it, a recording is given up when it crashes its process again, and
            is tried for ever where the machine fails.
        tried_again: whether a recording whose content failed before is measured anew.
    """

    def __init__(
        self,
        store: ResultStore,
        progress: BatchProgress,
        *,
        clock: Clock,
        goes_on: bool,
        ended: Callable[[Recording], None],
        published: Callable[[Recording, Row, Path], None] = lambda recording, row, folder: None,
        given_up: GivenUp | None = None,
        tried_again: Callable[[Recording], bool] = lambda recording: False,
    ) -> None:
        self._store, self._progress, self._clock, self._goes_on = store, progress, clock, goes_on
        self._ended, self._published, self._given_up = ended, published, given_up
        self._tried_again = tried_again
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[str, _Waiting] = {}
        self._failed: dict[str, Row] = {}
        self._unread: dict[str, tuple[Row, str]] = {}
        self.fatal: PartumError | None = None
        """What keeps everything else from being measured too."""

    def add(self, recordings: Iterable[Recording]) -> None:
        """More to do."""
        for recording in recordings:
            for source in (recording.source, recording.unpacked[1]):
                self._unread.pop(source, None)
            self._progress.add(recording.source, size_of(recording))
            self._waiting.append(_Waiting(recording))

    def add_bad(self, source: str, error: str) -> None:
        """An input that names nothing that can be measured: it is told, and has a row."""
        self._unread[source] = {"source": source, "state": FAILED, "error": error}, ""
        self._progress.say(error)

    def drop_bad(self, source: str) -> None:
        """An input that was bad is gone or mended: it has no row of its own."""
        self._unread.pop(source, None)

    @property
    def count(self) -> int:
        """How many wait, for a worker or for another try."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """How many wait, or are being measured."""
        return len(self._waiting) + sum(1 + len(each.alike) for each in self._under_way.values())

    @property
    def failed(self) -> Mapping[str, Row]:
        """Rows of contents without a result, by their hash."""
        return self._failed

    @property
    def unread(self) -> Iterable[Row]:
        """Rows of inputs whose content could not be read at all.

        While inputs are watched, files come and go: one that is gone was not for us, and has none.
        """
        return [row for row, place in self._unread.values() if not (self._goes_on and _is_gone(place))]

    def next_job(self) -> Job | None:
        """The next recording whose content has no result yet and is not under way; None where none can begin now.

        Raises:
            OutputError: nothing can be written.
        """
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            if waiting.not_before_ns > self._clock.now_ns():
                self._waiting.append(waiting)
                continue
            try:
                job = self._job(waiting)
            except OutputError as error:
                if not self._goes_on:
                    raise
                self._try_later(waiting, error)
                continue
            if job is not None:
                return job
        return None

    def take(self, event: Measured | Failed) -> None:
        """Publishes what was measured, or decides what becomes of what was not.

        Raises:
            OutputError: the result cannot be given its name.
        """
        waiting = self._under_way.pop(event.job.sha256)
        recording = event.job.recording
        if isinstance(event, Failed):
            self._fail(waiting, event)
            return
        try:
            folder = self._store.publish(event.job.folder, recording.source, event.row)
        except OutputError as error:
            if not self._goes_on:
                raise
            shutil.rmtree(event.job.folder, ignore_errors=True)
            self._try_later(waiting, error)
            return
        self._failed.pop(event.job.sha256, None)
        self._progress.end(recording.source, event.row)
        self._published(recording, event.row, folder)
        self._ended(recording)
        for each in waiting.alike:
            self._skip(each, event.job.sha256)

    def _job(self, waiting: _Waiting) -> Job | None:
        recording = waiting.recording
        try:
            stamp = stamp_of(recording)
            sha256 = self._store.known_hash(recording.source, stamp) or hash_of(recording)
        except SourceError as error:
            row = _failure(recording, recording.told(str(error)))
            self._unread[recording.source] = row, recording.place
            if self._goes_on and not _is_gone(recording.place):  # permissions are given later too
                self._try_later(waiting, error)
                return None
            self._progress.end(recording.source, row)
            self._ended(recording)
            return None
        has_result = sha256 in self._store and not (
            self._store.row_of(sha256)["state"] == FAILED and self._tried_again(recording)
        )
        is_new = not has_result and sha256 not in self._under_way
        folder = self._store.work_folder(sha256[:DIGITS]) if is_new else None
        self._store.note_input(recording.source, stamp, sha256, recording.place)
        self._unread.pop(recording.source, None)
        if folder is not None:
            self._under_way[sha256] = waiting
            return Job(recording, sha256, stamp, folder)
        if has_result:
            self._skip(waiting, sha256)
        else:
            self._under_way[sha256].alike.append(waiting)
        return None

    def _skip(self, waiting: _Waiting, sha256: str) -> None:
        """A recording whose content has a result."""
        self._published(waiting.recording, self._store.row_of(sha256), self._store.folder_of(sha256))
        self._progress.skip(waiting.recording.source)
        self._ended(waiting.recording)

    def _fail(self, waiting: _Waiting, event: Failed) -> None:
        """Nothing of a failed try stays but its row; a machine that fails is given time, or ends the batch."""
        recording, error = waiting.recording, event.error
        shutil.rmtree(event.job.folder, ignore_errors=True)
        row = _failure(recording, str(error))
        if _has_changed(event.job):  # the error is of this input, not of the content it had
            with suppress(OutputError):  # of a full disk; it is noted anew when it is looked at again
                self._store.forget_input(recording.source)
            self._unread[recording.source] = row, recording.place
            self._waiting.extend(waiting.alike)
            waiting.alike = []
        else:
            self._failed[event.job.sha256] = row = row | {"sha256": event.job.sha256}
        waiting.crashes += event.has_crashed
        if event.has_crashed and waiting.crashes < MOST_CRASHES:
            self._retry(waiting)
            return
        if self._given_up is not None and event.job.sha256 in self._failed:
            if not self._given_up(recording, waiting.crashes):
                self._try_later(waiting, error)
            else:
                self._publish_failure(waiting, event, row)
            return
        if self._goes_on and not event.has_crashed and not _is_gone(recording.place):
            self._try_later(waiting, error)
            return
        self._progress.end(recording.source, row)
        self._ended(recording)
        for each in waiting.alike:
            self._progress.skip(each.recording.source)
            self._ended(each.recording)
        if isinstance(error, (OutputError, EngineError)):
            self.fatal = error

    def _publish_failure(self, waiting: _Waiting, event: Failed, row: Row) -> None:
        """A recording that was given up has a result, which says so when its file is gone."""
        row = row | {"error": f"{row['error']}{GIVEN_UP}"}
        folder = event.job.folder
        try:
            folder = self._store.work_folder(folder.name)
            write_summary(folder, row, [])
            sync_folder(folder)
            folder = self._store.publish(folder, waiting.recording.source, row)
        except OutputError as error:
            self._failed[event.job.sha256] = row  # until the end of this process
            self._progress.say(str(error))
        else:
            self._failed.pop(event.job.sha256, None)
        self._progress.end(waiting.recording.source, row)
        self._published(waiting.recording, row, folder)
        self._ended(waiting.recording)

    def _retry(self, waiting: _Waiting) -> None:
        """Puts a recording back, and those of the same content behind it."""
        alike, waiting.alike = waiting.alike, []
        self._waiting.extend([waiting, *alike])

    def _try_later(self, waiting: _Waiting, error: PartumError) -> None:
        first_s, most_s = RETRY_S
        waiting.not_before_ns = self._clock.now_ns() + round(min(first_s * 2**waiting.tries, most_s) * 1e9)
        waiting.tries += 1
        self._retry(waiting)
        self._progress.say(f"{error}; tried again later")


def is_given_up(row: Row) -> bool:
    """Whether a result says that its recording was given up, for want of the machine or since it ended its process."""
    return row["state"] == FAILED and str(row.get("error", "")).endswith(GIVEN_UP)


def _failure(recording: Recording, error: str) -> Row:
    return {"source": recording.source, "state": FAILED, "error": error}


def _is_gone(place: str) -> bool:
    return bool(place) and not os.path.exists(place)


def _has_changed(job: Job) -> bool:
    """Whether the files of a recording are others than those that were to be measured."""
    try:
        return stamp_of(job.recording) != job.stamp
    except SourceError:
        return True
