"""`partum archive`: many recordings on a Ray cluster, each content once, into a Parquet dataset."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.errors import EngineError
from stream.app.signals import stopped_by_signals
from stream.archive.cluster import Workers, connected, import_ray
from stream.archive.dataset import ArchiveDataset
from stream.archive.inputs import InputFinder
from stream.archive.locations import Location
from stream.archive.measuring import ArchiveJob, scratch_cleared, without_names
from stream.archive.parts.waiting import WaitingForParts
from stream.archive.passes import new_pass, try_engine
from stream.archive.stores import StoreWatch
from stream.batch.backlog import MOST_CRASHES
from stream.batch.recordings import Recording
from stream.batch.reporting.progress import BatchProgress
from stream.batch.run import OF_A_SESSION, BatchFailed
from stream.batch.summary import COMPLETE, FAILED
from stream.batch.workers import WorkerLost
from stream.common.clock import MonotonicClock
from stream.common.errors import OptionError, OutputError, SourceUnavailable
from stream.measurement.protocols import check_orientation
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.app.options.session_options import SessionOptions
    from stream.archive.inputs import ArchiveInput
    from stream.archive.measuring import Outcome
    from stream.archive.parts.long_recordings import PartRequest
    from stream.batch.summary import Row
    from stream.common.clock import Clock

STEP_S = 0.25
WRITE_S, WRITE_ROWS = 60.0, 1000
"""Rows are written at least so often, and when there are so many."""
OF_AN_ARCHIVE = OF_A_SESSION | {"tables_only", "overlay", "smooth"}
"""Options of a session that say nothing of how a recording of an archive is measured."""
MOST_PASSES = 6
"""So many passes may bring nothing, because nodes went before the inputs' turn."""
PART_S = 300.0


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """Options of `partum archive`.

    Attributes:
        inputs: files, folders, globs, `@list.txt`, archives, URIs of object stores.
        session: how each is measured.
        out: the dataset, a folder or a URI.
        address: of a Ray cluster; None starts one on this machine.
        workers: how many, and what each needs.
        resume: goes on with what is in `out`.
        named: names of recordings are written too, which may name people.
        part_s: a long recording is cut into parts of so many seconds at least; 0 leaves all whole.
    """

    inputs: Sequence[str]
    session: SessionOptions
    out: str
    address: str | None = None
    workers: Workers = field(default_factory=Workers)
    resume: bool = False
    named: bool = False
    part_s: float = PART_S

    @property
    def asked(self) -> dict[str, object]:
        """What all results in a dataset share, as JSON values."""
        shared = {name: value for name, value in self.session.as_json().items() if name not in OF_AN_ARCHIVE}
        return shared | {"named": self.named}


def run_archive(options: ArchiveOptions) -> None:
    """Measures the recordings that the inputs name.

    Raises:
        OptionError: an option cannot be, or `out` holds results of other options.
        ExtraMissing: Ray, or what it takes, is not installed.
        ClusterUnavailable: there is no cluster, or it went away; what is done by then is kept.
        OutputError, EngineError: nothing can be written, or no network runs; likewise.
        BatchFailed: some recordings could not be measured; the others are.
        KeyboardInterrupt: Ctrl-C, after the rows were written.
    """
    import_ray()  # what is missing is said before anything is looked at
    check_orientation(options.session.protocol, options.session.orientation)
    out, clock = Location.parse(options.out), MonotonicClock()
    if any(str(Location.parse(each)) == str(out) for each in options.inputs if not each.startswith(("@", "phantom:"))):
        raise OptionError(f"{out}: is an input too; choose another --out")
    job = ArchiveJob(
        dataset=out,
        session=options.session,
        threads=options.workers.cpus,
        is_named=options.named,
        version=metadata.version("partum"),
        part_s=options.part_s,
    )
    with (
        scratch_cleared(),
        ArchiveDataset(out, asked=options.asked, resume=options.resume) as dataset,
        connected(options.address, options.workers),
        BatchProgress(clock=clock) as progress,
    ):
        archive = Archive(dataset, progress, job, options.workers, address=options.address, clock=clock)
        archive.find(options.inputs)
        with stopped_by_signals([archive.stop]) as signals:
            archive.run()
        click.echo(archive.last_words)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    archive.raise_for_failures()


