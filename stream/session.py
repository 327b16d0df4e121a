"""`partum replay` and `partum attach`: a source through the pipeline, into files and onto a screen, and a table."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from engines.cache import live_stream
from engines.errors import PartumError
from engines.registry import load_engine
from stream.biometry import Orientation
from stream.channel import Overflow
from stream.clock import MonotonicClock
from stream.pipeline import Pipeline
from stream.protocols import check_orientation
from stream.results import prepare_folder
from stream.screen.board import Board
from stream.sinks.manifest import NOTICE, Manifest
from stream.sinks.overlay import Overlay
from stream.sinks.tables import Csv, JsonLines
from stream.sinks.together import Together
from stream.sinks.trend import Trend
from stream.sources import open_live, open_source
from stream.sources.live import LiveSource
from stream.sources.network import redacted
from stream.sources.paced import Looped, Paced
from stream.telemetry import RunStatistics
from stream.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.base import Engine
    from stream.frame import PixelSpacing
    from stream.sinks.base import Sink
    from stream.sources.base import FrameSource, SourceInfo

DEMO_CLIP = Path(__file__).parent / "demo" / "demo.mp4"
"""A real frame brought to motion by warps of a known AoP course; see `calibration/demo_clip.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the user asked for.

    Attributes:
        source: path or URI; None plays the demonstration clip.
        out: folder for the results; None makes a new one.
        pace: how many times as fast as recorded; None as fast as possible.
        loop: replay without end.
        early_exit: decode only frames that may be standard planes.
        live: the source is a live feed: the newest frame wins, and it runs until it is stopped.
        serve: address of the screen, `host:port`; None serves none.
        token: that viewers must bring; None makes one where the screen can be reached from elsewhere.
        duration_s: ends a live run by itself; None goes on.
    """

    source: str | None = None
    out: Path | None = None
    pace: float | None = None
    backend: str = "auto"
    model: str | None = None
    protocol: str = "robust"
    orientation: Orientation = Orientation.AUTO
    spacing: PixelSpacing | None = None
    overlay: bool = True
    loop: bool = False
    early_exit: bool = False
    live: bool = False
    serve: str | None = None
    token: str | None = None
    duration_s: float | None = None

    @property
    def shown_source(self) -> str:
        """The source as files, screens and logs may name it."""
        return "demonstration clip" if self.source is None else redacted(self.source) if self.live else self.source

    @property
    def uri(self) -> str:
        return self.source if self.source is not None else str(DEMO_CLIP)

    def as_json(self) -> dict[str, object]:
        """The options as written to `run.json`."""
        return {
            "source": self.shown_source,
            "pace": self.pace or "asap",
            "backend": self.backend,
            "model": self.model or "default",
            "protocol": self.protocol,
            "orientation": str(self.orientation),
            "spacing_mm": [self.spacing.x_mm, self.spacing.y_mm] if self.spacing else None,
            "overlay": self.overlay,
            "loop": self.loop,
            "early_exit": self.early_exit,
            "live": self.live,
            "serve": self.serve,
            "duration_s": self.duration_s,
        }


def run_session(options: SessionOptions) -> RunStatistics:
    """Replays, writes the results and prints the table.

    Whatever ends the run, what was measured by then is on disk and `run.json` says how it ended.

    Raises:
        PartumError: of any stage, after the results were closed.
        KeyboardInterrupt: Ctrl-C, likewise.
    """
    check_orientation(options.protocol, options.orientation)
    statistics = RunStatistics()
    with ExitStack() as stack:
        source = stack.enter_context(open_recording(options))
        if options.live or options.pace is not None:
            stack.enter_context(live_stream())
        engine = stack.enter_context(load_engine(options.model, options.backend, early_exit=options.early_exit))
        out = prepare_folder(options.out, source=Path("live" if options.live else options.uri))
        interrupted = stack.enter_context(_ctrl_c(source.close))
        manifest = Manifest(out / "run.json", source=source.info, engine=engine, options=options.as_json())
        status, message = "failed", None
        try:
            _run(options, source, engine, out, statistics)
            status = "interrupted" if interrupted.is_set() else "complete"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except PartumError as error:
            message = str(error)
            raise
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            manifest.finish(status, error=message, results=statistics.as_json())
    _print_summary(options, statistics, source.info, engine, out)
    if interrupted.is_set():
        raise KeyboardInterrupt
    return statistics


def open_recording(options: SessionOptions) -> FrameSource:
    """Opens the source, wrapped as `loop` and `pace` ask; a live feed as it is."""
    clock = MonotonicClock()
    if options.live:
        return open_live(options.uri, clock=clock, spacing=options.spacing)

    def opened() -> FrameSource:
        return open_source(options.uri, clock=clock, spacing=options.spacing)

    source = Looped(opened) if options.loop else opened()
    return source if options.pace is None else Paced(source, speed=options.pace, clock=clock)


def _run(options: SessionOptions, source: FrameSource, engine: Engine, out: Path, statistics: RunStatistics) -> None:
    """Runs the pipeline into the sinks, to the end of the source."""
    total = None if options.loop else source.info.frame_count
    board = Board(clock=MonotonicClock(), source=source if isinstance(source, LiveSource) else None)
    with (
        Together([lambda: board, *_sinks(options, source.info, engine.spec.mark, out)]) as sinks,
        _screen(options, board, source.info, engine),
        _progress() as progress,
        _timer(options.duration_s, source.close),
        Pipeline(
            source,
            engine,
            protocol=options.protocol,
            orientation=options.orientation,
            overflow=Overflow.DROP_OLDEST if options.live else Overflow.BLOCK,
            watch=Watch() if options.live else None,
        ) as pipeline,
    ):
        task = progress.add_task("attached" if options.live else "replay", total=total, fps="")
        for measurement in pipeline:
            sinks.write(measurement)
            statistics.add(measurement)
            _advance(progress, task)


def _sinks(options: SessionOptions, info: SourceInfo, mark: str, out: Path) -> Iterator[Callable[[], Sink]]:
    note = "  ".join(word for word in (info.note, mark) if word)
    name = options.shown_source if options.live or options.source is None else Path(options.uri).name
    title = f"{name}, {options.protocol}"
    yield lambda: JsonLines(out / "measurements.jsonl")
    yield lambda: Csv(out / "measurements.csv")
    yield lambda: Trend(out / "trend.png", f"{title}  {note}".strip())
    if options.overlay:
        yield lambda: Overlay(out / "overlay.mp4", note=note, frame_rate_hz=info.frame_rate_hz)


@contextmanager
def _screen(options: SessionOptions, board: Board, info: SourceInfo, engine: Engine) -> Iterator[None]:
    """The screen server, where one is asked for."""
    if options.serve is None:
        yield
        return
    from stream.screen.server import ScreenServer, parse_address

    host, port = parse_address(options.serve)
    facts = {
        "note": info.note,
        "print": {"protocol": options.protocol, "engine": engine.name, "model": engine.spec.sha256[:8]},
    }
    with ScreenServer(board, host=host, port=port, facts=facts, token=options.token) as server:
        Console(stderr=True).print(f"screen: {server.address}", markup=False, soft_wrap=True)
        yield


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


@contextmanager
def _ctrl_c(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) closes the source, so that frames under way are still written.

    A second one does what it would have done without this.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # signals reach the main thread only
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        pressed.set()
        restore()
        stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield pressed
    finally:
        restore()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _advance(progress: Progress, task: TaskID) -> None:
    state = progress.tasks[0]
    speed = state.finished_speed or state.speed
    progress.update(task, advance=1, fps=f"{speed:.0f} fps" if speed else "")


def _print_summary(
    options: SessionOptions, statistics: RunStatistics, info: SourceInfo, engine: Engine, out: Path
) -> None:
    """The short table a run ends with, on stdout."""
    table = Table(
        title=escape(f"{'demonstration clip' if options.source is None else info.uri}, {engine.name}"),
        title_justify="left",
        show_header=False,
    )
    if engine.spec.mark:
        table.add_row("attention", escape(engine.spec.mark))
    table.add_row("frames in", str(statistics.frames_in))
    table.add_row("measured", str(statistics.states["measured"]))
    table.add_row("refused", str(statistics.states["refused"]))
    for reason, count in statistics.reasons.most_common():
        table.add_row(f"  {reason}", str(count))
    table.add_row("dropped", str(statistics.states["dropped"]))
    for cause, count in statistics.drops.most_common():
        table.add_row(f"  {cause}", str(count))
    for name, label, unit in (
        ("aop_deg", "AoP, median", "°"),
        ("hsd_min_mm", "HSD (shortest), median", " mm"),
        ("hsd_min_px", "HSD (shortest), median", " px"),
    ):
        found = statistics.typical(name)
        if found and not (unit == " px" and statistics.typical("hsd_min_mm")):
            value, low, high = found
            table.add_row(label, f"{value:.1f}{unit}  (95 % interval {low:.1f} to {high:.1f}{unit})")
    # As fast as possible, frames wait for the slowest stage: that time is part of their latency.
    queued = "" if options.pace or options.live else "  (as fast as possible: waiting included)"
    spread = [statistics.latency_ms.quantile(share) for share in (0.5, 0.9, 0.99)]
    if None not in spread:
        table.add_row("latency p50 / p90 / p99", " / ".join(f"{value:.1f}" for value in spread) + f" ms{queued}")
    table.add_row("results", escape(str(out)))
    console = Console()
    console.print(table)
    console.print(NOTICE)
