"""Recordings written by `--record` as a source: every frame as it was live."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from fractions import Fraction
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from stream.common.errors import SourceTruncated, SourceUnreadable
from stream.frames.frame import BLANK, PLAUSIBLE_ASPECT, Frame, PixelSpacing, SegmentCause
from stream.frames.reason import Reason, ReasonKind
from stream.frames.segments import TYPED_SCALE_ENDS
from stream.sources.base import SourceInfo
from stream.sources.decoding.picture_reader import PictureReader
from stream.sources.files.images.image_file import read_grey
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from stream.common.clock import Clock

_log = logging.getLogger(__name__)

SCHEMA = "partum.recording/1"
FRAMES = "frames.jsonl"
FIELD = "field-{:04d}.png"
NEW, BLACK = "new", "black"
"""Codes in the file of a frame that went to the network, and of one without a signal; the others are the reason's."""


def skip_code(skipped: Reason | None) -> str:
    """How `frames.jsonl` says why a frame did not go to the network; None where it did."""
    if skipped is Reason.NO_SIGNAL:
        return BLACK
    return skipped or NEW


def parse_skip_code(code: object) -> Reason | None:
    """What `skip_code` wrote.

    Raises:
        ValueError: it is no such code.
    """
    if code == NEW:
        return None
    skipped = Reason.NO_SIGNAL if code == BLACK else Reason(str(code))
    if skip_code(skipped) != code or skipped.kind is ReasonKind.AFTER_INFERENCE:
        raise ValueError(f"sight {code!r}")
    return skipped


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
    skipped: Reason | None
    part: int | None

    @classmethod
    def parse(cls, line: dict[str, Any]) -> RecordedFrame:
        """Reads a line; raises KeyError, TypeError, ValueError or ArithmeticError where it is none."""
        left, top = line["origin_px"]
        frame = cls(
            index=index(line["index"]),
            pts=index(line["pts"]),
            time_base=Fraction(*line["time_base"]),
            segment=index(line["segment"]),
            segment_cause=SegmentCause(line.get("segment_cause", SegmentCause.START)),
            spacing=PixelSpacing.checked(*line["spacing_mm"]) if line["spacing_mm"] else None,
            spacing_note=str(line.get("spacing_note") or ""),
            pixel_aspect=None if line["pixel_aspect"] is None else float(line["pixel_aspect"]),
            origin=(index(left), index(top)),
            field=None if line.get("field") is None else index(line["field"]),
            skipped=parse_skip_code(line["sight"]),
            part=None if line["part"] is None else index(line["part"]),
        )
        least, most = PLAUSIBLE_ASPECT
        if frame.pixel_aspect is not None and not least <= frame.pixel_aspect <= most:
            raise ValueError(f"pixel_aspect {frame.pixel_aspect:g}")
        if (
            min(frame.index, frame.segment, *frame.origin, frame.field or 0, frame.part or 0) < 0
            or frame.time_base <= 0
        ):
            raise ValueError("a number is negative that cannot be")
        return frame


