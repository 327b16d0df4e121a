"""Base class of sources that read a recording: facts, one pass, close from any thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from stream.frames.frame import Frame
    from stream.sources.base import SourceInfo
    from stream.sources.decoding.picture_reader import DecodingEntry


class RecordingSource(ABC):
    """A source that reads its frames with `_read`, a generator, and frees what it holds in `_release`.

    The generator is only run, and `_release` only called, under one lock: closing from another thread waits
    for the frame being read, no longer, and nothing is freed under a running decoder. Iterating goes through
    the recording once; a second loop goes on where the first was left.
    """

    def __init__(self, info: SourceInfo) -> None:
        self._info = info
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._frames = self._read()

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def entry(self) -> DecodingEntry | None:
        """Where decoding may begin to have the frame that was given last; None where only the start is known to do."""
        return None

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._lock:
                frame = None if self._closed.is_set() else next(self._frames, None)
            if frame is None or self._closed.is_set():
                return
            yield frame

    def close(self) -> None:
        """Ends a running iteration and frees the file. Harmless a second time, and from any thread."""
        self._closed.set()
        with self._lock:
            self._frames.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _read(self) -> Generator[Frame, None, None]:
        """Yields the frames. Long work between two frames looks at `_closed` and gives up when it is set."""

    def _release(self) -> None:  # noqa: B027 - a hook: not every source holds something
        """Frees what is held; called at every close, so it must be harmless when repeated."""
