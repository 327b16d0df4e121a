"""The interface of a source of frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from stream.frames.frame import Frame, PixelSpacing

DEFAULT_RATE_HZ = Fraction(25)
"""Where a recording says nothing of time."""

RATE_NOTE = "25 frames/s assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What a source knows of itself once open, before the first frame is read.

    Attributes:
        uri: what the user named it by (no credentials in it).
        kind: `video`, `dicom`, `stack`, `images`, `phantom`.
        width, height: of the frames, in pixels, after rotation.
        frame_count: as declared by the header; None where it declares none.
        frame_rate_hz: as declared by the header; None where it declares none.
        spacing: of the first frame; None where unknown.
        note: words a viewer must see with the pictures (burnt into the overlay), or "".
        decoder: of video, what decodes it: `cpu`, `cuda`, or `cuda:1`; "" of what is not coded, or not known yet.
    """

    uri: str
    kind: str
    width: int
    height: int
    frame_count: int | None = None
    frame_rate_hz: Fraction | None = None
    spacing: PixelSpacing | None = None
    note: str = ""
    decoder: str = ""


def join_notes(*notes: str) -> str:
    """The notes that say something, one after the other."""
    return "; ".join(note for note in notes if note)


class FrameSource(Protocol):
    """An open recording or feed: iterate it once, close it from any thread.

    Frames stream one by one; a source never holds a whole recording in memory. `close()` unblocks a waiting
    read: the iteration then ends. Iterating a closed source yields nothing. Errors are `SourceError`s.
    """

    @property
    def info(self) -> SourceInfo: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
