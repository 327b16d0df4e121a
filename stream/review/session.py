"""Opens a finished run for review: its numbers, its pictures, its network, its page."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from stream.inference.engine_trial import load_judged_engine
from stream.labour.recorded_run import RecordedRun
from stream.labour.run_network import RunNetwork
from stream.labour.run_pictures import RunPictures
from stream.report.content import RunContent
from stream.review.server import ReviewServer
from stream.review.store import PictureStore

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engines.base import Engine
    from stream.frames.frame import Frame
    from stream.outputs.web.settings import WebSettings


@contextmanager
def open_review(
    folder: Path,
    *,
    settings: WebSettings,
    listening: socket.socket | None = None,
    source: str | None = None,
    model: str | None = None,
    unfinished: bool = False,
    load: Callable[[], Engine] | None = None,
) -> Iterator[ReviewServer]:
    """Serves the page of a run until the block ends.

    Args:
        folder: of the run.
        settings: of the page.
        listening: a socket that listens already.
        source: where the run's pictures are now.
        model: the run's own, where that is not the default one any more.
        unfinished: a run that never ended is taken as far as it came.
        load: makes the engine; None takes `model`.

    Raises:
        RunUnreadable: the folder holds no run that can be read.
        SourceError: `source` cannot be opened.
        OutputError: the address cannot be listened on.
    """
    run = RecordedRun(folder, unfinished=unfinished)
    content = RunContent(run)
    network = RunNetwork(run, load or (None if model is None else lambda: load_judged_engine(model)))

    def frames() -> Iterator[Frame]:
        with RunPictures(run, source=source) as pictures:
            for row in range(len(run)):
                yield pictures[row]

    try:
        if source is not None:  # it was named for its pictures
            RunPictures(run, source=source).close()
        with (
            PictureStore(frames) as pictures,
            ReviewServer(content, pictures, network, settings=settings, listening=listening) as server,
        ):
            yield server
    finally:
        network.close()
