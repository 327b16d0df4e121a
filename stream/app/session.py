"""`partum replay` and `partum attach`: one source or several side by side, sharing an engine and a web page."""

from __future__ import annotations

import gc
import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from engines.sharing import SharedEngine
from engines.tensorrt.cache import live_stream
from stream.api.preprocessing import preprocessor_for
from stream.app.run import SourceRun, open_recording
from stream.app.signals import stopped_by_signals
from stream.app.summary import print_summary
from stream.app.terminal import show_progress
from stream.common.errors import OptionError
from stream.common.opencv_threads import one_opencv_thread
from stream.inference.engine_trial import load_judged_engine
from stream.inference.frame_analyzer import needs_logits
from stream.measurement.protocols import check_orientation
from stream.outputs.igtl import LAST_PORT, IgtlOutput
from stream.outputs.results_folder import check_folder, prepare_folder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from engines.base import Engine
    from stream.app.options.session_options import SessionOptions
    from stream.outputs.web.settings import WebSettings
    from stream.pipeline.statistics import RunStatistics
    from stream.preprocessing.preprocessor import Preprocessor
    from stream.sources.base import FrameSource


def run_session(options: SessionOptions, *more: SessionOptions) -> RunStatistics:
    """Runs a source, or several side by side, writes the results and prints a table for each.

    Several share one engine, which runs the frames that wait at one moment as a batch; each has a pipeline of its own,
    so that none waits for another, and an error ends the run that it is of.

    Args:
        options: of the first source; engine, web page and folder are the same for all.
        more: of further sources.

    Returns:
        The statistics of the first.

    Raises:
        PartumError: of any stage, after the results were closed.
        KeyboardInterrupt: Ctrl-C, likewise. SIGTERM is how a service is asked to stop: that is no error.
    """
    asked = (options, *more)
    with ExitStack() as stack:
        stack.enter_context(one_opencv_thread())
        # What is wrong with an option, an address or a file is said before an engine is loaded.
        web = _reserved_web_server(options, stack)
        _check(asked)
        if options.live or options.pace is not None:
            stack.enter_context(live_stream())
        sources = [stack.enter_context(open_recording(each)) for each in asked]
        preprocessors = [_preprocessor(each, source) for each, source in zip(asked, sources, strict=True)]
        engines = _engines(options, len(asked), stack)
        runs = [
            stack.enter_context(SourceRun(each, engine, source=source, preprocessor=preprocessor, feeds=len(asked)))
            for each, engine, source, preprocessor in zip(_placed(asked), engines, sources, preprocessors, strict=True)
        ]
        gc.freeze()  # what is loaded by now stays: collecting what comes later is then a matter of a millisecond
        signals = stack.enter_context(stopped_by_signals([run.interrupt for run in runs]))
        with _served(web, runs), show_progress(runs) as advances:
            _run_all(runs, advances)
    for run in runs:
        print_summary(run)
    failed = next((run.error for run in runs if run.error is not None), None)
    if failed is not None:
        raise failed
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    return runs[0].statistics


def _check(asked: Sequence[SessionOptions]) -> None:
    """Finds what is wrong with the options while that costs nothing yet.

    Raises:
        OptionError: two of them contradict each other, or one cannot be.
        OutputError: results or a port cannot be had.
    """
    options = asked[0]
    check_orientation(options.protocol, options.orientation)
    check_folder(options.out, source=Path("live" if options.live else options.uri))
    ports = [each.igtl_out for each in asked if each.igtl_out]
    if ports and max(ports) > LAST_PORT:
        raise OptionError(
            f"--igtl-out {ports[0]}: {len(ports)} feeds take the ports {ports[0]} to {ports[-1]}, and the last there is"
            f" is {LAST_PORT}; give {LAST_PORT - len(ports) + 1} or less"
        )
    for port in ports:
        IgtlOutput.check(port)


def _preprocessor(options: SessionOptions, source: FrameSource) -> Preprocessor:
    return preprocessor_for(
        options.uri,
        source,
        protocol=options.protocol,
        options=options.preprocessing,
        spacing=options.spacing,
        is_live=options.live,
    )


def _engines(options: SessionOptions, count: int, stack: ExitStack) -> Sequence[Engine]:
    """An engine for each run; shares of one where there are several. The runs close theirs."""
    is_paced = options.live or options.pace is not None
    engine = load_judged_engine(
        options.model,
        options.backend,
        device=options.device,
        precision=options.precision,
        early_exit=options.early_exit,
        throughput=count > 1 or not is_paced,
        labels=not needs_logits(options.protocol),
    )
    for notice in engine.notices:
        Console(stderr=True).print(f"engine: {notice}", markup=False, highlight=False, soft_wrap=True)
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


def _run_all(runs: Sequence[SourceRun], advances: Sequence[Callable[[], None]]) -> None:
    """Runs one here, several in a thread each; the error of one is kept by it."""
    if len(runs) == 1:
        runs[0].run(advances[0])
        return
    threads = [
        threading.Thread(target=_run_quietly, args=(run, advance), name=f"partum-run-{number}")
        for number, (run, advance) in enumerate(zip(runs, advances, strict=True), 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # a join without time-out would keep signals waiting
            thread.join(0.2)


def _run_quietly(run: SourceRun, advance: Callable[[], None]) -> None:
    try:
        run.run(advance)
    except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by the session
        run.error = run.error or error


def _reserved_web_server(options: SessionOptions, stack: ExitStack) -> tuple[WebSettings, socket.socket] | None:
    """Checks the web page's address, names and certificate before an engine is loaded."""
    settings = options.web_settings()
    return None if settings is None else (settings, stack.enter_context(settings.listen()))


@contextmanager
def _served(web: tuple[WebSettings, socket.socket] | None, runs: Sequence[SourceRun]) -> Iterator[None]:
    """Serves the web page, where it is asked for."""
    if web is None:
        yield
        return
    from stream.outputs.web.server import WebServer

    settings, listening = web
    with WebServer([run.board for run in runs], settings=settings, listening=listening) as server:
        Console(stderr=True).print(f"web page: {server.address}", markup=False, soft_wrap=True)
        yield
