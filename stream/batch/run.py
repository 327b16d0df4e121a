"""`partum batch`: many recordings, each content once, by processes side by side."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.app.signals import stopped_by_signals
from stream.batch.backlog import JobBacklog
from stream.batch.finding import BATCH, Finder
from stream.batch.intake import SETTLE_S, InputIntake, WatchingIntake
from stream.batch.reporting.page import write_page
from stream.batch.reporting.progress import BatchProgress
from stream.batch.reporting.tables import write_csv_summary, write_parquet
from stream.batch.store import ResultStore
from stream.batch.summary import COMPLETE
from stream.batch.workers import Progress, Ready, WorkerPool, default_jobs
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, OutputError, StreamError
from stream.measurement.protocols import check_orientation
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.app.options.session_options import SessionOptions
    from stream.batch.backlog import GivenUp
    from stream.batch.intake import Intake
    from stream.batch.recordings import Job, Recording
    from stream.batch.summary import Row
    from stream.batch.workers import Event
    from stream.common.clock import Clock

STEP_S = 0.25
"""How long a batch waits for its workers before it looks at anything else."""
TELL_S, TELL_SHARE = 10.0, 0.05
"""While it runs, table and page are written anew at most so often, and for at most this share of the time."""
OF_A_SESSION = frozenset(
    {"source", "out", "from_files", "live", "pace", "loop", "duration_s", "record", "igtl_out", "masks"}
)
"""Options of a session that say nothing of how a recording of a batch is measured."""


class BatchFailed(StreamError, RuntimeError):
    """Some recordings were not measured, or not all by the end."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options of `partum batch`.

    Attributes:
        inputs: files, folders, globs, `@list.txt`, archives.
        session: how each is measured.
        out: folder of the results.
        jobs: processes; None takes one for each core.
        resume: goes on with what is in `out`.
        watch: goes on watching the inputs.
        settle_s: while watching, a recording has stopped growing when its files have not changed for so long.
        named: folders of results are named after the recordings too.
    """

    inputs: Sequence[str]
    session: SessionOptions
    out: Path
    jobs: int | None = None
    resume: bool = False
    watch: bool = False
    settle_s: float = SETTLE_S
    named: bool = False

    @property
    def asked(self) -> dict[str, object]:
        """What all results in a folder share, as JSON values."""
        return {name: value for name, value in self.session.as_json().items() if name not in OF_A_SESSION}


def run_batch(options: BatchOptions) -> None:
    """Measures the recordings that the inputs name, and tells of them in one table and one page.

    Raises:
        OptionError: an option cannot be, or `out` holds results of other options.
        OutputError, EngineError: nothing can be written, or no network runs; what is done by then is kept.
        BatchFailed: some recordings could not be measured; the others are.
        KeyboardInterrupt: Ctrl-C, after table and page were written.
    """
    check_orientation(options.session.protocol, options.session.orientation)
    inputs = _without(options.out, options.inputs)
    clock = MonotonicClock()
    with ResultStore(options.out, asked=options.asked, resume=options.resume, named=options.named) as store:
        finder = Finder(stills=options.session.stills, leave_out=options.out)
        intake = (
            WatchingIntake(inputs, finder, store.work_folder, clock=clock, settle_s=options.settle_s)
            if options.watch
            else InputIntake(inputs, finder, store.work_folder)
        )
        with BatchProgress(clock=clock) as progress:
            batch = Batch(intake, store, progress, options.session, clock=clock, jobs=options.jobs)
            with stopped_by_signals([batch.stop]) as signals:
                batch.run()
        click.echo(batch.last_words)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    batch.raise_for_failures()


def _without(out: Path, inputs: Sequence[str]) -> Sequence[str]:
    """The inputs without the folder of the results, which a shell's `*` names too once it is there.

    Raises:
        OptionError: the results would go where the only input is.
    """
    others = [each for each in inputs if Path(each).resolve() != out.resolve()]
    if len(others) < len(inputs) and not (others and (out / BATCH).is_file()):
        raise OptionError(f"{out}: is an input too; choose another --out")
    return others


class Batch:
    """The parent of the workers: takes recordings in, hands them out, and tells what came of them.

    Args:
        intake: where they come from.
        store: of the results, open.
        progress: told of each step.
        session: how each is measured.
        clock: of further tries.
        jobs: processes; None takes one for each core.
        published: called with each result, also with those that are there already.
        given_up, tried_again: as of `JobBacklog`.
    """

    def __init__(
        self,
        intake: Intake,
        store: ResultStore,
        progress: BatchProgress,
        session: SessionOptions,
        *,
        clock: Clock,
        jobs: int | None = None,
        published: Callable[[Recording, Row, Path], None] = lambda recording, row, folder: None,
        given_up: GivenUp | None = None,
        tried_again: Callable[[Recording], bool] = lambda recording: False,
    ) -> None:
        self._intake, self._store, self._progress, self._session = intake, store, progress, session
        self._clock, self._jobs = clock, jobs
        self._goes_on = intake.is_endless
        self.backlog = JobBacklog(
            store,
            progress,
            clock=clock,
            goes_on=self._goes_on,
            ended=intake.ended,
            published=published,
            given_up=given_up,
            tried_again=tried_again,
        )
        self._stop = threading.Event()
        self._told_ns, self._tell_ns = clock.now_ns(), round(TELL_S * 1e9)
        self._is_told = False
        self._notes: dict[str, None] = {}
        self._first: Job | None = None
        self._model: dict[str, str] | None = None
        self._said = ""

    def stop(self) -> None:
        """Ends the batch; what is being measured is left to the next."""
        self._stop.set()

    def run(self) -> None:
        """Measures until all is done, or until it is stopped; table and page are written whatever ends it.

        Raises:
            PartumError: nothing more can be measured.
        """
        try:
            self._take_in()
            if self.backlog.count or not self._intake.is_exhausted:
                self._work()
        except BaseException:
            with suppress(OutputError):  # that of the disk is raised already
                self.tell()
            raise
        self._tell_if_possible()

    def note(self, sha256: str, words: str) -> None:
        """Adds to what is told of a result. From any thread.

        Raises:
            OutputError: it cannot be written.
        """
        self._store.note(sha256, words)
        self._is_told = False

    def tell(self) -> None:
        """Writes table and page.

        Raises:
            OutputError: they cannot be written.
        """
        start_ns = self._clock.now_ns()
        rows = self.rows
        write_csv_summary(self._store.folder, rows)
        if missing := write_parquet(self._store.folder, rows):
            self._notes[missing] = None
        write_page(self._store, rows)
        self._told_ns, self._is_told = self._clock.now_ns(), True
        self._tell_ns = max(round(TELL_S * 1e9), round((self._told_ns - start_ns) / TELL_SHARE))

    @property
    def rows(self) -> list[Row]:
        """A row for each content, and for each input that could not be read."""
        return [*self._store.rows(self.backlog.failed), *self.backlog.unread]

    @property
    def last_words(self) -> str:
        """What came of it, for people."""
        rows = self.rows
        complete = sum(row["state"] == COMPLETE for row in rows)
        measured = sum(bool(row.get("measured")) for row in rows)
        same = sum(len(row.get("same_content") or ()) for row in rows)
        said = [f"{self._store.folder}: {complete} of {len(rows)} recordings done, {measured} with a measurement"]
        if same:
            said.append(f"{same} more of the same content")
        if self._stop.is_set() and self.backlog.unfinished and not self._goes_on:
            said.append(f"{self.backlog.unfinished} to come with --resume")
        return "\n".join([", ".join(said), *self._notes, NOTICE])

    def raise_for_failures(self) -> None:
        """Says that some recordings were not measured.

        Raises:
            BatchFailed: there are such.
        """
        if self._goes_on:
            return  # each was told when it came, and more may
        rows = self.rows
        failed = [row for row in rows if row["state"] != COMPLETE]
        if self._stop.is_set() and self.backlog.unfinished:
            raise BatchFailed(f"stopped with {self.backlog.unfinished} recordings to come; go on with --resume")
        if failed:
            others = f", and {len(failed) - 1} more in summary.csv" if len(failed) > 1 else ""
            raise BatchFailed(f"{len(failed)} of {len(rows)} recordings failed: {failed[0]['error']}{others}")
        if not rows:
            raise BatchFailed("nothing was measured: the inputs hold no recordings")

    def _work(self) -> None:
        self._first = self._first_job()
        if self._first is None and not self._goes_on:
            return
        jobs = self._jobs or default_jobs()
        if self._intake.is_exhausted:
            jobs = min(jobs, self.backlog.count + 1)
        with WorkerPool(jobs, self._session, clock=self._clock) as pool:
            while not self._stop.is_set() and self._has_more(pool):
                events = pool.poll(STEP_S)
                self._begin()
                self._hand_out(pool)  # a worker need not wait for what becomes of its last result
                for event in events:
                    self._take(event)
                if self.backlog.fatal:
                    raise self.backlog.fatal
                self._take_in(is_idle=pool.has_room)
                self._hand_out(pool)  # what came in need not wait for the next look
                if not self._is_told and self._clock.now_ns() - self._told_ns > self._tell_ns:
                    self._tell_if_possible()

    def _has_more(self, pool: WorkerPool) -> bool:
        return bool(not self._intake.is_exhausted or self.backlog.count or pool.jobs or self._first)

    def _first_job(self) -> Job | None:
        """What a worker is started for; None where all is done, or nothing is there yet."""
        while not self._stop.is_set():
            if job := self.backlog.next_job():
                return job
            if self._goes_on or self._intake.is_exhausted:
                break
            self._take_in()
        return None

    def _begin(self) -> None:
        """Notes the model, before anything is handed out; one that goes on for ever outlives a full disk here too."""
        if self._model is None:
            return
        try:
            self._store.begin(self._model)
        except OutputError as error:
            if not self._goes_on:
                raise
            if str(error) != self._said:
                self._said = str(error)
                self._progress.say(f"{error}; tried again until it can")
        else:
            self._model, self._said = None, ""

    def _hand_out(self, pool: WorkerPool) -> None:
        while self._model is None and pool.has_room and (job := self._first or self.backlog.next_job()):
            self._first = None
            pool.submit(job)

    def _tell_if_possible(self) -> None:
        """One that goes on for ever outlives a full disk: what comes of it is told later."""
        try:
            self.tell()
        except OutputError as error:
            if not self._goes_on:
                raise
            self._told_ns = self._clock.now_ns()
            self._progress.say(str(error))

    def _take(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._model = {"name": event.model, "sha256": event.sha256}
            self._begin()
        elif isinstance(event, Progress):
            self._progress.at(event.job.recording.source, event.frames, event.total)
        else:
            self.backlog.take(event)
            self._is_told = False

    def _take_in(self, *, is_idle: bool = False) -> None:
        found = self._intake.poll(is_idle=is_idle)
        self._progress.bytes_to_come = self._intake.bytes_to_come
        for source in found.gone:
            self.backlog.drop_bad(source)
        if found.gone or found.bad:
            self._is_told = False
        self.backlog.add(found.recordings)
        for bad in found.bad:
            self.backlog.add_bad(bad.source, bad.error)
        if found.passed_over:
            counts = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.most_common())
            note = f"passed over, as no recordings: {counts}"
            self._progress.say(note)
