"""The pictures of a finished run, as they were measured: from its own recording, or from its source once more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stream.api.preprocessing import preprocessor_for
from stream.common.errors import RunUnreadable, SourceError
from stream.frames.frame import PixelSpacing
from stream.preprocessing.options import PreprocessingOptions
from stream.preprocessing.sector.detection import Panes
from stream.sources import open_source
from stream.sources.demo import DEMO_CLIP
from stream.sources.wrappers import LoopedSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Any

    from stream.frames.frame import Frame
    from stream.labour.recorded_run import RecordedRun

RECORDING = "recording"
DEMO = "demonstration clip"
"""How `run.json` names the recording that ships."""
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
        recording = run.folder / RECORDING
        self._uri = source or (str(recording) if recording.is_dir() else _named_source(run))
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
        uri, options = self._uri, self._run.options
        spacing = _spacing(options.get("spacing_mm"))
        self._next = 0

        def opened() -> Any:
            return open_source(uri, spacing=spacing)

        try:
            source = self._stack.enter_context(LoopedSource(opened) if options.get("loop") else opened())
            preprocessor = preprocessor_for(
                uri, source, protocol=self._run.protocol, options=_preprocessing(options), spacing=spacing
            )
        except SourceError as error:
            self._stack.close()
            raise type(error)(
                f"{error}; the pictures of {self._run.folder} come from there: --source names it"
            ) from error
        return (preprocessor.process(frame)[0] for frame in source)


def _named_source(run: RecordedRun) -> str:
    """The source as the run was given it."""
    if run.is_live:
        raise RunUnreadable(f"{run.folder}: its pictures were not kept; a live run keeps them with --record")
    named = str(run.options.get("source") or DEMO)
    return str(DEMO_CLIP) if named == DEMO else named


def _preprocessing(options: Mapping[str, Any]) -> PreprocessingOptions:
    """What `SessionOptions.as_json` wrote of it."""
    sector, size, pane = options.get("sector"), options.get("profile_screen"), options.get("pane")
    return PreprocessingOptions(
        sector=tuple(sector) if isinstance(sector, list) else sector or "auto",
        pane=Panes(pane) if pane else None,
        tick_mm=options.get("tick_mm"),
        spacing=_spacing(options.get("profile_spacing_mm")),
        size=(size[0], size[1]) if size else None,
    )


def _spacing(pair: list[float] | None) -> PixelSpacing | None:
    return PixelSpacing(*pair) if pair else None


def source_path(run: RecordedRun) -> Path | None:
    """The file or folder that a run read; None for a live feed, a phantom, or what is no longer there."""
    if run.is_live:
        return None
    path = Path(_named_source(run))
    return path if path.exists() else None