class Archive:
    """The command's side of an archive: gives inputs to the cluster, and writes the rows that come back.

    Args:
        dataset: open.
        progress: told of each step.
        job: what all workers share.
        workers: how many, and what each needs.
        address: of the cluster.
        clock: of the writing.
    """

    def __init__(
        self,
        dataset: ArchiveDataset,
        progress: BatchProgress,
        job: ArchiveJob,
        workers: Workers,
        *,
        address: str | None,
        clock: Clock,
    ) -> None:
        self._dataset, self._progress, self._job, self._workers = dataset, progress, job, workers
        self._address, self._clock = address, clock
        self._stop = threading.Event()
        self._units: dict[str, ArchiveInput] = {}
        self._failed: dict[str, list[Row]] = {}
        self._unread: list[Row] = []
        self._tries: Counter[str] = Counter()
        self._same = 0
        self._seen: set[str] = set()
        self._left: list[ArchiveInput] = []
        self._waiting = WaitingForParts()
        self._stores = StoreWatch(())
        self._cut_short: set[str] = set()
        self._written_ns, self._unwritten = clock.now_ns(), 0

    def stop(self) -> None:
        """Ends the archive; what is being measured is left to the next."""
        self._stop.set()

    def find(self, inputs: Sequence[str]) -> None:
        """Finds what the inputs name."""
        location = self._dataset.location
        finder = InputFinder(
            stills=self._job.session.stills, leave_out=Path(location.path) if location.is_local else None
        )
        units, bad, found = finder.inputs(inputs)
        for each in bad:
            self._progress.say(each.error)
            self._unread.append({"source": each.source, "state": FAILED, "error": each.error})
        if found.passed_over:
            counts = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.most_common())
            self._progress.say(f"passed over, as no recordings: {counts}")
        self._units = {unit.key: unit for unit in units}
        buckets = {uri.rpartition("/")[0] for unit in units for uri in unit.objects[:1]}
        self._stores = StoreWatch({*buckets, str(location)})

    def run(self) -> None:
        """Measures until all is done, or until it is stopped; the rows are written whatever ends it.

        Raises:
            PartumError: nothing more can be measured.
        """
        if not self._units:
            return
        facts = try_engine(self._job, self._workers, say=self._progress.say, is_stopped=self._stop.is_set)
        if facts is None:
            self._left = list(self._units.values())
            return
        self._dataset.begin({"name": facts.model, "sha256": facts.sha256})
        job = self._with_model(facts.sha256)
        for unit in self._units.values():
            self._progress.add(unit.recording.source, unit.size)
            known = self._dataset.contents_of(unit.key)
            if known is None:
                self._left.append(unit)
            else:
                self._count(known)
                self._progress.skip(unit.recording.source)
        self._left.sort(key=lambda unit: -unit.size)  # a long one begun last would be waited for alone
        try:
            idle = 0
            while self._left and idle < MOST_PASSES and not self._stop.is_set():
                self._left, taken = self._passed(self._left, job)
                idle = 0 if taken else idle + 1
        except BaseException as error:
            is_silent = isinstance(error, (SourceUnavailable, OutputError)) and not self._dataset.location.is_local
            if not is_silent:  # else it would be waited for again; the rows are with the frames
                with suppress(OutputError):
                    self._write()
            raise
        for unit in self._unmeasured if not self._stop.is_set() else ():
            self._give_up(unit, WorkerLost(f"{unit.recording.source}: no node was left to measure it; --resume does"))
        self._write()
        if not self._stop.is_set():
            self._dataset.clear_parts(keep={*self._cut_short, *self._waiting.contents})

    def _with_model(self, sha256: str) -> ArchiveJob:
        return replace(self._job, run_id=self._dataset.run_id, model_sha256=sha256)

    @property
    def _unmeasured(self) -> Sequence[ArchiveInput]:
        """The inputs that nothing is known of yet."""
        return [*(unit for unit in self._left if unit.part is None), *self._waiting.units]

    def _passed(self, units: list[ArchiveInput], job: ArchiveJob) -> tuple[list[ArchiveInput], int]:
        """Gives the inputs to the cluster once; returns what must be given next, and how many outcomes came."""
        once = new_pass(self._address)
        once.start(units, job, self._workers)
        missing = {unit.key: unit for unit in units}
        again: list[ArchiveInput] = []
        is_done, taken = False, 0
        try:
            while not is_done and not self._stop.is_set():
                outcomes, is_done = once.take(STEP_S)
                for outcome in outcomes:
                    unit = missing.pop(outcome.key, None)
                    if unit is not None:
                        again += self._take(unit, outcome)
                        taken += 1
                self._write_if_due()
        except (SourceUnavailable, OutputError, EngineError):
            once.cancel()
            raise
        if self._stop.is_set():
            once.cancel()
            return [*again, *missing.values()], taken
        begun = once.begun() if missing else {}
        if missing:
            self._progress.say(f"{len(missing)} inputs came back without a result: a worker or a node died")
        for unit in missing.values():
            died = WorkerLost(f"{unit.recording.source}: the process that measured it ended (killed, or out of memory)")
            if not begun.get(unit.key) or self._may_try_again(unit, died):
                again.append(unit)
        return [unit for unit in again if self._waiting.is_wanted(unit) and not self._is_done(unit)], taken

    def _is_done(self, unit: ArchiveInput) -> bool:
        """Whether another input with the same content, in hand when this one was looked at, has been measured since."""
        known = self._dataset.contents_of(unit.key)
        if known is None:
            return False
        self._end(unit, known)
        return True

    def _take(self, unit: ArchiveInput, outcome: Outcome) -> Sequence[ArchiveInput]:
        """Takes what came of an input, or of a part of one; returns what must be given next because of it."""
        if outcome.error is None and outcome.parts:
            return self._cut(unit, outcome.parts)
        if outcome.error is None and unit.part is not None:
            self._progress.at(unit.recording.source, *self._waiting.share(unit))
            return self._waiting.end(unit)
        is_new = {row["sha256"] for row in outcome.rows if row["sha256"] not in self._dataset}
        for row in outcome.rows:
            self._dataset.add(row)
        self._unwritten += len(is_new)
        if outcome.error is not None:
            return [unit] if self._may_try_again(unit, outcome.error) else []
        named = unit.recording.source if self._job.is_named else None
        if outcome.failures:  # it is looked at again by the next run
            self._count([row["sha256"] for row in outcome.rows])
            self._failed[unit.key] = [row | {"state": FAILED} for row in outcome.failures]
            self._progress.end(unit.recording.source, self._failed[unit.key][0])
            return []
        self._dataset.note_input(unit.key, outcome.contents, named)
        if self._dataset.contents_of(unit.key) is None:
            return [unit]  # another worker has the same content in hand
        self._end(unit, outcome.contents, outcome.rows if is_new else ())
        return []

    def _cut(self, unit: ArchiveInput, requests: Sequence[PartRequest]) -> Sequence[ArchiveInput]:
        """A long recording waits for its parts."""
        new = self._waiting.wait(unit, requests)
        lost = [part for part in new if self._waiting.is_lost(part)]
        if not lost:
            return new
        self._give_up(lost[0], WorkerLost(f"{unit.recording.source}: its parts do not stay in the dataset; --resume"))
        return []

    def _end(self, unit: ArchiveInput, contents: Sequence[str], new: Sequence[Row] = ()) -> None:
        """An input is done: by these rows, or, where there are none, by what was there before."""
        source = unit.recording.source
        self._failed.pop(unit.key, None)
        self._count(contents)
        if not new:
            self._progress.skip(source)
            return
        told = max(new, key=lambda row: row["state"] != COMPLETE)
        why = str(told.get("error") or "").removeprefix(f"{told['name']}: ").removeprefix(f"{source}: ")
        frames = sum(row.get("frames") or 0 for row in new)
        self._progress.end(source, told | {"frames": frames, "error": f"{source}: {why}" if why else None})

    def _count(self, contents: Sequence[str]) -> None:
        self._same += sum(sha256 in self._seen for sha256 in contents)
        self._seen |= set(contents)

    def _may_try_again(self, unit: ArchiveInput, error: Exception) -> bool:
        """Notes a failure that another try may mend; returns whether there is to be one.

        Raises:
            SourceUnavailable: a store has stopped answering, so that no other input can be measured either.
            OutputError, EngineError: likewise of a disk or an engine that fails again.
        """
        if isinstance(error, (SourceUnavailable, OutputError)):
            self._stores.check()
        self._tries[unit.key] += 1
        if self._tries[unit.key] < MOST_CRASHES:
            return True
        self._give_up(unit, error)
        if isinstance(error, (OutputError, EngineError)):
            raise error
        return False

    def _give_up(self, unit: ArchiveInput, error: Exception) -> None:
        """An input has no result; a part takes the recording with it."""
        if unit.part is not None:
            self._cut_short.add(unit.part.sha256)
            for each in self._waiting.give_up(unit):
                self._give_up(each, error)
            return
        row: Row = {"source": unit.recording.source, "state": FAILED, "error": str(error)}
        self._failed[unit.key] = [row]
        self._progress.end(unit.recording.source, row)

    def _write_if_due(self) -> None:
        waited_s = (self._clock.now_ns() - self._written_ns) / 1e9
        if self._unwritten >= WRITE_ROWS or (self._unwritten and waited_s > WRITE_S):
            self._write()

    def _write(self) -> None:
        """Writes the rows that have come."""
        model: Row = {"partum": metadata.version("partum"), "model_sha256": self._dataset.model_sha256}
        undone = [(row, self._units[key].recording) for key, rows in self._failed.items() for row in rows]
        undone += [(row, Recording(row["source"], row["source"])) for row in self._unread]
        named = self._job.is_named
        self._dataset.write([model | (row if named else without_names(row, recording)) for row, recording in undone])
        self._written_ns, self._unwritten = self._clock.now_ns(), 0

    @property
    def _undone(self) -> list[Row]:
        return [*self._unread, *(row for rows in self._failed.values() for row in rows)]

    @property
    def last_words(self) -> str:
        """What came of it, for people."""
        rows = [self._dataset.rows[sha256] for sha256 in self._seen]
        complete = sum(row["state"] == COMPLETE for row in rows)
        count = len(rows) + len(self._undone) + (len(self._unmeasured) if self._stop.is_set() else 0)
        said = [f"{self._dataset.location}: {complete} of {count} recordings measured"]
        if self._same:
            said.append(f"{self._same} more of the same content")
        return "\n".join([", ".join(said), NOTICE])

    def raise_for_failures(self) -> None:
        """Says that some recordings were not measured.

        Raises:
            BatchFailed: there are such.
        """
        rows = [self._dataset.rows[sha256] for sha256 in self._seen]
        failed = [*self._undone, *(row for row in rows if row["state"] != COMPLETE)]
        if self._stop.is_set() and self._unmeasured:
            raise BatchFailed(f"stopped with {len(self._unmeasured)} inputs to come; go on with --resume")
        if failed:
            others = f", and {len(failed) - 1} more in the dataset's loops" if len(failed) > 1 else ""
            count = len(rows) + len(self._undone)
            raise BatchFailed(f"{len(failed)} of {count} recordings failed: {failed[0]['error']}{others}")
        if not rows:
            raise BatchFailed("nothing was measured: the inputs hold no recordings")
