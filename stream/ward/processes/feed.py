"""The process of one feed: source, preprocessing, measurement, files and its own page; the engine is elsewhere."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.backends.triton import TritonEngine, with_patience
from engines.errors import PartumError
from engines.local.client import LocalEngine
from engines.redaction import redact_text
from stream.common.child_process import end_with_parent, expendable, ignore_terminal_signals, resident_bytes
from stream.ward.processes.link import BEAT, BEAT_S, FAILED, HOLD, READY, STOP, WRITE, ParentLink
from stream.ward.processes.run_part import PartOptions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.outputs.base import Sink
    from stream.outputs.web.board import Board
    from stream.ward.processes.parts import PartWriter

GIVE_UP_S = 2.0
"""A feed that is to end waits so long for an engine that is away."""
PATIENCE_S = 60.0
"""A server (`triton://`) that is away is waited for as long as an engine of this machine."""
EXPENDABLE = 500
"""Of a thousand: where memory runs out, a feed goes before the engine, and that before the ward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedTask:
    """What a feed's process is started with.

    Attributes:
        name, label: of the feed.
        options: how it is measured.
        engine: where the engine of all listens; None takes the server that `options.model` names.
        parts: what is written; None writes nothing.
        parent: process id of the ward.
    """

    name: str
    label: str
    options: SessionOptions
    engine: str | None
    parts: PartOptions | None
    parent: int


def run_feed(connection: Connection[Any, Any], task: FeedTask) -> None:
    """A feed's life: until it is told to stop, or its ward has gone. Why it fails is told before it ends."""
    end_with_parent(task.parent, f"feed {task.name}")
    ignore_terminal_signals()
    expendable(EXPENDABLE)
    feed = _Feed(task)
    signal.signal(signal.SIGTERM, lambda number, frame: feed.stop())
    link = ParentLink(connection, {STOP: feed.stop, HOLD: feed.hold, WRITE: feed.resume})
    code = 0
    try:
        feed.run(link)
    except PartumError as error:
        code = 1
        link.tell(FAILED, reason=redact_text(" ".join(str(error).split()), *task.options.addresses))
    except BaseException as error:  # noqa: BLE001 - the process's boundary: its ward says why it ended
        code = 1
        said = " ".join(f"{type(error).__name__}: {error}".split())
        link.tell(FAILED, reason=redact_text(said, *task.options.addresses))
    os._exit(code)  # whatever a driver or decoder still holds must not keep it


