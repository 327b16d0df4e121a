"""What preprocessing made of each frame of a part, without its pixels: enough to have the frame again from its picture.

A gzip file of JSON lines. A line with `window` says how the pictures after it are cut and masked, until the next such.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stream.frames.frame import BLANK, PixelSpacing, SegmentCause
from stream.frames.reason import Reason
from stream.preprocessing.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stream.frames.frame import Frame


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoggedFrame:
    """A frame as preprocessing passed it on; the fields are those of `Frame`.

    Attributes:
        reason: why it did not go to the network; None where it did.
        view: how its picture was cut and masked; None where it was passed on whole.
        is_blank: nothing of its picture was passed on.
    """

    index: int
    pts: int
    time_base: Fraction
    segment: int
    segment_cause: SegmentCause
    spacing: PixelSpacing | None
    spacing_note: str
    pixel_aspect: float | None
    origin: tuple[int, int]
    reason: Reason | None
    view: View | None
    is_blank: bool

    @classmethod
    def of(cls, raw: Frame, frame: Frame, reason: Reason | None, view: View | None) -> Self:
        """A frame that was just processed.

        Args:
            raw: as its source gave it.
            frame: as it was passed on.
            reason: why it must not go to the network.
            view: how it was cut and masked.
        """
        is_blank = frame.image.shape == BLANK.shape != raw.image.shape
        return cls(
            index=frame.index,
            pts=frame.pts,
            time_base=frame.time_base,
            segment=frame.segment,
            segment_cause=frame.segment_cause,
            spacing=frame.spacing,
            spacing_note=frame.spacing_note,
            pixel_aspect=frame.pixel_aspect,
            origin=frame.origin,
            reason=reason,
            view=None if is_blank else view,
            is_blank=is_blank,
        )

    def again(self, raw: Frame) -> Frame:
        """The frame as it was passed on, from one that has its picture."""
        image, field_of_view = raw.image, raw.field_of_view
        if self.is_blank:
            image, field_of_view = BLANK.copy(), None
        elif self.view is not None:
            image, field_of_view = self.view.of(raw.image), self.view.inside
        return replace(
            raw,
            image=image,
            pts=self.pts,
            time_base=self.time_base,
            segment=self.segment,
            segment_cause=self.segment_cause,
            spacing=self.spacing,
            spacing_note=self.spacing_note,
            pixel_aspect=self.pixel_aspect,
            origin=self.origin,
            field_of_view=field_of_view,
        )


class FrameLogWriter:
    """Writes the log of a part."""

    def __init__(self) -> None:
        self._written = io.BytesIO()
        self._lines = gzip.GzipFile(fileobj=self._written, mode="wb", compresslevel=3, mtime=0)
        self._view: View | None = None

    def add(self, frame: LoggedFrame) -> None:
        """Adds the next frame."""
        if frame.view is not None and (self._view is None or not frame.view.is_like(self._view)):
            self._view = frame.view
            self._write(_view_line(frame.view))
        spacing = frame.spacing and [frame.spacing.x_mm, frame.spacing.y_mm]
        self._write(
            [
                frame.index,
                frame.pts,
                list(frame.time_base.as_integer_ratio()),
                frame.segment,
                frame.segment_cause,
                spacing,
                frame.spacing_note,
                frame.pixel_aspect,
                frame.origin,
                frame.reason,
                frame.view is not None,
                frame.is_blank,
            ]
        )

    def finish(self) -> bytes:
        """The whole log; nothing may be added afterwards."""
        self._lines.close()
        return self._written.getvalue()

    def _write(self, line: object) -> None:
        self._lines.write(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def read_frame_log(data: bytes) -> Iterator[LoggedFrame]:
    """The frames of a log, in order."""
    view: View | None = None
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as lines:
        for text in lines:
            line = json.loads(text)
            if isinstance(line, dict):
                view = _parse_view(line)
                continue
            index, pts, time_base, segment, cause, spacing, note, aspect, origin, reason, has_view, is_blank = line
            yield LoggedFrame(
                index=index,
                pts=pts,
                time_base=Fraction(*time_base),
                segment=segment,
                segment_cause=SegmentCause(cause),
                spacing=PixelSpacing(*spacing) if spacing else None,
                spacing_note=note,
                pixel_aspect=aspect,
                origin=(origin[0], origin[1]),
                reason=Reason(reason) if reason else None,
                view=view if has_view else None,
                is_blank=is_blank,
            )


def _view_line(view: View) -> dict[str, Any]:
    bits = zlib.compress(np.packbits(view.inside > 0).tobytes(), 3)
    return {"window": view.window, "inside": base64.b64encode(bits).decode(), "text": list(view.text)}


def _parse_view(line: dict[str, Any]) -> View:
    left, top, width, height = line["window"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(line["inside"])), np.uint8)
    inside: NDArray[np.uint8] = np.unpackbits(packed, count=width * height).reshape(height, width) * np.uint8(255)
    inside.flags.writeable = False
    return View(
        window=(left, top, width, height),
        inside=inside,
        text=[(box[0], box[1], box[2], box[3]) for box in line["text"]],
    )
