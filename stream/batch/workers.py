"""Processes that hold an engine each and measure recordings; one that dies costs the recording it was at.

They are processes and not threads: decoding, preprocessing and measuring run in Python, which runs one thread at a
time, and a file that crashes a decoder takes its process with it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from engines.errors import PartumError
from engines.runtime import available_cores
from stream.common.child_process import exit_text, ignore_terminal_signals
from stream.common.errors import StreamError
from stream.common.text import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from stream.app.options.session_options import SessionOptions
    from stream.batch.recordings import Job
    from stream.batch.summary import Row
    from stream.common.clock import Clock

STALL_S = 600.0
"""A worker that has finished no frame for so long is stuck: it is ended, and costs its recording."""
TELL_S = 0.25
"""A worker tells how far it is at most so often."""
MOST_LOST = 3
"""So many processes in a row may end at their start, where one was there before: as for want of memory."""
MOST_JOBS = 16
"""Without `--jobs`: each holds an engine of its own, on a GPU too."""

LEAST_THREADS = 2
"""Of a worker: a second frame under way in the network fills the moments in which its stages wait for each other."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded its engine."""

    engine: str
    model: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A worker is at a recording."""

    job: Job
    frames: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A worker has measured a recording."""

    job: Job
    row: Row


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording was not measured, for a reason that is not its content.

    Attributes:
        job: the recording.
        error: why.
        has_crashed: the process that measured it died, or was stuck.
    """

    job: Job
    error: PartumError
    has_crashed: bool = False


Event = Ready | Progress | Measured | Failed


def default_jobs() -> int:
    """One for each core this process may run on, up to `MOST_JOBS`."""
    return min(available_cores(), MOST_JOBS)


def threads_of(jobs: int, *, cores: int) -> int:
    """Of each of so many workers: its share of the cores, and at least `LEAST_THREADS` where there are so many."""
    return max(min(LEAST_THREADS, cores), cores // jobs)


class WorkerPool:
    """Workers, started at once, each with its share of the cores.

    Args:
        jobs: how many, 1 or more.
        options: of all recordings.
        clock: to see that one is stuck.
    """

    def __init__(self, jobs: int, options: SessionOptions, *, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._threads = threads_of(jobs, cores=available_cores())
        self._may_be_lost = 0
        self._workers = [self._start() for _ in range(jobs)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def has_room(self) -> bool:
        """Whether a worker waits for a job."""
        return any(worker.is_ready and worker.job is None for worker in self._workers)

    @property
    def jobs(self) -> Sequence[Job]:
        """What is being measured."""
        return [worker.job for worker in self._workers if worker.job is not None]

    def submit(self, job: Job) -> None:
        """Gives a job to a worker that waits."""
        worker = next(worker for worker in self._workers if worker.is_ready and worker.job is None)
        worker.job, worker.heard_ns = job, self._clock.now_ns()
        with suppress(OSError):  # it has died: `poll` says so
            worker.connection.send(job)

    def poll(self, timeout_s: float) -> list[Event]:
        """What has happened since, at most `timeout_s` later.

        Raises:
            PartumError: a worker cannot load its engine.
        """
        wait([worker.connection for worker in self._workers], timeout_s)
        found: list[Event] = []
        for place, worker in enumerate(self._workers):
            events, is_alive = self._heard(worker)
            found += events
            if not is_alive:
                found += self._lost(worker)
                self._workers[place] = self._start()
        return found

    def close(self) -> None:
        """Ends all workers at once; what they are at is not finished."""
        for worker in self._workers:
            worker.end()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self._options, self._threads), name="partum-worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, mine, self._clock.now_ns())

    def _heard(self, worker: _Worker) -> tuple[list[Event], bool]:
        """What a worker has said, and whether it is alive and gets on."""
        found: list[Event] = []
        try:
            while worker.connection.poll():
                event = worker.connection.recv()
                worker.heard_ns = self._clock.now_ns()
                if isinstance(event, PartumError):
                    raise event
                worker.is_ready, self._may_be_lost = True, MOST_LOST
                if isinstance(event, (Measured, Failed)):
                    worker.job = None
                found.append(event)
        except (EOFError, OSError) as error:
            if isinstance(error, PartumError):
                raise
            return found, False
        is_stuck = worker.job is not None and self._clock.now_ns() - worker.heard_ns > STALL_S * 1e9
        return found, not is_stuck

    def _lost(self, worker: _Worker) -> list[Event]:
        """Ends a worker that has died or is stuck; its recording has failed."""
        worker.process.join(1.0)
        code = worker.process.exitcode
        worker.end()
        if not worker.is_ready:
            self._may_be_lost -= 1
            if self._may_be_lost < 0:
                raise WorkerLost(f"a process that should measure ended at its start ({exit_text(code)}); try --jobs 1")
        if worker.job is None:
            return []
        source = worker.job.recording.source
        why = (
            f"no frame was finished for {STALL_S:.0f} s"
            if code is None
            else f"the process that measured it ended ({exit_text(code)})"
        )
        error = WorkerLost(f"{source}: {why}; measure it alone by: partum replay")
        return [Failed(worker.job, error, has_crashed=True)]


class WorkerLost(StreamError, RuntimeError):
    """The process that measured a recording died, or was stuck."""


class _Worker:
    """A worker as its parent sees it."""

    def __init__(self, process: BaseProcess, connection: Connection[Any, Any], now_ns: int) -> None:
        self.process, self.connection, self.heard_ns = process, connection, now_ns
        self.job: Job | None = None
        self.is_ready = False

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def work(connection: Connection[Any, Any], options: SessionOptions, threads: int) -> None:
    """A worker's life: loads an engine, measures what it is given, and ends with its parent."""
    ignore_terminal_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from stream.batch.measuring import load_measuring_engine
    from stream.common.clock import MonotonicClock

    try:
        engine = load_measuring_engine(options, threads=threads)
    except PartumError as error:
        connection.send(error)
        return
    clock = MonotonicClock()
    connection.send(Ready(engine.name, engine.spec.name, engine.spec.sha256))
    try:
        while True:
            job = connection.recv()
            connection.send(_worked(job, connection, options, engine, threads, clock))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _worked(
    job: Job, connection: Connection[Any, Any], options: SessionOptions, engine: Any, threads: int, clock: Clock
) -> Measured | Failed:
    from stream.batch.measuring import measure_job

    told_ns = 0

    def advance(frames: int, total: int | None) -> None:
        nonlocal told_ns
        if clock.now_ns() - told_ns > TELL_S * 1e9:
            told_ns = clock.now_ns()
            connection.send(Progress(job, frames, total))

    try:
        return Measured(job, measure_job(job, options=options, engine=engine, threads=threads, advance=advance))
    except PartumError as error:
        return Failed(job, error)
    except Exception as error:  # noqa: BLE001 - the edge of a recording: it costs this one
        # a library's own words may quote values of a file, and values may name a patient
        said = f"{type(error).__name__} at {place_of(error)}"
        lost = WorkerLost(f"{job.recording.source}: {said} (a defect: run partum replay -v on it, and report it)")
        return Failed(job, lost)


def _end_with_parent() -> None:
    """A parent that was killed leaves nothing behind that goes on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
