"""MetaImage and NRRD stacks as a source of frames."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.common.errors import SourceNotFound, SourceUnreadable
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.frames.segment_numbering import SegmentNumbering
from stream.frames.timeline import Timeline
from stream.sources.base import DEFAULT_RATE_HZ, SourceInfo, join_notes
from stream.sources.decoding.picture_reader import DecodingEntry
from stream.sources.files.volumes import metaimage, nrrd
from stream.sources.files.volumes.pixels import frame_blocks, has_free_access, open_pixels, with_stored_count
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.files.volumes.header import StackHeader

_TIME_BASE = Fraction(1, 1_000_000)


class StackSource(RecordingSource):
    """The frames of a MetaImage (.mha, .mhd) or NRRD (.nrrd, .nhdr) file, read from disk one by one.

    Convention: 8-bit values are taken as they are. Wider integers and floats are taken as they are too where
    all of the file lies in 0 to 255 and passes 1; otherwise the file's smallest value becomes 0 and its
    largest 255, found in a first pass over the file. Colour becomes grey by BT.601. Depth runs
    downwards, by the orientation in the header; left and right stay as stored. Times are those of the header where they
    can be believed (`stream.sources.timestamps`), else 25 frames a second. Pictures that the recorder itself calls
    invalid are refused. Where more whole pictures are stored than declared, all are played; the note says what was
    doubtful. Worked value: 16-bit data from 0 to 4095 show 2048 as 128.
    """

    def __init__(
        self, path: Path, *, clock: Clock, spacing: PixelSpacing | None = None, begin: DecodingEntry | None = None
    ) -> None:
        """Reads the header.

        Args:
            path: of the .mha, .mhd, .nrrd or .nhdr file.
            clock: stamps the frames as they are read.
            spacing: mm per pixel, where the caller knows better than the file.
            begin: the frames from here on are given, an `entry` of this file; None gives all.

        Raises:
            SourceNotFound: there is no such file, or the one with the pixels is missing.
            SourceUnreadable: it is neither MetaImage nor NRRD, or of a kind that does not stream.
        """
        header = _read_header(path)
        self._file = open_pixels(header)
        try:
            self._header = header = with_stored_count(header, self._file)
        except SourceUnreadable:
            self._file.close()
            raise
        self._clock, self._spacing, self._begin = clock, spacing, begin.picture if begin else 0
        self._entry: DecodingEntry | None = None
        width, height = header.shown_size
        super().__init__(
            SourceInfo(
                uri=str(path),
                kind="stack",
                width=width,
                height=height,
                frame_count=header.frame_count,
                frame_rate_hz=_rate_hz(header),
                spacing=spacing or header.shown_scale(0).spacing,
                note=join_notes(
                    *(header.notes[1:] if spacing else header.notes),
                    header.stamps.note if header.frame_count > 1 else "",
                ),
            )
        )

    @property
    def entry(self) -> DecodingEntry | None:
        return self._entry

    def _read(self) -> Generator[Frame, None, None]:
        header = self._header
        lowest, highest = self._shown_range()
        timeline = Timeline(time_base=_TIME_BASE, period_s=1 / _rate_hz(header))
        segments = SegmentNumbering()
        for index, block in enumerate(frame_blocks(header, self._file, begin=self._begin), self._begin):
            image = np.ascontiguousarray(header.shown(_to_grey(_to_bytes(header.pixels(block), lowest, highest))))
            scale = header.shown_scale(index)
            self._entry = DecodingEntry(index, index) if has_free_access(header) else None
            frame = Frame(
                image=image,
                index=index,
                pts=timeline.place(_stamp(header, index)),
                time_base=_TIME_BASE,
                captured_ns=self._clock.now_ns(),
                spacing=self._spacing or scale.spacing,
                pixel_aspect=scale.aspect,
                refusal=Reason.INVALID if index in header.invalid else None,
            )
            yield segments.numbered(frame, jumps=timeline.segment)

    def _shown_range(self) -> tuple[float, float]:
        """The values shown as 0 and 255; reads the whole file once where the type is wider than 8 bits."""
        if self._header.dtype == np.uint8:
            return 0.0, 255.0
        lowest, highest = math.inf, -math.inf
        for block in frame_blocks(self._header, self._file):
            if self._closed.is_set():
                break
            pixels = self._header.pixels(block)
            finite = pixels[np.isfinite(pixels)]
            if finite.size:
                lowest, highest = min(lowest, float(finite.min())), max(highest, float(finite.max()))
        is_grey_already = lowest >= 0 and 1 < highest <= 255
        return (0.0, 255.0) if is_grey_already or lowest > highest else (lowest, highest)

    def _release(self) -> None:
        self._file.close()


def _read_header(path: Path) -> StackHeader:
    """Tells the two formats apart by the file's first bytes."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error
    return nrrd.read_header(path) if magic == b"NRRD" else metaimage.read_header(path)


def _rate_hz(header: StackHeader) -> Fraction:
    """By the usual time from picture to picture, else the default."""
    period_s = header.stamps.period_s
    return Fraction(1 / period_s).limit_denominator(1000) if period_s else DEFAULT_RATE_HZ


def _stamp(header: StackHeader, index: int) -> int | None:
    times_s = header.stamps.times_s
    time_s = times_s[index] if index < len(times_s) else None
    return None if time_s is None else round(time_s / _TIME_BASE)


def _to_bytes(pixels: NDArray[Any], lowest: float, highest: float) -> NDArray[np.uint8]:
    """Maps `lowest` to 0 and `highest` to 255, rounding; what is not a number becomes 0."""
    if pixels.dtype == np.uint8:
        return pixels
    scale = 255 / (highest - lowest) if highest > lowest else 0.0
    finite = np.nan_to_num(pixels.astype(np.float64), nan=lowest, posinf=highest, neginf=lowest)
    return np.clip(np.rint((finite - lowest) * scale), 0, 255).astype(np.uint8)


def _to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey (H, W) from (H, W) or from (H, W, 3 or more) with red first, by BT.601."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[..., 0])
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
