"""What a feed writes: a folder for every few minutes, each a whole run by itself.

    FOLDER/room-1/2026-11-26T03-10-00.000000/     run.json, measurements.jsonl, recording/ ...
    FOLDER/room-1/2026-11-26T03-20-00.000000/

Writing never holds the measurement up, and never ends it: it has a thread of its own; where that falls behind, or the
disk is full, what was written by then is finished, and a new folder begins when there is room again.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from stream.common.channel import Channel, ChannelClosed, Overflow
from stream.common.errors import OutputError
from stream.frames.frame import BLANK
from stream.outputs.marks import MarkKind
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream.common.clock import Clock
    from stream.pipeline.record import Measurement
    from stream.ward.processes.run_part import PartOptions, RunPart

WAITING = 90
"""Frames that may wait for the disk: three seconds of a feed. Frames that were dropped wait with the next that was not,
for hundreds of them come at once when an engine that was away is back."""
MOST_DROPPED = 1000
"""Of them, that wait so."""
RETRY_S = 10.0
"""After an error of the disk, writing is tried again so much later."""
MEASURE_S = 1.0
"""The size of the part is looked at so often."""
SEAL_S = 3.0
"""At its end a feed waits so long for the hashes of what it wrote; what has none by then gets them when the ward looks
after its recordings again (`stream.ward.recording.unfinished`)."""
ON = "on"
NO_ROOM = "the disk has no room"


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
        self._packing = threading.Lock()
        self._packed: list[Measurement] = []
        self._channel: Channel[list[Measurement]] = Channel(
            WAITING, overflow=Overflow.DROP_OLDEST if is_live else Overflow.BLOCK, on_drop=self._note_lost
        )
        self._ending: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="partum-parts")
        self._thread.start()

    def write(self, measurement: Measurement) -> None:
        with self._packing:
            self._taken += 1
            is_dropped = measurement.state is FrameState.DROPPED
            if is_dropped:  # its picture goes nowhere
                measurement = replace(measurement, frame=replace(measurement.frame, image=BLANK, field_of_view=None))
            self._packed.append(measurement)
            if not is_dropped or len(self._packed) >= MOST_DROPPED:
                self._send()

    def tick(self) -> None:
        """Ends a part whose time is over, or that is held, also while no frame comes; from any thread."""
        if not self._packing.acquire(blocking=False):
            return  # a frame comes, or waits for the disk
        try:
            if self._packed or (self._part is not None and not self.waiting):
                self._send()
        finally:
            self._packing.release()

    def _send(self) -> None:
        packed, self._packed = self._packed, []
        with suppress(ChannelClosed):
            self._channel.send(packed)

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
        with self._packing:
            if self._packed:
                self._send()
        self._channel.close()
        self._thread.join()
        self._end("complete", in_background=False)
        give_up_s = time.monotonic() + SEAL_S
        for each in self._ending:
            each.join(max(0.0, give_up_s - time.monotonic()))

    def _run(self) -> None:
        for packed in self._channel:
            try:
                self._take(packed)
            except OutputError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - a thread's boundary: the measurement goes on
                self._fail(f"{type(error).__name__}: {error}")
            self._done += len(packed)

    def _take(self, packed: list[Measurement]) -> None:
        """Writes measurements, and does what is due, also where there are none."""
        now_ns = self._clock.now_ns()
        if self._is_held:
            self.state = NO_ROOM
            self._end("interrupted", NO_ROOM)
            return
        if self._has_lost:
            self._has_lost = False
            self._end("interrupted", "the disk did not keep up; some frames are not written")
        elif self._is_full(now_ns):
            self._end("complete")
        if now_ns >= self._retry_ns:
            for measurement in packed:
                self._write(measurement, now_ns)

    def _write(self, measurement: Measurement, now_ns: int) -> None:
        if self._part is None:
            part = self._begin()
            with self._lock:
                self._part = part
            self._began_ns = self._measured_ns = now_ns
        self._part.write(measurement)
        self.state = ON

    def _is_full(self, now_ns: int) -> bool:
        """Raises OutputError where somebody removed the part."""
        if self._part is None:
            return False
        if now_ns - self._began_ns >= self._options.longest_s * 1e9:
            return True
        if now_ns - self._measured_ns < MEASURE_S * 1e9:
            return False
        self._measured_ns = now_ns
        if not self._part.is_there:  # what is written goes to files without a name
            raise OutputError(f"{self._part.folder}: was removed while it was written")
        return folder_bytes(self._part.folder) >= self._options.most_bytes

    def _fail(self, reason: str) -> None:
        self.state = reason = reason.replace("another --out", "another folder of [recording]")
        self._retry_ns = self._clock.now_ns() + round(RETRY_S * 1e9)
        self._end("failed", reason)

    def _end(self, status: str, error: str | None = None, *, in_background: bool = True) -> None:
        """Finishes the part. Its hashes take seconds, and its last pictures a moment: meanwhile the next is written."""
        with self._lock:
            part, self._part = self._part, None
        if part is None:
            return

        def finish() -> None:
            _be_nice()
            part.finish(status, error)
            part.seal()

        if not in_background:
            part.finish(status, error)
        work = finish if in_background else part.seal
        ending = threading.Thread(target=work, name="partum-part", daemon=True)
        self._ending = [*(each for each in self._ending if each.is_alive()), ending]
        ending.start()

    def _note_lost(self, packed: list[Measurement]) -> None:
        self._has_lost = self._has_lost or bool(packed)
        self._lost += len(packed)


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


def _be_nice() -> None:
    """This thread yields to those that measure; on Linux a thread has its own priority."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)


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
