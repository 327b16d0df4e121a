"""Source wrappers: loop, pacing by timestamps, another spacing."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from stream.common.errors import OptionError, SourceUnreadable
from stream.frames.frame import SegmentCause
from stream.frames.typed_spacing import TypedSpacing
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from stream.common.clock import Clock
    from stream.frames.frame import Frame, PixelSpacing
    from stream.sources.base import FrameSource, SourceInfo
    from stream.sources.decoding.picture_reader import DecodingEntry

_DEFAULT_RATE_HZ = Fraction(25)


class SourceWrapper(RecordingSource):
    """A source that passes on the frames of another, which it owns and closes."""

    def __init__(self, source: FrameSource, info: SourceInfo) -> None:
        self._source = source
        super().__init__(info)

    @property
    def entry(self) -> DecodingEntry | None:
        return self._source.entry if isinstance(self._source, RecordingSource) else None

    def close(self) -> None:
        """Ends a running iteration and closes the wrapped source. Harmless a second time, and from any thread."""
        self._closed.set()
        self._source.close()  # first: the thread that iterates may be waiting in it
        super().close()

    def _release(self) -> None:
        self._source.close()


class LoopedSource(SourceWrapper):
    """A recording without end: opened anew each time it runs out.

    Index and time go on, and each pass begins a new segment, one period after the last frame.
    """

    def __init__(self, open_recording: Callable[[], FrameSource]) -> None:
        """Opens the recording for the first time.

        Args:
            open_recording: opens it at its start; called for every pass.
        """
        self._open_recording = open_recording
        source = open_recording()
        super().__init__(source, replace(source.info, frame_count=None))

    def _read(self) -> Generator[Frame, None, None]:
        last: Frame | None = None
        while not self._closed.is_set():
            before = last
            first: Frame | None = None
            for frame in self._source:
                first = first or frame
                last = frame if before is None else self._continued(frame, before, first)
                yield last
            if first is None and not self._closed.is_set():
                raise SourceUnreadable(f"{self.info.uri}: holds no frames, so there is nothing to loop")
            self._source.close()
            # A picture whose side data was read refers to itself (PyAV), and so does each pass's first: three megabytes
            # a pass at 1080p, for as long as nobody looks.
            gc.collect()
            self._source = self._open_recording()

    def _continued(self, frame: Frame, before: Frame, first: Frame) -> Frame:
        """The frame of a later pass that began with `first` and follows `before`, the last of the pass before."""
        return replace(
            frame,
            index=before.index + 1 + frame.index,
            pts=before.pts + self._period(frame) + frame.pts - first.pts,
            segment=before.segment + 1 + frame.segment - first.segment,
            segment_cause=SegmentCause.LOOP if frame.segment == first.segment else frame.segment_cause,
        )

    def _period(self, frame: Frame) -> int:
        rate_hz = self.info.frame_rate_hz or _DEFAULT_RATE_HZ
        return max(1, round(1 / (rate_hz * frame.time_base)))


class PacedSource(SourceWrapper):
    """A recording at the pace of its timestamps: each frame is released when it is due, never sooner.

    `captured_ns` becomes the instant at which the frame was due, so that latency counts from there even when
    the reader is late.
    """

    def __init__(self, source: FrameSource, *, speed: float, clock: Clock) -> None:
        """Wraps a source, which is closed with the wrapper.

        Args:
            source: any source.
            speed: 1 for real time, 2 for twice as fast; positive.
            clock: tells and waits for the time.

        Raises:
            OptionError: `speed` is not a positive number.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise OptionError(f"speed {speed} is not a positive number; 1 is real time")
        self._speed = speed
        self._clock = clock
        super().__init__(source, source.info)

    def _read(self) -> Generator[Frame, None, None]:
        due_ns, start_ns, start_s, last_s = 0, 0, 0.0, math.inf
        for frame in self._source:
            if frame.pts_s < last_s:  # the first frame, or a segment whose time begins anew
                start_ns, start_s = max(self._clock.now_ns(), due_ns), frame.pts_s
            last_s = frame.pts_s
            due_ns = start_ns + round((frame.pts_s - start_s) / self._speed * 1e9)
            self._clock.wait_until(due_ns, self._closed)
            if self._closed.is_set():
                return
            yield replace(frame, captured_ns=due_ns)


class RespacedSource(SourceWrapper):
    """A recording whose frames carry the user's spacing in place of their own, where it was typed for their size."""

    def __init__(self, source: FrameSource, *, spacing: PixelSpacing) -> None:
        """Wraps a source, which is closed with the wrapper.

        Args:
            source: any source.
            spacing: mm per pixel of the first frame, and of all like it.
        """
        self._typed = TypedSpacing(spacing)
        super().__init__(source, replace(source.info, spacing=spacing))

    def _read(self) -> Generator[Frame, None, None]:
        for frame in self._source:
            yield replace(frame, spacing=self._typed.for_picture(frame.image.shape, frame.pixel_aspect, frame.spacing))