class RecordedSource(RecordingSource):
    """The frames of a recorded stream, those that were dropped or not looked at included, without their pixels.

    Raises:
        SourceUnreadable: it is damaged, or of another version.
    """

    KIND = "recorded"

    def __init__(self, folder: Path, *, clock: Clock, spacing: PixelSpacing | None = None, begin: int = 0) -> None:
        """Opens the recording.

        Args:
            folder: that `--record` made.
            clock: stamps the frames as they are read.
            spacing: mm per pixel, in the place of what was recorded, as long as the picture keeps its size and depth.
            begin: index of the first frame that is given; pictures before it are not decoded.
        """
        self._begin = begin
        self._folder, self._clock, self._spacing = folder, clock, spacing
        header, frames = read_recorded_frames(folder)
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
        _, frames = read_recorded_frames(self._folder)
        part, pictures = -1, iter(())  # type: tuple[int, Iterator[NDArray[np.uint8] | None]]
        field, field_of_view = None, None  # type: tuple[int | None, NDArray[np.uint8] | None]
        typed, segment = self._spacing, frames[0].segment if frames else 0
        for recorded in frames:
            if recorded.segment != segment and recorded.segment_cause in TYPED_SCALE_ENDS:
                typed = None
            segment = recorded.segment
            if recorded.index < self._begin:
                continue
            image: NDArray[np.uint8] | None = BLANK.copy()
            if recorded.part is not None:
                if recorded.part != part:
                    _tell_left_over(self._folder, part, pictures)
                    before = sum(frame.part == recorded.part for frame in frames[: self._begin])
                    part, pictures = recorded.part, _pictures(self._folder, recorded.part, start=before)
                try:
                    image = next(pictures)
                except StopIteration:
                    raise SourceTruncated(
                        f"{self._folder}: picture of frame {recorded.index} is missing; the recording was cut off there"
                    ) from None
            if recorded.field is not None and recorded.field != field:
                field, field_of_view = recorded.field, _field_of_view(self._folder, recorded.field)
            is_damaged = image is None
            is_shown = recorded.part is not None and recorded.field is not None and not is_damaged
            image = BLANK.copy() if image is None else image
            if is_shown and field_of_view is not None and field_of_view.shape != image.shape:
                raise SourceUnreadable(
                    f"{self._folder}: the field of view of frame {recorded.index} is of another size"
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
                field_of_view=field_of_view if is_shown else None,
                refusal=Reason.DAMAGED if is_damaged else None,
            )
        _tell_left_over(self._folder, part, pictures)


def read_recorded_frames(folder: Path) -> tuple[dict[str, Any], list[RecordedFrame]]:
    """The header and all lines; a last one that was cut off is left out."""
    try:
        lines = (folder / FRAMES).read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        header = json.loads(whole[0])
        if header["schema"] != SCHEMA:
            raise ValueError(f"version {header['schema']!r}, {SCHEMA!r} is known")
        frames = [RecordedFrame.parse(json.loads(line)) for line in whole[1:]]
        if [frame.index for frame in frames] != list(range(len(frames))):
            raise ValueError("its frames are not numbered one after the other")
        return header, frames
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SourceUnreadable(f"{folder / FRAMES}: is no recording that can be read ({reason})") from error


def _field_of_view(folder: Path, number: int | None) -> NDArray[np.uint8] | None:
    """Where the pictures show ultrasound; None where all of them does.

    Raises:
        SourceError: its file is missing or damaged.
    """
    if number is None:
        return None
    return read_grey(folder / FIELD.format(number))


def _first_shape(folder: Path) -> tuple[int, int]:
    picture = next((picture for picture in _pictures(folder, 0) if picture is not None), None)
    if picture is None:
        raise SourceUnreadable(f"{folder}: holds no picture; the recording was cut off at its start")
    height, width = picture.shape
    return height, width


def _pictures(folder: Path, part: int, *, start: int = 0) -> Iterator[NDArray[np.uint8] | None]:
    """The pictures of one file in order, each coded by itself, from number `start` on; None for one not whole."""
    try:
        with av.open(str(folder / f"{part:04d}.nut"), metadata_errors="replace") as container:
            for decoded in PictureReader(container, container.streams.video[0], start=start):
                is_whole = decoded.frame is not None and decoded.is_sound and decoded.frame.format.name == "gray"
                yield np.asarray(decoded.frame.to_ndarray(), np.uint8) if decoded.frame and is_whole else None
    except (OSError, IndexError, ValueError, av.error.FFmpegError):
        return


def _tell_left_over(folder: Path, part: int, pictures: Iterator[object]) -> None:
    """Says that a file holds more pictures than there are lines; a run that was killed leaves them."""
    count = sum(1 for _ in pictures)
    if count:
        _log.warning("%s: %d pictures of part %d have no line and are not played", folder, count, part)
