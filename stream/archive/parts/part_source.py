"""The frames of a part: pictures from the recording, and beside them what preprocessing made of each."""

from __future__ import annotations

import itertools
import zlib
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from stream.batch.recordings import Form
from stream.common.errors import SourceUnavailable
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.preprocessing.preprocessor import PreprocessorState
from stream.sources.files.kinds import SourceKind, kind_of
from stream.sources.recorded import RecordedSource
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from stream.archive.parts.frame_log import LoggedFrame
    from stream.archive.parts.plan import RecordingPart
    from stream.batch.recordings import Recording
    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.base import FrameSource, SourceInfo
    from stream.sources.decoding.picture_reader import DecodingEntry


_ANY = Fraction(1, 1)
"""The time of a frame comes from the log."""


class PartSource(RecordingSource):
    """The frame before a part, and those of the part, as the recording's source gives them, in what counts of them.

    Args:
        recording: on this machine.
        part: of it.
        clock: stamps the frames.
        spacing: as typed.
        info: of the recording.
    """

    def __init__(
        self, recording: Recording, part: RecordingPart, *, clock: Clock, spacing: PixelSpacing | None, info: SourceInfo
    ) -> None:
        self._recording, self._part, self._clock, self._spacing = recording, part, clock, spacing
        super().__init__(info)

    def _read(self) -> Generator[Frame, None, None]:
        part, entry = self._part, self._part.decoding
        if entry is not None:
            frames = self._from_entry(entry)
            head = list(itertools.islice(frames, 2))
            if self._is_right(head):
                yield from itertools.chain(head, frames)
                return
            frames.close()
        frames = self._from_start()
        head = list(itertools.islice(frames, 2 if part.checksum else 0))
        if part.checksum and not self._is_right(head):
            raise SourceUnavailable(f"{self._recording.source}: was decoded otherwise when it was cut; try again")
        yield from itertools.chain(head, frames)

    def _is_right(self, head: Sequence[Frame]) -> bool:
        """Whether the part begins with these pictures: the one before it, and its first."""
        if [frame.index for frame in head] != [self._part.before, self._part.begin]:
            return False
        return tuple(zlib.crc32(frame.image.tobytes()) for frame in head) == self._part.checksum

    def _is_wanted(self, index: int) -> bool:
        return index == self._part.before or self._part.begin <= index < self._part.end

    def _from_entry(self, entry: DecodingEntry) -> Generator[Frame, None, None]:
        with self._entered(entry) as frames:
            yield from self._wanted(frames)

    @contextmanager
    def _entered(self, entry: DecodingEntry) -> Iterator[Iterable[Frame]]:
        """The frames of a file from an entry on."""
        path, clock, spacing = Path(self._recording.path), self._clock, self._spacing
        kind = kind_of(path)
        if kind is SourceKind.DICOM:
            from stream.sources.files.dicom.source import DicomSource

            with DicomSource(path, clock=clock, spacing=spacing, begin=entry) as source:
                yield source
        elif kind is SourceKind.STACK:
            from stream.sources.files.volumes.source import StackSource

            with StackSource(path, clock=clock, spacing=spacing, begin=entry) as stack:
                yield stack
        else:
            from stream.sources.files.video import images_from

            with closing(images_from(path, entry)) as images:
                yield (
                    Frame(image=image, index=index, pts=0, time_base=_ANY, captured_ns=clock.now_ns())
                    for index, image in enumerate(images, entry.picture)
                )

    def _from_start(self) -> Generator[Frame, None, None]:
        with self._opened() as source:
            yield from self._wanted(source)

    def _wanted(self, frames: Iterable[Frame]) -> Generator[Frame, None, None]:
        for frame in frames:
            if self._closed.is_set():
                return
            if self._is_wanted(frame.index):
                yield frame
            if frame.index == self._part.end - 1:  # what its end is like was said when it was planned
                return

    def _opened(self) -> FrameSource:
        path = Path(self._recording.path)
        if self._recording.form is Form.SINGLE and kind_of(path) is SourceKind.RECORDED:
            begin = self._part.begin if self._part.before is None else self._part.before
            return RecordedSource(path, clock=self._clock, spacing=self._spacing, begin=begin)
        return self._recording.open(clock=self._clock, spacing=self._spacing)


class LoggedPreprocessor:
    """Passes frames on as they were when the recording was cut; a `stream.preprocessing.preprocessor.Preprocessor`.

    Args:
        frames: of the log, in order.
        before: index of the frame before the part, or None.
        is_refused_before: whether that one was refused, where it is known; then the network is not asked.
    """

    def __init__(
        self, frames: Iterable[LoggedFrame], *, before: int | None = None, is_refused_before: bool | None = None
    ) -> None:
        self._frames: Iterator[LoggedFrame] = iter(frames)
        self._before, self._is_refused_before = before, is_refused_before
        self.state = PreprocessorState()

    def process(self, frame: Frame) -> tuple[Frame, Reason | None]:
        logged = next(self._frames, None)
        if logged is None or logged.index != frame.index:
            planned = "none" if logged is None else logged.index
            raise SourceUnavailable(f"frame {frame.index} came, and {planned} was planned; try again")
        if frame.index == self._before and self._is_refused_before is not None:
            return logged.again(frame), Reason.NO_SECTOR if self._is_refused_before else Reason.REPEATED
        return logged.again(frame), logged.reason
