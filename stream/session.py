"""`partum replay` and `partum attach`: one source or several, run side by side with one engine, a screen, a table."""

from __future__ import annotations

import gc
import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from engines.batching import SharedEngine
from engines.cache import live_stream
from engines.registry import load_engine
from stream.protocols import check_orientation
from stream.results import prepare_folder
from stream.run import Run
from stream.summary import print_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engines.base import Engine
    from stream.session_options import SessionOptions
    from stream.telemetry import RunStatistics


def run_session(options: SessionOptions, *more: SessionOptions) -> RunStatistics:
    """Runs a source, or several side by side, writes the results and prints a table for each.

    Several share one engine, which runs the frames that wait at one moment as a batch; each has a pipeline of its own,
    so that none waits for another, and an error ends the run that it is of.

    Args:
        options: of the first source; engine, screen and folder are the same for all.
        more: of further sources.

    Returns:
        The statistics of the first.

    Raises:
        PartumError: of any stage, after the results were closed.
        KeyboardInterrupt: Ctrl-C, likewise.
    """
    check_orientation(options.protocol, options.orientation)
    asked = (options, *more)
    with ExitStack() as stack:
        if options.live or options.pace is not None:
            stack.enter_context(live_stream())
        engines = _engines(options, len(asked), stack)
        runs = [
            stack.enter_context(Run(each, engine, feeds=len(asked)))
            for each, engine in zip(_placed(asked), engines, strict=True)
        ]
        gc.freeze()  # what is loaded by now stays: collecting what comes later is then a matter of a millisecond
        interrupted = stack.enter_context(_ctrl_c([run.interrupt for run in runs]))
        with _screen(options, runs), _progress() as progress:
            _run_all(runs, progress)
    for run in runs:
        print_summary(run)
    failed = next((run.error for run in runs if run.error is not None), None)
    if failed is not None:
        raise failed
    if interrupted.is_set():
        raise KeyboardInterrupt
    return runs[0].statistics


def _engines(options: SessionOptions, count: int, stack: ExitStack) -> Sequence[Engine]:
    """An engine for each run; shares of one where there are several. The runs close theirs."""
    engine = load_engine(options.model, options.backend, early_exit=options.early_exit)
    if count == 1:
        return [engine]
    shared = stack.enter_context(SharedEngine(engine))
    return [shared.share() for _ in range(count)]


def _placed(asked: Sequence[SessionOptions]) -> Sequence[SessionOptions]:
    """Each with a folder of its own below the common one, where there are several."""
    if len(asked) == 1:
        return asked
    parent = prepare_folder(asked[0].out, source=Path("live"), results=())
    return [replace(options, out=parent / str(number)) for number, options in enumerate(asked, 1)]


def _run_all(runs: Sequence[Run], progress: Progress) -> None:
    """Runs one here, several in a thread each; the error of one is kept by it."""
    tasks = [progress.add_task("attached" if run.options.live else "replay", total=run.total, fps="") for run in runs]
    if len(runs) == 1:
        runs[0].run(lambda: _advance(progress, tasks[0]))
        return
    threads = [
        threading.Thread(target=_run_quietly, args=(run, progress, task), name=f"partum-run-{number}")
        for number, (run, task) in enumerate(zip(runs, tasks, strict=True), 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # a join without time-out would keep signals waiting
            thread.join(0.2)


def _run_quietly(run: Run, progress: Progress, task: TaskID) -> None:
    try:
        run.run(lambda: _advance(progress, task))
    except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by the session
        run.error = run.error or error


@contextmanager
def _screen(options: SessionOptions, runs: Sequence[Run]) -> Iterator[None]:
    """The screen server, where one is asked for."""
    if options.serve is None:
        yield
        return
    from stream.screen.server import ScreenServer, parse_address

    host, port = parse_address(options.serve)
    with ScreenServer([run.board for run in runs], host=host, port=port, token=options.token) as server:
        Console(stderr=True).print(f"screen: {server.address}", markup=False, soft_wrap=True)
        yield


@contextmanager
def _ctrl_c(stops: Sequence[Callable[[], None]]) -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) closes the sources, so that frames under way are still written.

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
        for stop in stops:
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
    state = next(each for each in progress.tasks if each.id == task)
    speed = state.finished_speed or state.speed
    progress.update(task, advance=1, fps=f"{speed:.0f} fps" if speed else "")
