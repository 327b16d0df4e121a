"""`overlay.mp4`: every frame drawn with its measurement, encoded in a thread."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import cv2
import numpy as np

from stream.common.atomic_file import write_error
from stream.common.errors import OutputError
from stream.outputs.pictures.drawing import Painter
from stream.outputs.threaded import ThreadedSink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from stream.pipeline.record import Measurement

TIME_BASE = Fraction(1, 90_000)
"""Fine enough to keep any recording's time stamps; MPEG's own."""

WAITING_FRAMES = 8


@dataclass(frozen=True, slots=True)
class FilmCoding:
    """How the film is encoded by x264.

    Attributes:
        preset: of the encoder.
        crf: of the encoder: what it may lose.
        threads: that it may keep busy; None takes what is there.
        details: more of its own options, `name=value` with colons between, or "".
    """

    preset: str = "veryfast"
    crf: int = 22
    threads: int | None = None
    details: str = ""


class OverlayVideo:
    """Writes the film beside its final name and renames it when it is whole.

    Args:
        path: of the MP4.
        note: words of the source that must be seen with the picture, or "".
        frame_rate_hz: nominal, for players; each frame keeps its own time.
        is_live: of a live feed: a result that came late says so.
        coding: how hard the encoder works.
    """

    def __init__(
        self,
        path: Path,
        *,
        note: str,
        frame_rate_hz: Fraction | None,
        is_live: bool = False,
        coding: FilmCoding | None = None,
    ) -> None:
        self._coding = coding or FilmCoding()
        self._path, self._partial = path, path.with_suffix(".mp4.part")
        # Only nominal: every frame carries its own time. FFmpeg wants a small fraction within reason.
        self._rate = min(max(frame_rate_hz or Fraction(25), Fraction(1)), Fraction(1000)).limit_denominator(1001)
        self._painter = Painter(note, is_live=is_live)
        self._last_pts = -1
        self._is_begun = self._closed = False
        self._container = self._open()
        self._stream = self._add_stream(self._container)
        self._behind = ThreadedSink(path, "film", self._write_all, waiting=WAITING_FRAMES)

    def write(self, measurement: Measurement) -> None:
        self._behind.write(measurement)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._behind.close()
        except OutputError:
            self._partial.unlink(missing_ok=True)
            raise
        try:
            if self._is_begun:
                os.replace(self._partial, self._path)
            else:
                self._partial.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self._path, error) from error

    def _open(self) -> OutputContainer:
        try:
            return av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{self._path}: cannot be written ({error}); choose another --out") from error

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        coding = self._coding
        options = {"preset": coding.preset, "crf": str(coding.crf), "x264-params": coding.details}
        stream = container.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height = Painter.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        if coding.threads:
            stream.codec_context.thread_count = coding.threads
        return stream

    def _write_all(self, measurements: Iterable[Measurement]) -> None:
        with self._container:  # closing writes the index, so it can fail for want of space too
            for measurement in measurements:
                self._encode(measurement)
            self._container.mux(self._stream.encode())

    def _encode(self, measurement: Measurement) -> None:
        painted = np.asarray(cv2.cvtColor(self._painter.paint(measurement), cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(painted, format="yuv420p")
        # Encoders refuse a time that does not grow; a loop's seam or a repeated stamp must not end the film.
        pts = max(round(measurement.frame.pts * measurement.frame.time_base / TIME_BASE), self._last_pts + 1)
        picture.pts, picture.time_base = pts, TIME_BASE
        self._last_pts = pts
        self._is_begun = True
        self._container.mux(self._stream.encode(picture))
