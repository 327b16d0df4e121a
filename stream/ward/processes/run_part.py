"""A part of what a feed writes: a whole run by itself, in a folder that is locked for as long as it is written.

    FOLDER/room-1/2026-11-26T03-10-00.000000/     run.json, measurements.jsonl, recording/ ...

The lock says to others (`stream.common.folder_lock.is_locked`) that it must not be touched. It ends with the process,
however that ends, and no clock that was set back makes a part look older than it is.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.common.atomic_file import write_error
from stream.common.errors import OutputError
from stream.common.folder_lock import locked_folder
from stream.outputs.group import SinkGroup
from stream.outputs.manifest import Manifest
from stream.outputs.marks import MarkFile, MarkKind
from stream.outputs.recorder import Recorder
from stream.outputs.run_log import begin_log, seal_log
from stream.outputs.tables import RecordTables
from stream.pipeline.statistics import RunStatistics

if TYPE_CHECKING:
    from pathlib import Path

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.frames.frame import Frame
    from stream.pipeline.record import Measurement
    from stream.sources.base import FrameSource


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOptions:
    """What is written of a feed.

    Attributes:
        folder: of the feed.
        pictures: keep pictures too.
        longest_s: of a part.
        most_bytes: of a part.
    """

    folder: Path
    pictures: bool
    longest_s: float
    most_bytes: int


class RunPart:
    """A part: the folder of a run, from its first frame on.

    Raises:
        OutputError: it cannot be made; then nothing of it stays on the disk.
    """

    def __init__(self, options: PartOptions, session: SessionOptions, *, source: FrameSource, engine: Engine) -> None:
        self.folder = _new_folder(options.folder)
        self._statistics = RunStatistics()
        self._marks = MarkFile(self.folder / "marks.jsonl")
        self._first: Frame | None = None
        self._status = "running"
        note = source.info.note
        recorders = [lambda: Recorder(self.folder / "recording", note=note)] if options.pictures else []
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._lock = stack.enter_context(_locked(self.folder))
            self._manifest = Manifest(
                self.folder / "run.json", source=source.info, engine=engine, options=session.as_json()
            )
            begin_log(self.folder, self._manifest.facts)
            self._sinks = SinkGroup([lambda: RecordTables(self.folder), *recorders])
            stack.pop_all()

    @property
    def is_there(self) -> bool:
        """Whether nobody removed it."""
        return (self.folder / "run.json").exists()

    def write(self, measurement: Measurement) -> None:
        """Raises OutputError."""
        self._first = self._first or measurement.frame
        own = self._own(measurement)
        self._sinks.write(own)
        self._statistics.add(own)

    def mark(self, measurement: Measurement, kind: MarkKind, note: str) -> None:
        """Raises OutputError."""
        self._marks.add(self._own(measurement), kind, note=note)

    def _own(self, measurement: Measurement) -> Measurement:
        """The measurement as one of this run: its frames and its time begin at 0."""
        frame, first = measurement.frame, self._first
        if first is None or (not first.index and not first.pts):
            return measurement
        index, pts = max(0, frame.index - first.index), max(0, frame.pts - first.pts)
        return replace(measurement, frame=replace(frame, index=index, pts=pts))

    def finish(self, status: str, error: str | None) -> None:
        """Closes all files and says how it ended, as far as the disk lets it; to be followed by `seal`."""
        with suppress(OutputError):
            self._marks.close()
        try:
            self._sinks.__exit__(None, None, None)
        except OutputError as failed:
            status, error = "failed", error or str(failed)
        self._status = status
        with suppress(OutputError):
            self._manifest.finish(status, error=error, results=self._statistics.as_json())

    def seal(self) -> None:
        """Enters the files into the log, which reads them all, and lets the folder go."""
        with self._lock, suppress(OutputError):
            seal_log(self.folder, self._status, source=None)


def _new_folder(parent: Path) -> Path:
    """A folder named by the time of day, UTC, so that names sort by time."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            folder = parent / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise write_error(parent, error) from error


def _locked(folder: Path) -> ExitStack:
    """The lock of a part's folder, held until the stack is closed.

    Raises:
        OutputError: the folder has gone.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(folder, waits=True))
        except OSError as error:
            raise write_error(folder, error) from error
        return stack.pop_all()
