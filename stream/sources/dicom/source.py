"""DICOM ultrasound, single frames and multi-frame recordings, as a source of frames."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from stream.errors import SourceTruncated, SourceUnreadable
from stream.frame import Frame
from stream.sources.base import SourceInfo
from stream.sources.dicom.facts import Coding, read_facts
from stream.sources.dicom.file import open_dicom
from stream.sources.dicom.frames import encapsulated_frames, native_frames, read_fragments
from stream.sources.dicom.grey import grey_of, grey_table
from stream.sources.dicom.header import read_header
from stream.sources.dicom.pixels import PictureError, still_decoder
from stream.sources.dicom.scale import DEFAULT_RATE_HZ, TIME_BASE, FrameTimes, frame_times_of, scale_of
from stream.sources.dicom.video import EmbeddedVideo
from stream.sources.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from stream.clock import Clock
    from stream.frame import PixelSpacing
    from stream.sources.dicom.facts import PictureFacts
    from stream.sources.dicom.header import Header, PixelElement
    from stream.sources.dicom.pixels import StillDecoder


class DicomSource(Recording):
    """The frames of a DICOM file, read and decoded one by one.

    Grey levels follow `stream.sources.dicom.grey`, scale and times `stream.sources.dicom.scale`: the times of
    the header, else those of an embedded video, else 25 frames a second. Nothing that identifies a patient is
    read. A file that holds fewer frames than it declares ends in SourceTruncated after the last of them.
    """

    def __init__(self, path: str | Path, *, clock: Clock, spacing: PixelSpacing | None = None) -> None:
        """Reads the header and finds the frames.

        Args:
            path: of the file.
            clock: stamps the frames as they are decoded.
            spacing: mm per pixel, where the caller knows better than the file.

        Raises:
            SourceUnavailable: pydicom, or a package that decodes the file's pixels, is not installed.
            SourceNotFound: there is no such file.
            SourceUnreadable: it is not DICOM, is damaged, or holds no pictures of a kind that can be read.
        """
        self._clock = clock
        with ExitStack() as held:
            file = held.enter_context(open_dicom(Path(path)))
            header, element = read_header(file, Path(path))
            self._facts, element = read_facts(header, element, Path(path))
            found_times = None
            self._images: Iterator[NDArray[np.uint8]]
            if self._facts.coding is Coding.VIDEO:
                video = EmbeddedVideo(file, read_fragments(file, element, b""), self._facts)
                held.callback(video.close)
                self._images, found_times = video.images(), video.frame_times
            else:
                self._images = _stills(file, header, element, self._facts)
            declared_times = frame_times_of(header) or found_times
            self._times = declared_times or FrameTimes(1 / (DEFAULT_RATE_HZ * TIME_BASE))
            self._scale = scale_of(header, columns=self._facts.columns, rows=self._facts.rows)
            if spacing:
                self._scale = self._scale.given(spacing)
            self._held = held.pop_all()
        super().__init__(
            SourceInfo(
                uri=str(path),
                kind="dicom",
                width=self._facts.columns,
                height=self._facts.rows,
                frame_count=self._facts.frame_count,
                frame_rate_hz=declared_times.rate_hz if declared_times else None,
                spacing=self._scale.spacing,
                note=self._scale.note,
            )
        )

    def _read(self) -> Generator[Frame, None, None]:
        count = 0
        for image, pts in zip(self._images, self._times.stamps(), strict=False):
            yield Frame(
                image=image,
                index=count,
                pts=pts,
                time_base=TIME_BASE,
                captured_ns=self._clock.now_ns(),
                spacing=self.info.spacing,
                pixel_aspect=self._scale.pixel_aspect,
                regions=self._scale.regions,
            )
            count += 1
        declared = self._facts.frame_count
        if declared and count < declared:
            raise SourceTruncated(
                f"{self._facts.path}: ends after {count} of {declared} frames; copy the file again or export it anew"
            )

    def _release(self) -> None:
        self._held.close()


def _stills(file: IO[bytes], header: Header, element: PixelElement, facts: PictureFacts) -> Iterator[NDArray[np.uint8]]:
    """Grey pictures of a recording whose frames are coded one by one; the header's errors come at once."""
    decode = still_decoder(facts, is_little_endian=element.is_little_endian)
    table = grey_table(header, facts, is_little_endian=element.is_little_endian)
    if facts.coding is Coding.NATIVE:
        blocks = native_frames(file, element, facts)
    else:
        fragments = read_fragments(file, element, header.data("ExtendedOffsetTable"))
        blocks = encapsulated_frames(file, fragments, facts)
    return _decoded(blocks, decode, table, facts)


def _decoded(
    blocks: Iterator[bytes], decode: StillDecoder, table: NDArray[np.uint8], facts: PictureFacts
) -> Iterator[NDArray[np.uint8]]:
    for index, block in enumerate(blocks):
        try:
            stored = decode(block)
        except PictureError as error:
            raise SourceUnreadable(
                f"{facts.path}: frame {index} cannot be decoded as {facts.syntax_name} of {facts.columns}x"
                f"{facts.rows} ({error}); copy or export the file again"
            ) from error
        yield grey_of(stored, table)
