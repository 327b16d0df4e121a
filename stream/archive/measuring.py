"""What a worker of an archive does: fetches an input, measures what is in it, and writes its frames to the dataset."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Protocol

from engines.errors import PartumError
from stream.archive.dataset import FACTS, check_is_there, frames_location, parts_location
from stream.archive.frames_table import frames_file, row_in
from stream.archive.locations import Location, is_object_uri
from stream.archive.parts.long_recordings import LongRecordings
from stream.batch.content import content_files, hash_of, stamp_of
from stream.batch.finding import Finder
from stream.batch.measuring import is_final, load_measuring_engine, measure_job
from stream.batch.recordings import Job
from stream.batch.store import DIGITS
from stream.common.errors import OptionError, OutputError
from stream.sources.files.unpacking import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.archive.inputs import ArchiveInput
    from stream.archive.parts.long_recordings import PartRequest
    from stream.archive.parts.plan import Plan
    from stream.batch.recordings import Recording
    from stream.batch.summary import Row

SCRATCH = "partum-archive-"
"""Folders of workers in the machine's temporary folder: `partum-archive-PID-...`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveJob:
    """What all workers of an archive share.

    Attributes:
        dataset: where the results go; every node must see the same.
        run_id: of the run, as `archive.json` has it; empty while there is none yet.
        session: how each recording is measured.
        model_sha256: of the model that must answer; empty where any may.
        version: of Partum, which must be the same everywhere.
        threads: that each worker may keep busy.
        is_named: whether names of recordings may be written.
        part_s: a long recording is cut into parts of so many seconds at least; 0 leaves all whole.
    """

    dataset: Location
    session: SessionOptions
    threads: int
    is_named: bool
    run_id: str = ""
    model_sha256: str = ""
    version: str = ""
    part_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an input.

    Attributes:
        key: of the input.
        rows: of the contents in it, each with its frames in the dataset.
        contents: hashes of all that is in it, also of what another worker has in hand.
        failures: rows of what has no result, for a reason that is its own and will not pass.
        parts: of it that must be measured first, where it is long; it is given again afterwards.
        error: why it must be tried again; None where it is done.
    """

    key: str
    rows: Sequence[Row] = ()
    contents: Sequence[str] = ()
    failures: Sequence[Row] = ()
    parts: Sequence[PartRequest] = ()
    error: PartumError | None = None


class Claims(Protocol):
    """Who measures which content: a `stream.archive.passes.Ledger`, wherever it is."""

    def begin(self, key: str) -> None:
        """An input is being looked at."""

    def claim(self, sha256: str, key: str) -> bool:
        """Whether the input may measure this content: no other one does."""


def load_archive_engine(job: ArchiveJob) -> Engine:
    """The engine of a worker.

    Raises:
        OptionError: this node has another version or model, or does not see the dataset.
        EngineError: no network runs here.
    """
    version, node = metadata.version("partum"), os.uname().nodename
    if job.version and version != job.version:
        raise OptionError(f"node {node} has Partum {version}, and this is {job.version}; install the same on all nodes")
    if job.run_id and job.run_id.encode() not in ((job.dataset / FACTS).read() or b""):
        raise OptionError(
            f"node {node} does not see {job.dataset}; give a folder that all nodes share, or an object store"
        )
    engine = load_measuring_engine(job.session, threads=job.threads)
    if job.model_sha256 and engine.spec.sha256 != job.model_sha256:
        engine.close()
        raise OptionError(f"node {node} has the model {engine.spec.sha256[:8]}, and another one {job.model_sha256[:8]}")
    return engine


class ArchiveWorker:
    """Measures inputs, one after the other, with an engine of its own.

    Args:
        job: what all workers share.
        engine: stays open.
        claims: keeps workers from measuring one content twice.
    """

    def __init__(self, job: ArchiveJob, engine: Engine, claims: Claims) -> None:
        self._job, self._engine, self._claims = job, engine, claims
        self._long = LongRecordings(
            partial(parts_location, job.dataset, engine.spec.sha256),
            session=job.session,
            engine=engine,
            least_s=job.part_s,
            shown=self._shown,
        )
        clear_scratch()

    def measure(self, unit: ArchiveInput) -> Outcome:
        """Measures what is in an input, unless the dataset has it; its frames are there when this returns."""
        self._claims.begin(unit.key)
        rows: list[Row] = []
        contents: list[str] = []
        failures: list[Row] = []
        here = unit.recording
        try:
            with _scratch() as scratch:
                here = _fetched(unit, scratch / "fetched")
                if unit.part is not None:
                    self._long.measure(here, unit.part, scratch)
                    return Outcome(unit.key)
                for recording in self._recordings(unit, here, scratch, failures):
                    sha256 = hash_of(recording)
                    contents.append(sha256)
                    row = self._row(recording, sha256, unit, scratch)
                    if isinstance(row, Sequence):
                        return Outcome(unit.key, parts=row)
                    if row is not None:
                        rows.append(row)
        except PartumError as error:
            told = type(error)(here.told(str(error)))
            if not is_final(error) or unit.part is not None:  # a recording with a part that fails has no result
                return Outcome(unit.key, rows, contents, error=told)
            failures.append({"state": "failed", "source": unit.recording.source, "error": str(told)})
        except OSError as error:
            return Outcome(unit.key, rows, contents, error=OutputError(f"{unit.recording.source}: {error.strerror}"))
        return Outcome(unit.key, rows, contents, failures)

    def _recordings(
        self, unit: ArchiveInput, recording: Recording, scratch: Path, failures: list[Row]
    ) -> Iterator[Recording]:
        """The recordings in an input that was fetched to this machine."""
        if not unit.is_archive:
            yield recording
            return
        folder = scratch / "unpacked"
        folder.mkdir()
        bad = unpack(Path(recording.path), folder)
        finder = Finder(stills=self._job.session.stills)
        found = finder.find_unpacked(folder, replace(recording, path=recording.source), bad)
        failures += [{"state": "failed", "source": bad.source, "error": bad.error} for bad in found.bad]
        yield from found.recordings

    def _row(
        self, recording: Recording, sha256: str, unit: ArchiveInput, scratch: Path
    ) -> Row | Sequence[PartRequest] | None:
        """The row of a content; what must be measured of it first; None where another worker has it in hand."""
        job = self._job
        target = frames_location(job.dataset, self._engine.spec.sha256, sha256)
        if target.exists() and (row := row_in(target)):
            return row
        if not self._claims.claim(sha256, unit.key):
            return None
        plan = None if unit.is_archive else self._long.plan(recording, sha256)
        if plan is not None:
            return self._long.missing(plan, sha256) or self._joined(plan, recording, sha256, target)
        folder = scratch / "results"
        folder.mkdir()
        try:
            measured = measure_job(
                Job(recording, sha256, stamp_of(recording), folder),
                options=replace(job.session, tables_only=True),
                engine=self._engine,
                threads=job.threads,
            )
            named = self._named(measured, recording, sha256)
            self._publish(target, frames_file(folder / "measurements.jsonl", named))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return named

    def _joined(self, plan: Plan, recording: Recording, sha256: str, target: Location) -> Row:
        """The row of a recording whose parts are all measured; they are one file when this returns."""
        row, frames = self._long.joined(plan, sha256, lambda row: self._named(row, recording, sha256))
        self._publish(target, frames)
        self._long.clear(sha256)
        return row

    def _publish(self, target: Location, frames: bytes) -> None:
        """Writes a loop's frames, from now on its result."""
        if self._job.run_id:
            check_is_there(self._job.dataset)
        target.put(frames)

    def _shown(self, text: str, recording: Recording, sha256: str) -> str:
        """A text about a recording as it may be written."""
        if self._job.is_named:
            return text
        return str(without_names({"name": sha256[:DIGITS], "error": text}, recording).get("error", ""))

    def _named(self, row: Row, recording: Recording, sha256: str) -> Row:
        """The row with its names, where those may be written; else without any."""
        version = {"partum": metadata.version("partum"), "model_sha256": self._engine.spec.sha256}
        row = {**version, **row, "name": sha256[:DIGITS]}
        if self._job.is_named:
            return row | {"source": recording.source}
        return without_names(row, recording)


