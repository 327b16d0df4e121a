"""The pictures of a run for a page that jumps about in it: read once in order, kept in a temporary file."""

from __future__ import annotations

import logging
import tempfile
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.errors import PartumError
from stream.frames.frame import BLANK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

    from stream.frames.frame import Frame

_log = logging.getLogger(__name__)
MOST_BYTES = 4 << 30
"""Of the temporary file; a longer run shows its beginning."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A frame without its pixels, how many there are, and where they are in the file."""

    frame: Frame
    shape: tuple[int, int]
    start: int
    length: int


class PictureStore:
    """Reads frames in a thread of its own; a context manager. The file vanishes with it.

    Args:
        open_frames: begins to read; called in the thread.
        most_bytes: of the file.
    """

    def __init__(self, open_frames: Callable[[], Iterable[Frame]], *, most_bytes: int = MOST_BYTES) -> None:
        self._open, self._most_bytes = open_frames, most_bytes
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.error = ""
        """Why no further picture comes, for people; empty while they come, and at the end of the run."""
        self.is_done = False
        self._thread = threading.Thread(target=self._run, name="partum-review-pictures")

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile(prefix="partum-")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()

    def __len__(self) -> int:
        """How many frames can be had by now."""
        return len(self._kept)

    def wait(self, timeout_s: float | None = None) -> None:
        """Waits until all is read."""
        self._thread.join(timeout_s)

    def encoded(self, row: int) -> bytes | None:
        """The picture of a frame as PNG; None where it is not read yet, or there is none; empty of a frame without."""
        if row >= len(self._kept):
            return None
        kept = self._kept[row]
        with self._lock:
            self._file.seek(kept.start)
            return self._file.read(kept.length)

    def frame(self, row: int) -> Frame | None:
        """A frame with its pixels; None where it is not read yet, or has none."""
        data = self.encoded(row)
        if not data:
            return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        return None if image is None else replace(self._kept[row].frame, image=np.asarray(image, np.uint8))

    def size(self, row: int) -> tuple[int, int, float] | None:
        """Width, height and pixel aspect of a frame's picture; None where it is not read yet, or has none."""
        if row >= len(self._kept) or not self._kept[row].length:
            return None
        height, width = self._kept[row].shape
        return width, height, self._kept[row].frame.aspect

    def _run(self) -> None:
        try:
            self._read()
            self.is_done = not self._stop.is_set()
        except Exception as error:  # noqa: BLE001 - a thread's boundary: the page says why no picture comes
            _log.debug("pictures end", exc_info=error)
            self.error = str(error) if isinstance(error, PartumError) else f"no picture: {error}"

    def _read(self) -> None:
        end = 0
        for frame in self._open():
            if self._stop.is_set():
                return
            data = _encoded(frame)
            if end + len(data) > self._most_bytes:
                self.error = f"only the first {len(self._kept)} pictures are kept: the rest is too large"
                return
            with self._lock:
                self._file.seek(end)
                self._file.write(data)
            height, width = frame.image.shape
            self._kept.append(_Kept(replace(frame, image=BLANK), (height, width), end, len(data)))
            end += len(data)


def _encoded(frame: Frame) -> bytes:
    if frame.image.size <= BLANK.size:  # a frame that was never decoded
        return b""
    _, data = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
