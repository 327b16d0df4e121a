"""Runs one source through preprocessing, network, measurement and outputs, and accounts for every frame."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engines.errors import PartumError
from engines.redaction import redact_text
from stream.app.remedies import suggest_remedies
from stream.common.channel import Overflow
from stream.common.clock import MonotonicClock
from stream.common.errors import OutputError, SourceUnreadable
from stream.outputs.group import SinkGroup
from stream.outputs.manifest import Manifest
from stream.outputs.marks import MarkFile
from stream.outputs.masks import MASKS_NAME, MaskTable
from stream.outputs.pictures.overlay import OverlayVideo
from stream.outputs.pictures.trend_plot import TrendPlot
from stream.outputs.recorder import Recorder
from stream.outputs.results_folder import own_folder
from stream.outputs.run_log import begin_log, seal_log
from stream.outputs.smoothed_table import SmoothedTable
from stream.outputs.tables import RecordTables
from stream.outputs.web.board import Board
from stream.outputs.web.state import display_state
from stream.pipeline.pipeline import Pipeline
from stream.sources import open_live, open_source
from stream.sources.live.base import LiveSource
from stream.sources.wrappers import LoopedSource, PacedSource
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.outputs.base import Sink
    from stream.outputs.pictures.overlay import FilmCoding
    from stream.pipeline.statistics import RunStatistics
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource


class SourceRun:
    """A source being run; a context manager that closes the source.

    Whatever ends it, what was measured by then is on disk, and `run.json` says how it ended.

    Args:
        options: what was asked for.
        engine: closed with the run: a share of one, where several run beside each other.
        source: of frames, closed with the run.
        preprocessor: of that source.
        feeds: how many run beside each other.
        folder: for the results, where it is made already; None makes the one that the options ask for.
        more_sinks: what takes the measurements beside the files that the options ask for.
        film: how hard its encoder works.

    Attributes:
        out: the folder of its results.
        board: what the web page shows of it.
        error: what ended it, where that was an error.
    """

    def __init__(
        self,
        options: SessionOptions,
        engine: Engine,
        *,
        source: FrameSource,
        preprocessor: Preprocessor,
        feeds: int = 1,
        folder: Path | None = None,
        more_sinks: Sequence[Callable[[], Sink]] = (),
        film: FilmCoding | None = None,
    ) -> None:
        self._more_sinks, self._film = tuple(more_sinks), film
        self.options, self.engine, self.source, self.preprocessor = options, engine, source, preprocessor
        self.error: BaseException | None = None
        self._interrupted = threading.Event()
        with ExitStack() as stack:
            stack.callback(engine.close)
            stack.callback(source.close)
            self.out = folder or stack.enter_context(
                own_folder(options.out, source=Path("live" if options.live else options.uri))
            )
            self.board = Board(
                clock=MonotonicClock(),
                source=self.source if isinstance(self.source, LiveSource) else None,
                name=options.name,
                facts={
                    "note": self.source.info.note,
                    "print": {"protocol": options.protocol, "engine": engine.name, "model": engine.spec.sha256[:8]},
                },
                preprocessor=self.preprocessor,
                marks=MarkFile(self.out / "marks.jsonl"),
                remedies=suggest_remedies(options, feeds=feeds),
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def interrupt(self) -> None:
        """Ends the source; what is under way is still measured and written. From any thread, or a signal handler."""
        self._interrupted.set()
        self.source.close()

    @property
    def statistics(self) -> RunStatistics:
        """What became of its frames."""
        return self.board.statistics

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted.is_set()

    @property
    def total(self) -> int | None:
        """How many frames are to come, where that is known."""
        return None if self.options.loop else self.source.info.frame_count

    def run(self, advance: Callable[[], None]) -> None:
        """Runs to the end of the source; calls `advance` after each frame.

        Raises:
            PartumError: of any stage, after the results were closed.
        """
        manifest = Manifest(
            self.out / "run.json", source=self.source.info, engine=self.engine, options=self.options.as_json()
        )
        status, message = "failed", None
        try:
            begin_log(self.out, manifest.facts)
            self._pump(advance)
            self._check_pictures()
            status = "interrupted" if self.is_interrupted else "complete"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except PartumError as error:
            self.error, message = error, redact_text(str(error), *self.options.addresses)
            raise
        except BaseException as error:
            self.error, message = error, redact_text(f"{type(error).__name__}: {error}", *self.options.addresses)
            raise
        finally:
            results = self.statistics.as_json() | {"watch": asdict(self.preprocessor.state)}
            if isinstance(self.source, LiveSource):
                results["link"] = asdict(self.source.status)
            manifest.finish(status, error=message, results=results)
            self._seal(status)

    def _seal(self, status: str) -> None:
        """Enters what was written into the log. Where that fails, the run's own error goes before."""
        named = Path(self.options.uri)
        try:
            seal_log(self.out, status, source=None if self.options.live or not named.exists() else named)
        except OutputError:
            if self.error is None:
                raise

    def _check_pictures(self) -> None:
        """A live run that never got a picture has failed, however it ended."""
        if isinstance(self.source, LiveSource) and not self.statistics.frames_in:
            name = self.options.shown_source
            why = self.source.status.reason.removeprefix(f"{name}: ") or "nothing has answered yet"
            mend = "" if "check" in why else "; check the address, and that the sender is on"
            raise SourceUnreadable(f"{name}: no picture came ({why}){mend}")

    def _pump(self, advance: Callable[[], None]) -> None:
        options = self.options
        with (
            SinkGroup([lambda: self.board, *self._sinks(), *self._more_sinks]) as sinks,
            _timer(options.duration_s, self.source.close),
            Pipeline(
                self.source,
                self.engine,
                protocol=options.protocol,
                orientation=options.orientation,
                overflow=Overflow.DROP_OLDEST if options.live else Overflow.BLOCK,
                preprocessor=self.preprocessor,
                lag_s=options.lag_s,
                noise=options.noise or AOP_NOISE_DEG,
            ) as pipeline,
        ):
            for measurement in pipeline:
                sinks.write(measurement)
                advance()

    def _sinks(self) -> Iterator[Callable[[], Sink]]:
        options, info, out = self.options, self.source.info, self.out
        note = "  ".join(word for word in (info.note, self.engine.spec.warning) if word)
        title = f"{options.name}, {options.protocol}"
        yield lambda: RecordTables(out)
        if options.smooth:
            yield lambda: SmoothedTable(out / "smoothed.csv", noise=options.noise or AOP_NOISE_DEG)
        if not options.tables_only and not options.stills:
            yield lambda: TrendPlot(out / "trend.png", f"{title}  {note}".strip())
            if options.overlay:
                yield lambda: OverlayVideo(
                    out / "overlay.mp4",
                    note=note,
                    frame_rate_hz=info.frame_rate_hz,
                    is_live=options.live,
                    coding=self._film,
                )
        if options.record:
            yield lambda: Recorder(out / "recording", note=info.note)
        if options.masks:
            yield lambda: MaskTable(out / MASKS_NAME)
        if options.igtl_out is not None:
            from stream.outputs.igtl import IgtlOutput

            port = options.igtl_out
            yield lambda: IgtlOutput(port, state=lambda: display_state(self.board.snapshot()))


def open_recording(options: SessionOptions) -> FrameSource:
    """Opens the source, wrapped as `loop` and `pace` ask; a live feed as it is."""
    clock = MonotonicClock()
    if options.live:
        return open_live(options.uri, clock=clock, spacing=options.spacing, decoder=options.decode)

    def opened() -> FrameSource:
        return open_source(options.uri, clock=clock, spacing=options.spacing, decoder=options.decode)

    source = LoopedSource(opened) if options.loop else opened()
    return source if options.pace is None else PacedSource(source, speed=options.pace, clock=clock)


@contextmanager
def _timer(seconds: float | None, stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` after so many seconds, unless left before."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