class _Feed:
    """A feed, from its start to its end."""

    def __init__(self, task: FeedTask) -> None:
        self._task = task
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._source: Any = None
        self._writer: PartWriter | None = None
        self._is_held = False

    def stop(self) -> None:
        """Ends the source; what is under way is still measured and written."""
        self._stopping.set()
        threading.Thread(target=self._close_source, name="partum-stop", daemon=True).start()

    def _close_source(self) -> None:
        with suppress(Exception):  # whatever a driver says at its end, the rest ends too
            self._source.close()
        time.sleep(GIVE_UP_S)  # what is under way is answered long before, unless the engine is away
        if isinstance(self._engine, LocalEngine | TritonEngine):
            self._engine.give_up()

    def hold(self) -> None:
        with self._lock:
            self._is_held = True
            if self._writer is not None:
                self._writer.hold()

    def resume(self) -> None:
        with self._lock:
            self._is_held = False
            if self._writer is not None:
                self._writer.resume()

    def run(self, link: ParentLink) -> None:
        """Raises PartumError."""
        from stream.app.run import open_recording
        from stream.common.opencv_threads import one_opencv_thread
        from stream.outputs.web.server import WebServer
        from stream.outputs.web.settings import WebSettings

        options = self._task.options
        with ExitStack() as stack:
            stack.enter_context(one_opencv_thread())
            self._source = stack.enter_context(open_recording(options))
            engine = self._engine = self._load_engine()
            stack.callback(engine.close)
            writer = self._make_writer(engine)
            board = self._make_board(engine, writer)
            settings = WebSettings.checked("127.0.0.1", 0, token=secrets.token_urlsafe(24))
            listening = stack.enter_context(settings.listen())
            port: int = listening.getsockname()[1]
            stack.enter_context(WebServer([board], settings=settings, listening=listening))
            gc.freeze()
            link.tell(READY, host="127.0.0.1", port=port, token=settings.token, engine=engine.name)
            stack.enter_context(_Beats(board, link, writer, self._source, engine))
            self._pump(board, writer, engine)

    def _load_engine(self) -> Engine:
        options = self._task.options
        if self._task.engine is not None:
            return LocalEngine(self._task.engine)
        from stream.inference.engine_trial import load_judged_engine

        model = with_patience(str(options.model), PATIENCE_S)
        return load_judged_engine(model, options.backend, early_exit=options.early_exit)

    def _make_writer(self, engine: Engine) -> PartWriter | None:
        from stream.common.clock import MonotonicClock
        from stream.ward.processes.parts import PartWriter
        from stream.ward.processes.run_part import RunPart

        parts, options = self._task.parts, self._task.options
        if parts is None:
            return None
        with self._lock:
            self._writer = writer = PartWriter(
                parts,
                lambda: RunPart(parts, options, source=self._source, engine=engine),
                clock=MonotonicClock(),
                is_live=self._drops,
            )
            if self._is_held:
                writer.hold()
        return writer

    @property
    def _drops(self) -> bool:
        """Whether frames come at a pace of their own, so that those without time are dropped."""
        return self._task.options.live or self._task.options.pace is not None

    def _make_board(self, engine: Engine, writer: PartWriter | None) -> Board:
        from stream.api.preprocessing import preprocessor_for
        from stream.app.remedies import suggest_remedies
        from stream.common.clock import MonotonicClock
        from stream.outputs.web.board import Board
        from stream.sources.live.base import LiveSource
        from stream.ward.processes.parts import PartMarks

        options, source = self._task.options, self._source
        self._preprocessor = preprocessor_for(
            options.uri,
            source,
            protocol=options.protocol,
            options=options.preprocessing,
            spacing=options.spacing,
            is_live=options.live,
        )
        return Board(
            clock=MonotonicClock(),
            source=source if isinstance(source, LiveSource) else None,
            name=self._task.label,
            facts={
                "note": source.info.note,
                "print": {"protocol": options.protocol, "engine": engine.name, "model": engine.spec.sha256[:8]},
            },
            preprocessor=self._preprocessor,
            marks=None if writer is None else PartMarks(writer),
            remedies=suggest_remedies(options, is_ward=True),
        )

    def _pump(self, board: Board, writer: PartWriter | None, engine: Engine) -> None:
        from stream.common.channel import Overflow
        from stream.outputs.group import SinkGroup
        from stream.pipeline.pipeline import Pipeline
        from stream.tracking.tracker import AOP_NOISE_DEG

        options = self._task.options
        sinks: list[Sink] = [board] if writer is None else [board, writer]
        if self._stopping.is_set():
            self._source.close()
        with (
            SinkGroup([lambda sink=sink: sink for sink in sinks]) as group,  # type: ignore[misc]
            Pipeline(
                self._source,
                engine,
                protocol=options.protocol,
                orientation=options.orientation,
                overflow=Overflow.DROP_OLDEST if self._drops else Overflow.BLOCK,
                preprocessor=self._preprocessor,
                lag_s=options.lag_s,
                noise=options.noise or AOP_NOISE_DEG,
            ) as pipeline,
        ):
            try:
                for measurement in pipeline:
                    group.write(measurement)
            except PartumError:
                if not self._stopping.is_set():  # an engine that went before its feeds is no error of theirs
                    raise


class _Beats:
    """Tells the ward how the feed stands, in a thread, until the block ends."""

    def __init__(self, board: Board, link: ParentLink, writer: PartWriter | None, source: Any, engine: Engine) -> None:
        self._board, self._link, self._writer, self._source, self._engine = board, link, writer, source, engine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partum-beats", daemon=True)

    def __enter__(self) -> _Beats:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with suppress(Exception):
            self._tell()

    def _run(self) -> None:
        while not self._done.wait(BEAT_S):
            self._tell()
            if self._writer is not None:
                self._writer.tick()

    def _tell(self) -> None:
        from stream.outputs.web.state import page_message

        snapshot, counts = self._board.snapshot(), self._board.statistics
        shown = page_message(snapshot)
        status = getattr(self._source, "status", None)
        # A source that has its own way of being away need not be looked after.
        is_there = status is None or status.link.value in ("live", "no_signal")
        self._link.tell(
            BEAT,
            shown=shown["state"],
            reason=shown["reason"],
            aop=shown["aop"],
            hsd=shown["hsd"],
            age_s=round(snapshot.age_s, 3) if snapshot.measurement else None,
            measured_hz=round(snapshot.throughput.measured_hz, 1),
            arriving_hz=round(snapshot.throughput.arriving_hz, 1),
            is_overloaded=snapshot.throughput.is_overloaded,
            frames=dict(counts.states),
            latency_p99_ms=counts.latency_ms.quantile(0.99),
            is_there=is_there,
            is_engine_away=getattr(self._engine, "is_away", False),
            cpu_s=time.process_time(),
            memory_mb=round(resident_bytes() / 1e6, 1),
            recording="off" if self._writer is None else self._writer.state,
        )