def without_names(row: Row, recording: Recording) -> Row:
    """A row in whose texts the recording is called by its hash, or `recording`, where they name its files."""
    shown = row.get("name") or "recording"
    named = {recording.source, recording.path, *recording.unpacked}
    if not is_object_uri(recording.path):
        named |= {str(file) for file in content_files(recording)}
    paths = [PurePath(name) for name in named if name]
    names = {str(each) for path in paths for each in (path, path.parent, path.name) if len(str(each)) > 2} | named
    found = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
    pattern = re.compile(rf"(?<!\w)(?:{found})(?!\w)")
    texts = {key: pattern.sub(shown, row[key]) for key in ("error", "note", "spacing_note") if row.get(key)}
    return {key: value for key, value in (row | texts).items() if key not in ("source", "same_content")}


def _fetched(unit: ArchiveInput, folder: Path) -> Recording:
    """The recording with its objects on this machine."""
    if not unit.objects:
        return unit.recording
    folder.mkdir()
    files = []
    for uri in unit.objects:
        location = Location.parse(uri)
        files.append(folder / location.name)
        location.fetch(files[-1])
    recording, prefix = unit.recording, unit.objects[0].rpartition("/")[0]
    if len(files) == 1:
        return replace(recording, path=str(files[0]), unpacked=(str(folder), prefix))
    return replace(recording, path=str(folder), files=tuple(files), unpacked=(str(folder), prefix))


@contextmanager
def _scratch() -> Iterator[Path]:
    """An empty folder of this process, on the machine's own disk."""
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear_scratch(is_alive: Callable[[int], bool] | None = None) -> None:
    """Removes what workers that were killed left in this machine's temporary folder."""
    alive = is_alive or _is_alive
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_cleared() -> Iterator[None]:
    """At the end nothing is left on this machine of workers that were ended in the middle of a recording."""
    try:
        yield
    finally:
        clear_scratch()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
