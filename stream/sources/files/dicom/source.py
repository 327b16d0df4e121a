"""A DICOM file, of a single frame or of many, as a source of frames."""

from __future__ import annotations

import itertools
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import cv2
import numpy as np

from stream.common.errors import SourceTruncated, SourceUnreadable
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.sources.base import DEFAULT_RATE_HZ, RATE_NOTE, SourceInfo, join_notes
from stream.sources.decoding.picture_reader import DecodingEntry
from stream.sources.files.dicom.codestream import PictureError
from stream.sources.files.dicom.facts import Coding, count_note, read_facts
from stream.sources.files.dicom.file import open_dicom
from stream.sources.files.dicom.frames import coded_frames, native_frames, read_fragments
from stream.sources.files.dicom.grey import GreyLevels
from stream.sources.files.dicom.header import find_pixels, read_header
from stream.sources.files.dicom.pixels import CodedDecoder, native_decoder
from stream.sources.files.dicom.scale import dicom_scale
from stream.sources.files.dicom.times import TIME_BASE, FrameTimes, frame_times_of
from stream.sources.files.dicom.video import EmbeddedVideo
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.files.dicom.facts import PictureFacts
    from stream.sources.files.dicom.header import DicomHeader, PixelElement
    from stream.sources.files.dicom.pixels import StoredPixels

    Images = Iterator[NDArray[np.uint8] | PictureError]

_log = logging.getLogger(__name__)


class DicomSource(RecordingSource):
    """The frames of a DICOM file, read and decoded one by one.

    Grey levels follow `stream.sources.files.dicom.grey`, scale and times `stream.sources.files.dicom.scale` and
    `.times`: the times of the header, else those of an embedded video, else 25 frames a second, with a note. Nothing
    that identifies a patient is read. A frame that cannot be decoded is black and refused as damaged; the others are
    played. A file that holds fewer frames than it declares ends in SourceTruncated after the last of them; one that
    holds more is played whole, with a note.

    Attributes:
        place: the series, and what its files are sorted by.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock,
        spacing: PixelSpacing | None = None,
        begin: DecodingEntry | None = None,
    ) -> None:
        """Reads the header and finds the frames.

        Args:
            path: of the file.
            clock: stamps the frames as they are decoded.
            spacing: mm per pixel, where the caller knows better than the file.
            begin: the frames from here on are given, an `entry` of this file; None gives all.

        Raises:
            SourceUnavailable: pydicom is not installed.
            SourceNotFound: there is no such file.
            SourceUnreadable: it is not DICOM, is damaged, or holds no pictures of a kind that can be read.
        """
        self._clock, self._begin = clock, begin.picture if begin else 0
        self._video: EmbeddedVideo | None = None
        self._entry: DecodingEntry | None = None
        with ExitStack() as held:
            file = held.enter_context(open_dicom(Path(path)))
            header = read_header(file, Path(path))
            facts, element = read_facts(header, find_pixels(file), Path(path))
            video_times, aspect, count, note = None, None, facts.frame_count, facts.note
            self._images: Images
            if facts.coding is Coding.VIDEO:
                video = self._video = EmbeddedVideo(file, read_fragments(file, element, b""), facts, begin=begin)
                held.callback(video.close)
                note = join_notes(note, count_note(facts.declared_count, video.frame_count))
                self._images, video_times, aspect = video.images(), video.frame_times, video.pixel_aspect
            else:
                self._images, found = _stills(file, header, element, facts, self._begin)
                if facts.is_coded:
                    note = join_notes(note, count_note(facts.declared_count, found))
                    count = max(found, facts.declared_count or 1)
            self._facts, self._count, self.place = facts, count, _place(header)
            declared_times = frame_times_of(header, count) or video_times
            self._times = declared_times or FrameTimes.at_rate(DEFAULT_RATE_HZ, RATE_NOTE if count != 1 else "")
            self._scale = dicom_scale(header, columns=facts.columns, rows=facts.rows, aspect=aspect)
            if spacing:
                self._scale = self._scale.given(spacing)
            self._held = held.pop_all()
        super().__init__(
            SourceInfo(
                uri=str(path),
                kind="dicom",
                width=facts.columns,
                height=facts.rows,
                frame_count=count,
                frame_rate_hz=declared_times.rate_hz if declared_times else None,
                spacing=self._scale.spacing,
                note=join_notes(note, self._times.note, self._scale.note),
            )
        )

    @property
    def entry(self) -> DecodingEntry | None:
        return self._video.entry if self._video else self._entry

    def _read(self) -> Generator[Frame, None, None]:
        index, stamps = self._begin, itertools.islice(self._times.stamps(), self._begin, None)
        damaged: list[PictureError] = []  # at the start, until a sound frame shows that the file can be read
        has_sound = self._begin > 0
        for image in self._images:
            if isinstance(image, PictureError) and not has_sound:
                damaged.append(image)
                continue
            has_sound = True
            for shown in (*damaged, image):
                self._entry = DecodingEntry(index, index)  # pictures that are coded one by one
                yield self._frame(shown, index, next(stamps))
                index += 1
            damaged.clear()
        facts = self._facts
        if damaged:
            raise SourceUnreadable(
                f"{facts.path}: no frame can be decoded as {facts.syntax_name} of {facts.columns}x{facts.rows}"
                f" ({damaged[0]}); copy or export the file again"
            ) from damaged[0]
        if self._count and index < self._count:
            raise SourceTruncated(
                f"{facts.path}: ends after {index} of {self._count} frames; copy the file again or export it anew"
            )
        if facts.coding is Coding.VIDEO and (note := count_note(facts.declared_count, index)):
            _log.warning("%s: %s", facts.path, note)

    def _frame(self, image: NDArray[np.uint8] | PictureError, index: int, pts: int) -> Frame:
        is_damaged = isinstance(image, PictureError)
        if isinstance(image, PictureError):
            image = np.zeros((self._facts.rows, self._facts.columns), np.uint8)
        return Frame(
            image=image,
            index=index,
            pts=pts,
            time_base=TIME_BASE,
            captured_ns=self._clock.now_ns(),
            spacing=self.info.spacing,
            pixel_aspect=self._scale.pixel_aspect,
            regions=self._scale.regions,
            refusal=Reason.DAMAGED if is_damaged else None,
        )

    def _release(self) -> None:
        self._held.close()


def _place(header: DicomHeader) -> tuple[str, tuple[object, ...]]:
    """The file's series, and what its files are sorted by: those without a number come first."""
    series = header.text("SeriesInstanceUID")
    numbers = [header.number(keyword) for keyword in ("SeriesNumber", "AcquisitionNumber", "InstanceNumber")]
    of_series, *within = [-1.0 if number is None else number for number in numbers]
    return series, (of_series, series, *within)


