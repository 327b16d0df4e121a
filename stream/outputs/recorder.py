"""`recording/`: the stream as it was measured, for a bit-exact replay.

    frames.jsonl    one object a frame: its number, time, scale, and what was seen of it
    0000.nut ...    the pictures of the frames that were looked at, without loss (FFV1); a file for each size
    field-0000.png  where in them the ultrasound is; a file for each sector

What is recorded is preprocessed: the sector's pixels alone, its text masked. Names, addresses and times of
day are in none of it.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import cv2

from stream.common.errors import OutputError
from stream.frames.reason import ReasonKind
from stream.outputs.manifest import NOTICE
from stream.outputs.tables import LineWriter
from stream.outputs.threaded import ThreadedSink
from stream.sources.recorded import FIELD, FRAMES, SCHEMA, skip_code

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.frames.reason import Reason
    from stream.pipeline.record import Measurement

WAITING_FRAMES = 64
RATE = Fraction(1000)
"""Ticks of the pictures' own clock, one a picture; the true times are in `frames.jsonl`."""


class Recorder:
    """Writes the recording in a thread of its own.

    Args:
        folder: made by this; must not exist.
        note: words of the source that must be seen with the pictures, or "".

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, folder: Path, *, note: str) -> None:
        self._folder = folder
        try:
            folder.mkdir()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error
        self._lines = LineWriter(folder / FRAMES)
        self._lines.add(json.dumps({"schema": SCHEMA, "notice": NOTICE, "note": note}) + "\n")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._shape: tuple[int, ...] = ()
        self._part, self._in_part = -1, 0
        self._fields = -1
        self._field_of_view: NDArray[np.uint8] | None = None
        self._behind = ThreadedSink(folder, "recording", self._write_all, waiting=WAITING_FRAMES)

    def write(self, measurement: Measurement) -> None:
        self._behind.write(measurement)

    def close(self) -> None:
        self._behind.close()

    def _write_all(self, measurements: Iterable[Measurement]) -> None:
        try:
            for measurement in measurements:
                reason = measurement.reason
                skipped = reason if reason and reason.kind is not ReasonKind.AFTER_INFERENCE else None
                part = None if skipped else self._encode(measurement.frame)
                field = self._field(measurement.frame) if part is not None else None
                self._lines.add(json.dumps(_line(measurement.frame, skipped, part, field)) + "\n")
        finally:
            try:
                self._end_part()
            finally:
                self._lines.close()

    def _field(self, frame: Frame) -> int | None:
        """Writes the field of view where it is another than before; returns the number of its file."""
        field_of_view = frame.field_of_view
        if field_of_view is None:
            return None
        if field_of_view is not self._field_of_view:
            self._fields, self._field_of_view = self._fields + 1, field_of_view
            _, data = cv2.imencode(".png", field_of_view)
            path = self._folder / FIELD.format(self._fields)
            try:
                path.write_bytes(data.tobytes())
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror}); free space there") from error
        return self._fields

    def _encode(self, frame: Frame) -> int:
        """Writes a picture; returns the number of the file it is in."""
        if frame.image.shape != self._shape:
            self._end_part()
            self._begin_part(frame.image.shape)
        assert self._container is not None
        assert self._stream is not None
        picture = av.VideoFrame.from_ndarray(frame.image, format="gray")
        picture.pts, picture.time_base = self._in_part, 1 / RATE
        self._in_part += 1
        self._container.mux(self._stream.encode(picture))
        return self._part

    def _begin_part(self, shape: tuple[int, ...]) -> None:
        self._shape, self._part, self._in_part = shape, self._part + 1, 0
        # Each picture goes to the file at once: one that waits in the library is lost by a kill, or by a full disk.
        path, flushed = str(self._folder / f"{self._part:04d}.nut"), {"flush_packets": "1"}
        self._container = av.open(path, "w", format="nut", container_options=flushed)
        # Golomb-Rice codes of single pictures: three times as fast as FFV1's best, for a tenth more bytes.
        stream = self._container.add_stream("ffv1", rate=RATE, options={"level": "3", "coder": "rice", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = shape[1], shape[0], "gray"
        stream.codec_context.time_base = 1 / RATE
        self._stream = stream

    def _end_part(self) -> None:
        if self._container is not None and self._stream is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
        self._container = self._stream = None


def _line(frame: Frame, skipped: Reason | None, part: int | None, field: int | None) -> dict[str, object]:
    return {
        "index": frame.index,
        "pts": frame.pts,
        "time_base": [frame.time_base.numerator, frame.time_base.denominator],
        "segment": frame.segment,
        "segment_cause": str(frame.segment_cause),
        "spacing_mm": [frame.spacing.x_mm, frame.spacing.y_mm] if frame.spacing else None,
        "spacing_note": frame.spacing_note,
        "pixel_aspect": frame.pixel_aspect,
        "origin_px": list(frame.origin),
        "field": field,
        "sight": skip_code(skipped),
        "part": part,
    }
