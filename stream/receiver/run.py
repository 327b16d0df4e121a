"""`partum receive`: a DICOM node that measures what scanners store."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from stream.app.signals import stopped_by_signals
from stream.batch.reporting.progress import BatchProgress
from stream.batch.run import OF_A_SESSION, Batch
from stream.batch.store import ResultStore
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, OutputError
from stream.measurement.protocols import check_orientation
from stream.outputs.manifest import NOTICE
from stream.receiver.intake import QueueIntake, key_of
from stream.receiver.peers import Peer, check_title
from stream.receiver.queue import ReceivedQueue
from stream.receiver.server import StorageServer, import_pynetdicom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stream.app.options.session_options import SessionOptions
    from stream.batch.recordings import Recording
    from stream.batch.summary import Row
    from stream.common.clock import Clock

EMPTY_S = 600.0
"""The queue is looked through for what is done long enough so often."""


@dataclass(frozen=True, kw_only=True)
class ReceiverOptions:
    """Options of `partum receive`.

    Attributes:
        session: how each recording is measured.
        out: folder of queue and results.
        title: our own AE title.
        bind, port: where to listen.
        peers: who may send, `AET@host`.
        keep_hours: what is done stays so long in the queue.
        jobs: processes that measure; None takes one for each core.
    """

    session: SessionOptions
    out: Path
    title: str
    port: int
    peers: Sequence[str]
    bind: str = ""
    keep_hours: float = 72.0
    jobs: int | None = None


def run_receiver(options: ReceiverOptions) -> None:
    """Listens until it is stopped; what was acknowledged by then is on the disk, and is measured by the next run.

    Raises:
        OptionError: a peer or title is none, or nobody may send.
        OutputError: the port or the folder cannot be had.
        ExtraMissing: pynetdicom is not installed.
        EngineError: no network runs.
        KeyboardInterrupt: Ctrl-C.
    """
    check_orientation(options.session.protocol, options.session.orientation)
    import_pynetdicom()
    title = check_title(options.title, option="--aet")
    peers = [Peer.parse(text, option="--peer", has_port=False) for text in options.peers]
    if not peers:
        raise OptionError("--peer: name who may send, as AET@host; it may be given several times")
    clock = MonotonicClock()
    asked = {name: value for name, value in options.session.as_json().items() if name not in OF_A_SESSION}
    with ExitStack() as stack:
        store = stack.enter_context(ResultStore(options.out, asked=asked, resume=True))
        queue = ReceivedQueue(options.out)
        progress = stack.enter_context(BatchProgress(clock=clock))
        server = stack.enter_context(
            StorageServer(
                title=title,
                host=options.bind,
                port=options.port,
                peers=peers,
                queue=queue,
                told=progress.say,
            )
        )
        batch = Batch(
            QueueIntake(queue),
            store,
            progress,
            options.session,
            clock=clock,
            jobs=options.jobs,
            published=_finisher(queue, progress.say),
        )
        stack.enter_context(_emptied(queue, options.keep_hours, clock))
        progress.say(f"listening as {title} on port {server.port}")
        with stopped_by_signals([batch.stop]) as signals:
            batch.run()
    click.echo(NOTICE)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt


def _finisher(queue: ReceivedQueue, told: Callable[[str], None]) -> Callable[[Recording, Row, Path], None]:
    """What happens to a received object when its result is there: nothing more is to be done for it."""

    def published(recording: Recording, row: Row, folder: Path) -> None:
        try:
            queue.finish(key_of(recording))
        except OutputError as error:  # the next start finds that it is measured
            told(str(error))

    return published


@contextmanager
def _emptied(queue: ReceivedQueue, keep_hours: float, clock: Clock) -> Iterator[None]:
    """Removes what is done for long enough, now and then, until the block ends."""
    done = threading.Event()

    def work() -> None:
        while True:
            with suppress(OSError):  # a disk that cannot be read now is looked at again
                queue.empty(older_than_s=3600 * keep_hours)
            if done.wait(EMPTY_S):
                return

    thread = threading.Thread(target=work, name="partum-queue")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