def _stills(
    file: IO[bytes], header: DicomHeader, element: PixelElement, facts: PictureFacts, begin: int
) -> tuple[Images, int]:
    """Grey pictures from `begin` on of a recording whose frames are stored one by one, and how many begin in it."""
    levels = GreyLevels(header, facts, is_little_endian=element.is_little_endian)
    if not facts.is_coded:
        decode = native_decoder(facts, is_little_endian=element.is_little_endian)
        _check_grey(file, element, facts)
        return _decoded(
            native_frames(file, element, facts, begin=begin), decode, levels, facts, begin
        ), facts.frame_count or 0
    fragments = read_fragments(file, element, header.data("ExtendedOffsetTable"))
    frames = coded_frames(file, fragments, facts.declared_count)
    return _decoded(frames.read(file, begin=begin), CodedDecoder(facts), levels, facts, begin), frames.found


def _check_grey(file: IO[bytes], element: PixelElement, facts: PictureFacts) -> None:
    """Tells a film of three times the declared frames from colour whose header says grey.

    Raises:
        SourceUnreadable: what is not black comes in threes that are alike.
    """
    if facts.samples != 1 or facts.frame_count != 3 * (facts.declared_count or 1) or facts.bits_allocated != 8:
        return
    file.seek(element.offset)
    threes = np.frombuffer(file.read(facts.frame_bytes // 3 * 3), np.uint8).reshape(-1, 3).astype(np.int16)
    lit = threes[threes.max(axis=1) > 16]
    if len(lit) and np.mean(np.ptp(lit, axis=1) <= 2) > 0.9:
        raise SourceUnreadable(
            f"{facts.path}: its pixels are colour, its header says {facts.photometric}; export the file again"
        )


def _decoded(
    blocks: Iterator[bytes],
    decode: Callable[[bytes], StoredPixels],
    levels: GreyLevels,
    facts: PictureFacts,
    begin: int,
) -> Images:
    is_first = not begin
    for block in blocks:
        try:
            image = levels(decode(block))
        except PictureError as error:
            yield error
            continue
        if is_first and _is_torn(image):
            raise SourceUnreadable(
                f"{facts.path}: its pictures are torn at {facts.columns}x{facts.rows} and whole at {facts.rows}x"
                f"{facts.columns}: its header exchanges Rows and Columns; export the file again"
            )
        is_first = False
        yield image


def _is_torn(image: NDArray[np.uint8]) -> bool:
    """Whether rows that follow each other differ, and would not if height and width were exchanged."""
    levels = image.ravel()
    by_width, by_height = (
        float(cv2.absdiff(levels[step:], levels[:-step]).mean()) if step < levels.size else 0.0
        for step in (image.shape[1], image.shape[0])
    )
    return by_width > 1 and by_height < by_width / 2
