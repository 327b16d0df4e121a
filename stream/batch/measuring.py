"""Measures one recording into a folder: what a worker process does, and what any other scheduler may call."""

from __future__ import annotations

import gc
import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2

from engines.errors import PartumError
from engines.sharing import BorrowedEngine
from stream.api.preprocessing import preprocessor_for
from stream.app.run import SourceRun
from stream.batch.content import stamp_of
from stream.batch.summary import COMPLETE, FAILED, Row, write_summary
from stream.batch.summary_sink import SummaryCourse, SummarySink, row_of
from stream.common.clock import MonotonicClock
from stream.common.durable import sync_folder
from stream.common.errors import SourceDenied, SourceError, SourceNotFound, SourceUnavailable, SourceUnreadable
from stream.inference.engine_trial import load_judged_engine
from stream.inference.frame_analyzer import needs_logits
from stream.outputs.pictures.overlay import FilmCoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.batch.recordings import Job


FILM = FilmCoding(preset="ultrafast", crf=28, details="no-deblock=0:deblock=0,0")
"""Takes under half the time of a replay's film, at nearly its quality and two to three times its size."""


def load_measuring_engine(options: SessionOptions, *, threads: int) -> Engine:
    """The engine of a process that measures recordings, one after the other, on its share of the cores.

    What is there after this stays until the process ends, and need not be looked through for garbage.

    Raises:
        EngineError: no network runs here.
    """
    cv2.setNumThreads(1)  # see `stream.common.opencv_threads`
    engine = load_judged_engine(
        options.model,
        options.backend,
        device=options.device,
        threads=threads,
        early_exit=options.early_exit,
        throughput=threads > 1,
        precision=options.precision,
        labels=not needs_logits(options.protocol),
    )
    gc.freeze()
    return engine


def is_final(error: PartumError) -> bool:
    """Whether it would come again with the same content: the file's fault, not that of the machine it is read on."""
    if not isinstance(error, SourceError) or isinstance(error, (SourceUnavailable, SourceNotFound, SourceDenied)):
        return False
    return not isinstance(error.__cause__, OSError) or error.__cause__.errno is None


def measure_job(
    job: Job,
    *,
    options: SessionOptions,
    engine: Engine,
    threads: int | None = None,
    advance: Callable[[int, int | None], None] = lambda done, total: None,
) -> Row:
    """Measures a recording; its folder is whole and on the disk when this returns.

    A recording that cannot be read, or not to its end, is a result too: its row says why.

    Args:
        job: the recording and its folder.
        options: as of a replay; `source` and `out` are the job's.
        engine: stays open.
        threads: that encoders may keep busy; None takes what is there.
        advance: called after each frame with the frames done, and those to come, where that is known.

    Returns:
        The row of the summary.

    Raises:
        PartumError: what another try, or another machine, may mend: a full disk, a package that is missing, a recording
            that was written to meanwhile.
    """
    recording = job.recording
    options = replace(options, source=recording.source, out=job.folder)
    row: Row = {"state": COMPLETE}
    course = SummaryCourse()
    with stream_warnings() as warned:
        try:
            _run(job, options, engine, threads, advance, row, course)
        except PartumError as error:
            if not is_final(error):
                raise type(error)(recording.told(str(error))) from error
            row |= {"state": FAILED, "error": recording.told(str(error))}
    if stamp_of(recording) != job.stamp:
        raise SourceUnavailable(
            f"{recording.source}: was written to while it was measured; measure it when it is whole"
        )
    notes = [row.get("note", ""), *(recording.told(each) for each in warned)]
    row |= {"note": "; ".join(each for each in notes if each), "sha256": job.sha256}
    write_summary(job.folder, row, course.points)
    sync_folder(job.folder)
    return row


def _run(
    job: Job,
    options: SessionOptions,
    engine: Engine,
    threads: int | None,
    advance: Callable[[int, int | None], None],
    row: Row,
    course: SummaryCourse,
) -> None:
    """Runs it, and fills row and course; where an error ends it, with what was measured by then."""
    recording, clock = job.recording, MonotonicClock()
    with recording.open(clock=clock, spacing=options.spacing) as source:
        if source.info.frame_count == 1:  # there is nothing to follow
            options = replace(options, stills=True)
        if options.stills and source.info.frame_count not in (None, 1):
            raise SourceUnreadable(
                f"{recording.source}: holds {source.info.frame_count} pictures, and --stills measures single ones;"
                " measure it without --stills"
            )
        preprocessor = preprocessor_for(
            recording.path,
            source,
            protocol=options.protocol,
            options=options.preprocessing,
            spacing=options.spacing,
            reopen=lambda: recording.open(clock=clock, spacing=options.spacing),
        )
        note = source.info.note
        shown = SummarySink(job.folder, course, draws=not options.tables_only, is_still=options.stills, note=note)
        with SourceRun(
            options,
            BorrowedEngine(engine),
            source=source,
            preprocessor=preprocessor,
            folder=job.folder,
            more_sinks=[lambda: shown],
            film=replace(FILM, threads=threads),
        ) as run:

            def tell() -> None:
                advance(run.statistics.frames_in, run.total)

            try:
                run.run(tell)
            finally:
                row |= row_of(
                    run.statistics,
                    shown,
                    engine=engine,
                    protocol=options.protocol,
                    is_still=options.stills,
                    note=note,
                )


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


@contextmanager
def stream_warnings() -> Iterator[list[str]]:
    """Collects what is said of a recording while it is measured, in the place of showing it."""
    handler, logger = _Warnings(), logging.getLogger("stream")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
