"""What a feed writes: a folder for every few minutes, each a whole run by itself.

    FOLDER/room-1/2026-11-26T03-10-00.000Z/     run.json, measurements.jsonl, recording/ ...
    FOLDER/room-1/2026-11-26T03-20-00.000Z/

Writing never holds the measurement up, and never ends it: it has a thread of its own; where that falls behind, or the
disk is full, what was written by then is finished, and a new folder begins when there is room again.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stream.common.atomic_file import write_error
from stream.common.channel import Channel, ChannelClosed, Overflow
from stream.common.errors import OutputError
from stream.outputs.group import SinkGroup
from stream.outputs.manifest import Manifest
from stream.outputs.marks import MarkFile, MarkKind
from stream.outputs.recorder import Recorder
from stream.outputs.run_log import begin_log, seal_log
from stream.outputs.tables import RecordTables
from stream.pipeline.statistics import RunStatistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.common.clock import Clock
    from stream.frames.frame import Frame
    from stream.pipeline.record import Measurement
    from stream.sources.base import FrameSource

WAITING = 90
"""Frames that may wait for the disk: three seconds of a feed."""
RETRY_S = 10.0
"""After an error of the disk, writing is tried again so much later."""
MEASURE_S = 1.0
"""The size of the part is looked at so often."""
ON = "on"


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
        OutputError: it cannot be made.
    """

    def __init__(self, options: PartOptions, session: SessionOptions, *, source: FrameSource, engine: Engine) -> None:
        self.folder = _new_folder(options.folder)
        self._statistics = RunStatistics()
        self._manifest = Manifest(
            self.folder / "run.json", source=source.info, engine=engine, options=session.as_json()
        )
        begin_log(self.folder, self._manifest.facts)
        note = source.info.note
        recorders = [lambda: Recorder(self.folder / "recording", note=note)] if options.pictures else []
        self._sinks = SinkGroup([lambda: RecordTables(self.folder), *recorders])
        self._marks = MarkFile(self.folder / "marks.jsonl")
        self._first: Frame | None = None

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
        """Closes all files, says how it ended, and enters the files into the log; as far as the disk lets it."""
        with suppress(OutputError):
            self._marks.close()
        try:
            self._sinks.__exit__(None, None, None)
        except OutputError as failed:
            status, error = "failed", error or str(failed)
        with suppress(OutputError):
            self._manifest.finish(status, error=error, results=self._statistics.as_json())
        with suppress(OutputError):
            seal_log(self.folder, status, source=None)

    def bytes_written(self) -> int:
        """Of all files, as they are now."""
        return folder_bytes(self.folder)


class PartWriter:
    """A `stream.outputs.base.Sink` that writes parts and never fails.

    Args:
        options: what is written.
        begin: makes a part.
        clock: tells how long a part is.
        is_live: frames that the disk has no time for are left out; those of a recording wait.
    """

    def __init__(
        self, options: PartOptions, begin: Callable[[], RunPart], *, clock: Clock, is_live: bool = True
    ) -> None:
        self._options, self._begin, self._clock = options, begin, clock
        self.state = ON
        """`on`, or why nothing is written."""
        self._part: RunPart | None = None
        self._lock = threading.Lock()
        self._began_ns = self._measured_ns = self._retry_ns = clock.now_ns()
        self._is_held, self._has_lost = False, False
        self._taken = self._done = self._lost = 0
        self._channel: Channel[Measurement] = Channel(
            WAITING, overflow=Overflow.DROP_OLDEST if is_live else Overflow.BLOCK, on_drop=self._note_lost
        )
        # Hashes of a part's files take seconds: meanwhile the next part is being written.
        self._finishing = ThreadPoolExecutor(1, "partum-part", initializer=_be_nice)
        self._thread = threading.Thread(target=self._run, name="partum-parts")
        self._thread.start()

    def write(self, measurement: Measurement) -> None:
        self._taken += 1
        with suppress(ChannelClosed):
            self._channel.send(measurement)

    @property
    def waiting(self) -> int:
        """Frames that are not written yet."""
        return self._taken - self._done - self._lost

    def hold(self) -> None:
        """Ends the part and writes nothing, until `resume`; from any thread."""
        self._is_held = True

    def resume(self) -> None:
        """Goes on after `hold`."""
        self._is_held = False

    def mark(self, measurement: Measurement, kind: MarkKind, note: str) -> None:
        """Writes a viewer's mark into the part.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            if self._part is None:
                raise OutputError(f"nothing is written now ({self.state})" if self.state != ON else "not begun yet")
            self._part.mark(measurement, kind, note)

    def close(self) -> None:
        """Finishes the part."""
        self._channel.close()
        self._thread.join()
        self._end("complete")
        self._finishing.shutdown()

    def _run(self) -> None:
        for measurement in self._channel:
            try:
                self._write(measurement)
            except OutputError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - a thread's boundary: the measurement goes on
                self._fail(f"{type(error).__name__}: {error}")
            self._done += 1

    def _write(self, measurement: Measurement) -> None:
        now_ns = self._clock.now_ns()
        if self._is_held:
            self.state = "the disk has no room"
            self._end("interrupted", "the disk has no room")
            return
        if now_ns < self._retry_ns:
            return
        if self._has_lost:
            self._has_lost = False
            self._end("interrupted", "the disk did not keep up; some frames are not written")
        elif self._is_full(now_ns):
            self._end("complete")
        if self._part is None:
            part = self._begin()
            with self._lock:
                self._part = part
            self._began_ns = self._measured_ns = now_ns
        self._part.write(measurement)
        self.state = ON

    def _is_full(self, now_ns: int) -> bool:
        if self._part is None:
            return False
        if now_ns - self._began_ns >= self._options.longest_s * 1e9:
            return True
        if now_ns - self._measured_ns < MEASURE_S * 1e9:
            return False
        self._measured_ns = now_ns
        return self._part.bytes_written() >= self._options.most_bytes

    def _fail(self, reason: str) -> None:
        self.state = reason
        self._retry_ns = self._clock.now_ns() + round(RETRY_S * 1e9)
        self._end("failed", reason)

    def _end(self, status: str, error: str | None = None) -> None:
        with self._lock:
            part, self._part = self._part, None
        if part is not None:
            self._finishing.submit(part.finish, status, error)

    def _note_lost(self, measurement: Measurement) -> None:
        self._has_lost = True
        self._lost += 1


class PartMarks:
    """What a `Board` writes its marks to: the part that is being written.

    Args:
        writer: of the parts.
    """

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer

    def add(self, measurement: Measurement, kind: MarkKind = MarkKind.MARK, *, note: str = "") -> None:
        """Raises OutputError where it cannot be written."""
        self._writer.mark(measurement, kind, note)

    def close(self) -> None:
        """Each part closes its own."""


def folder_bytes(folder: Path) -> int:
    """Of all files in a folder and below it; of what goes meanwhile, nothing."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += folder_bytes(folder / entry.name)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


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


def _be_nice() -> None:
    """This thread yields to those that measure; on Linux a thread has its own priority."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
