"""A sink that works in its own thread, so that slow outputs do not delay the stream."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from stream.common.channel import Channel, ChannelClosed
from stream.common.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from stream.pipeline.record import Measurement


class ThreadedSink:
    """Hands measurements to a thread, in order; a `stream.outputs.base.Sink`.

    Nothing is lost: where the thread falls behind by more than `waiting`, `write` waits for it.

    Args:
        path: of what is written, for messages.
        what: the same in a word.
        work: takes all measurements, in the thread; what it raises is raised again by `write` or `close`.
        waiting: measurements that may wait.
    """

    def __init__(self, path: Path, what: str, work: Callable[[Iterable[Measurement]], None], *, waiting: int) -> None:
        self._path, self._what, self._work = path, what, work
        self._channel: Channel[Measurement] = Channel(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"partum-{what}")
        self._thread.start()

    def write(self, measurement: Measurement) -> None:
        try:
            self._channel.send(measurement)
        except ChannelClosed:
            self._raise()

    def close(self) -> None:
        """Waits until all is written."""
        self._channel.close()
        self._thread.join()
        self._raise()

    def _run(self) -> None:
        try:
            self._work(self._channel)
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: raised again by write and close
            self._error = error
            self._channel.cancel()

    def _raise(self) -> None:
        if self._error is not None:
            said = getattr(self._error, "strerror", None) or self._error
            raise OutputError(
                f"{self._path}: the {self._what} cannot be written ({said}); free space or choose another --out"
            ) from self._error
