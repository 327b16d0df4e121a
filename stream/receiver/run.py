"""`partum receive`: a DICOM node that measures what scanners store."""

from __future__ import annotations

import signal
import threading
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from stream.batch.backlog import is_given_up
from stream.batch.reporting.progress import BatchProgress
from stream.batch.run import OF_A_SESSION, Batch
from stream.batch.store import ResultStore
from stream.batch.summary import COMPLETE
from stream.common.clock import MonotonicClock
from stream.common.errors import ExtraMissing, OptionError, OutputError
from stream.measurement.protocols import check_orientation
from stream.outputs.manifest import NOTICE
from stream.receiver.associations import import_pynetdicom, threads_told_without_words
from stream.receiver.intake import QueueIntake, recording_key
from stream.receiver.outbox import Outbox
from stream.receiver.peers import Peer, check_title
from stream.receiver.queue import ObjectOutcome, ReceivedQueue
from stream.receiver.server import StorageServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stream.app.options.session_options import SessionOptions
    from stream.batch.recordings import Recording
    from stream.batch.summary import Row
    from stream.common.clock import Clock

EMPTY_S = (5.0, 600.0)
"""The queue is looked through for what is done long enough ten times in the time that it is kept, within these."""
MOST_CRASHES = 5
"""So often an object may take the process that measures it with it: people and systems end processes, too."""


@dataclass(frozen=True, kw_only=True)
class ReceiverOptions:
    """Options of `partum receive`.

    Attributes:
        session: how each recording is measured.
        out: folder of queue and results.
        title: our own AE title.
        bind, port: where to listen.
        peers: who may send, `AET@host`.
        send_to: the archive that is answered, `AET@host:port`; None answers nobody.
        keep_hours: what is done stays so long in the queue.
        jobs: processes that measure; None takes one for each core.
    """

    session: SessionOptions
    out: Path
    title: str
    port: int
    peers: Sequence[str]
    bind: str = ""
    send_to: str | None = None
    keep_hours: float = 72.0
    jobs: int | None = None


def run_receiver(options: ReceiverOptions, stops: list[Callable[[], None]], signals: Sequence[int]) -> None:
    """Listens until it is stopped; what was acknowledged by then is on the disk, and is measured by the next run.

    Args:
        options: of it.
        stops: gets what ends it; called for a signal, as of `stopped_by_signals`.
        signals: that came. One that came before it listens ends it, too.

    Raises:
        OptionError: a peer or title is none, or nobody may send.
        OutputError: the port or the folder cannot be had.
        ExtraMissing: pynetdicom is not installed.
        EngineError: no network runs.
        KeyboardInterrupt: Ctrl-C.
    """
    check_orientation(options.session.protocol, options.session.orientation)
    import_pynetdicom()
    warnings.simplefilter("ignore")  # for good and of all threads: those of DICOM's libraries quote values
    title, peers, to = _parties(options)
    build = _builder() if to else None
    clock = MonotonicClock()
    asked = {name: value for name, value in options.session.as_json().items() if name not in OF_A_SESSION}

    def noted(key: str, words: str) -> None:
        try:
            batch.note(key, words)
        except OutputError as error:
            told(str(error))

    with ExitStack() as stack:
        store = stack.enter_context(ResultStore(options.out, asked=asked, resume=True))
        queue = ReceivedQueue(options.out, keep_s=3600 * options.keep_hours, is_answered=to is not None)
        progress = stack.enter_context(BatchProgress(clock=clock))
        told = progress.say
        stack.enter_context(threads_told_without_words(told))
        outbox = None
        if to and build:
            outbox = Outbox(queue, to=to, title=title, build=build, told=told, clock=clock, noted=noted)
            stack.enter_context(outbox)
        reports = {"committed": outbox.committed} if outbox else {}
        server = stack.enter_context(
            StorageServer(
                title=title, host=options.bind, port=options.port, peers=peers, queue=queue, told=told, **reports
            )
        )
        batch = _batch(options, queue, store, progress, outbox, clock)
        stack.enter_context(_emptied(queue, options.keep_hours))
        stops.append(batch.stop)
        if not signals:
            told(f"listening as {title} on port {server.port}")
            batch.run()
    click.echo(NOTICE)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt


def _batch(
    options: ReceiverOptions,
    queue: ReceivedQueue,
    store: ResultStore,
    progress: BatchProgress,
    outbox: Outbox | None,
    clock: Clock,
) -> Batch:
    """What measures the objects of the queue."""
    return Batch(
        QueueIntake(queue),
        store,
        progress,
        replace(options.session, masks=outbox is not None),  # a segmentation is made of them
        clock=clock,
        jobs=options.jobs,
        published=answerer(queue, outbox, progress.say),
        given_up=lambda each, crashes: crashes >= MOST_CRASHES or queue.is_overdue(recording_key(each)),
        tried_again=lambda each: queue.comes_again(recording_key(each)),
    )


def _parties(options: ReceiverOptions) -> tuple[str, list[Peer], Peer | None]:
    """Our own title, who may call, and the archive that is answered, which may call too.

    Raises:
        OptionError: one of them is none, or nobody may send.
    """
    title = check_title(options.title, option="--aet")
    peers = [Peer.parse(text, option="--peer", has_port=False) for text in options.peers]
    to = Peer.parse(options.send_to, option="--send-to", has_port=True) if options.send_to else None
    if not peers:
        raise OptionError("--peer: name who may send, as AET@host; it may be given several times")
    return title, [*peers, *([to] if to else [])], to


def answerer(
    queue: ReceivedQueue, outbox: Outbox | None, told: Callable[[str], None]
) -> Callable[[Recording, Row, Path], None]:
    """What happens to a received object when its result is there: it is answered, or nothing more."""

    def published(recording: Recording, row: Row, folder: Path) -> None:
        key = recording_key(recording)
        if outbox is not None and row["state"] == COMPLETE and row.get("measured"):
            outbox.add(key, folder)
            return
        is_removed = row["state"] != COMPLETE and queue.is_overdue(key)
        try:
            queue.finish(key, _outcome(row), is_removed=is_removed)
        except OutputError as error:  # the next start finds that it is measured
            told(str(error))

    return published


def _outcome(row: Row) -> ObjectOutcome:
    """How an object ends that is not answered."""
    if row["state"] == COMPLETE:
        return ObjectOutcome.NOT_ANSWERED if row.get("measured") else ObjectOutcome.DONE
    return ObjectOutcome.GIVEN_UP if is_given_up(row) else ObjectOutcome.NOT_MEASURABLE


def _builder() -> Callable[[Path, Path, Path], object]:
    """What makes a structured report and a segmentation of a result.

    Raises:
        ExtraMissing: what it needs is not installed.
    """
    try:
        from stream.receiver.answers import build_answers
    except ImportError as error:
        raise ExtraMissing(f"--send-to: {error.name} is not installed; run: pip install 'partum[dicom]'") from error
    return build_answers


@contextmanager
def _emptied(queue: ReceivedQueue, keep_hours: float) -> Iterator[None]:
    """Removes what is done for long enough, now and then, until the block ends."""
    done = threading.Event()
    least_s, most_s = EMPTY_S
    pause_s = min(max(least_s, 360 * keep_hours), most_s)

    def work() -> None:
        while True:
            queue.empty()
            if done.wait(pause_s):
                return

    thread = threading.Thread(target=work, name="partum-queue")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
