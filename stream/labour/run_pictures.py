"""The pictures of a finished run, as they were measured: from its own recording, or from its source once more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from stream.common.errors import RunUnreadable
from stream.labour.run_source import open_again, pictures_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from stream.frames.frame import Frame
    from stream.labour.recorded_run import RecordedRun

KEPT = 64
"""Pictures that stay in memory, so that stepping back a little costs nothing."""
SAME_TIME_S = 2e-6


class RunPictures:
    """The frames of a run by their index, cut to the sector and masked as they were when they were measured.

    Reading goes forward; a frame before the last one read, and no longer kept, starts the pass again. Safe from several
    threads. A context manager.

    Args:
        run: whose pictures.
        source: of the pictures, where the run's own source has moved; None takes what `run.json` names.

    Raises:
        RunUnreadable: the pictures were not kept: a live run without --record.
        SourceError: the source cannot be opened any more.
    """

    def __init__(self, run: RecordedRun, *, source: str | None = None) -> None:
        self._run, self._lock = run, threading.Lock()
        self._uri = source or pictures_of(run)
        self._stack = ExitStack()
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._next = 0
        self._frames = self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the source. Closing twice is harmless."""
        with self._lock:
            self._stack.close()

    def __getitem__(self, index: int) -> Frame:
        """The frame of a record, with its pixels.

        Raises:
            IndexError: the run has no such frame.
            RunUnreadable: the source has no such frame, or another one: it has changed since the run.
            SourceError: the source cannot be read so far.
        """
        if not 0 <= index < len(self._run):
            raise IndexError(f"frame {index}; the run has {len(self._run)}")
        with self._lock:
            if index not in self._kept:
                if index < self._next:
                    self._stack.close()
                    self._frames = self._begin()
                self._read_to(index)
            self._kept.move_to_end(index)
            return self._kept[index]

    def _read_to(self, index: int) -> None:
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                raise self._changed(f"has no frame {self._next} any more")
            self._check(frame)
            self._kept[frame.index] = frame
            self._next = frame.index + 1
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _check(self, frame: Frame) -> None:
        """That this is the picture that was measured, as far as its record tells."""
        table, row = self._run.table, frame.index
        origin = (int(table.counts("origin_x_px")[row]), int(table.counts("origin_y_px")[row]))
        if abs(frame.pts_s - table.numbers("pts_s")[row]) > SAME_TIME_S:
            raise self._changed(f"shows frame {row} at {frame.pts_s:.6f} s, not at {table.numbers('pts_s')[row]:.6f}")
        if table.words("state")[row] == "measured" and frame.origin != origin:
            raise self._changed(f"has the sector of frame {row} at {frame.origin}, not at {origin}")

    def _changed(self, how: str) -> RunUnreadable:
        return RunUnreadable(
            f"{self._run.folder}: its source {how}: it is not what the run measured; give --source with the right one"
        )

    def _begin(self) -> Iterator[Frame]:
        """Opens the source at its start."""
        self._next = 0
        source, preprocessor = open_again(self._run, self._uri)
        self._stack.callback(source.close)
        return (preprocessor.process(frame)[0] for frame in source)
