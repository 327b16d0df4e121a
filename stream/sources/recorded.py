"""What `--record` wrote, as a source: every frame as it was when it was live, and what was seen of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
import cv2
import numpy as np

from stream.errors import SourceTruncated, SourceUnreadable
from stream.frame import Frame, PixelSpacing, SegmentCause
from stream.segments import TYPED_SCALE_ENDS
from stream.sources.base import SourceInfo
from stream.sources.recording import Recording
from stream.watch.sight import Sight
from stream.watch.watch import BLANK, Seen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from stream.clock import Clock

SCHEMA = "partum.recording/1"
FRAMES = "frames.jsonl"
FIELD = "field-{:04d}.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFrame:
    """A line of `frames.jsonl`: a frame without its pixels, and where they are."""

    index: int
    pts: int
    time_base: Fraction
    segment: int
    segment_cause: SegmentCause
    spacing: PixelSpacing | None
    spacing_note: str
    pixel_aspect: float | None
    origin: tuple[int, int]
    field: int | None
    sight: Sight
    part: int | None

    @classmethod
    def parse(cls, line: dict[str, Any]) -> RecordedFrame:
        """Reads a line; raises KeyError, TypeError or ValueError where it is none."""
        left, top = line["origin_px"]
        return cls(
            index=int(line["index"]),
            pts=int(line["pts"]),
            time_base=Fraction(*line["time_base"]),
            segment=int(line["segment"]),
            segment_cause=SegmentCause(line.get("segment_cause", SegmentCause.START)),
            spacing=PixelSpacing.checked(*line["spacing_mm"]) if line["spacing_mm"] else None,
            spacing_note=str(line.get("spacing_note") or ""),
            pixel_aspect=line["pixel_aspect"],
            origin=(int(left), int(top)),
            field=line.get("field"),
            sight=Sight(line["sight"]),
            part=line["part"],
        )


class RecordedSource(Recording):
    """The frames of a recorded stream, those that were dropped or not looked at included, without their pixels.

    Raises:
        SourceUnreadable: it is damaged, or of another version.
    """

    KIND = "recorded"

    def __init__(self, folder: Path, *, clock: Clock, spacing: PixelSpacing | None = None) -> None:
        """Opens the recording.

        Args:
            folder: that `--record` made.
            clock: stamps the frames as they are read.
            spacing: mm per pixel, in the place of what was recorded, as long as the picture keeps its size and depth.
        """
        self._folder, self._clock, self._spacing = folder, clock, spacing
        header, frames = _read(folder)
        first = next((frame for frame in frames if frame.part is not None), None)
        height, width = _first_shape(folder) if first else BLANK.shape
        super().__init__(
            SourceInfo(
                uri=str(folder),
                kind=self.KIND,
                width=width,
                height=height,
                frame_count=len(frames),
                spacing=spacing or (first.spacing if first else None),
                note=str(header.get("note", "")),
            )
        )

    def _read(self) -> Generator[Frame, None, None]:
        _, frames = _read(self._folder)
        part, pictures = -1, iter(())  # type: tuple[int, Iterator[NDArray[np.uint8]]]
        field, field_of_view = None, None  # type: tuple[int | None, NDArray[np.uint8] | None]
        typed, segment = self._spacing, frames[0].segment if frames else 0
        for recorded in frames:
            if recorded.segment != segment and recorded.segment_cause in TYPED_SCALE_ENDS:
                typed = None
            segment = recorded.segment
            image: NDArray[np.uint8] | None = BLANK.copy()
            if recorded.part is not None:
                if recorded.part != part:
                    part, pictures = recorded.part, _pictures(self._folder, recorded.part)
                image = next(pictures, None)
            if recorded.field != field:
                field, field_of_view = recorded.field, _field_of_view(self._folder, recorded.field)
            if image is None:
                raise SourceTruncated(
                    f"{self._folder}: picture of frame {recorded.index} is missing; the recording was cut off there"
                )
            yield Frame(
                image=image,
                index=recorded.index,
                pts=recorded.pts,
                time_base=recorded.time_base,
                captured_ns=self._clock.now_ns(),
                spacing=typed or recorded.spacing,
                spacing_note="" if typed else recorded.spacing_note,
                pixel_aspect=recorded.pixel_aspect,
                segment=recorded.segment,
                segment_cause=recorded.segment_cause,
                origin=recorded.origin,
                field_of_view=field_of_view,
            )


class RecordedWatch:
    """Says of each frame what was seen of it when it was live; the place of a `stream.watch.Watch`."""

    def __init__(self, folder: Path) -> None:
        _, frames = _read(folder)
        self._sights = [frame.sight for frame in frames]
        self.seen = Seen(sector="as recorded", scale="as recorded" if any(frame.spacing for frame in frames) else "")

    def look(self, frame: Frame) -> tuple[Frame, Sight]:
        return frame, self._sights[frame.index % len(self._sights)]


def _read(folder: Path) -> tuple[dict[str, Any], list[RecordedFrame]]:
    """The header and all lines; a last one that was cut off is left out."""
    try:
        lines = (folder / FRAMES).read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        header = json.loads(whole[0])
        if header["schema"] != SCHEMA:
            raise ValueError(f"version {header['schema']!r}, {SCHEMA!r} is known")
        return header, [RecordedFrame.parse(json.loads(line)) for line in whole[1:]]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SourceUnreadable(f"{folder / FRAMES}: is no recording that can be read ({error})") from error


def _field_of_view(folder: Path, number: int | None) -> NDArray[np.uint8] | None:
    """Where the pictures show ultrasound; None where all of them does.

    Raises:
        SourceTruncated: its file is missing or damaged.
    """
    if number is None:
        return None
    path = folder / FIELD.format(number)
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise SourceTruncated(f"{path}: the field of view is missing or damaged; the recording was cut off there")
    return np.asarray(mask, np.uint8)


def _first_shape(folder: Path) -> tuple[int, int]:
    picture = next(_pictures(folder, 0), None)
    if picture is None:
        raise SourceUnreadable(f"{folder}: holds no picture; the recording was cut off at its start")
    height, width = picture.shape
    return height, width


def _pictures(folder: Path, part: int) -> Iterator[NDArray[np.uint8]]:
    """The pictures of one file, as far as they are whole."""
    path = folder / f"{part:04d}.nut"
    try:
        with av.open(str(path)) as container:
            for picture in container.decode(video=0):
                yield np.asarray(picture.to_ndarray(), np.uint8)
    except (OSError, av.error.FFmpegError):
        return
