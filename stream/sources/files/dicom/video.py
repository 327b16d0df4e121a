"""DICOM recordings whose pixels are one MPEG-2, H.264 or HEVC bit stream, PS3.5 8.2.5 to 8.2.8."""

from __future__ import annotations

from fractions import Fraction
from typing import IO, TYPE_CHECKING

import av

from stream.common.errors import SourceTruncated, SourceUnreadable
from stream.sources.decoding.luma import grey_image
from stream.sources.decoding.picture_reader import DecodingEntry, PictureReader
from stream.sources.files.dicom.codestream import PictureError
from stream.sources.files.dicom.frames import FragmentStream
from stream.sources.files.dicom.times import FrameTimes

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from stream.sources.files.dicom.facts import PictureFacts
    from stream.sources.files.dicom.frames import Fragments


_OPTIONS = {"format_whitelist": "mov,mp4,mpegts,mpeg,mpegvideo,h264,hevc"}
"""What the standard allows; a playlist, say, could make FFmpeg open other files."""


class EmbeddedVideo:
    """A bit stream in any container that the standard allows, or in none."""

    def __init__(
        self, file: IO[bytes], fragments: Fragments, facts: PictureFacts, *, begin: DecodingEntry | None = None
    ) -> None:
        """Opens the stream.

        Args:
            file: open.
            fragments: that hold the stream.
            facts: of the header.
            begin: where decoding begins; None at the start.

        Raises:
            SourceUnreadable: it is not what the transfer syntax says.
        """
        self._facts = facts
        unreadable = SourceUnreadable(
            f"{facts.path}: its pixels cannot be read as {facts.syntax_name}; copy or export the file again"
        )
        try:
            stored = FragmentStream(file, fragments)
            self._container = av.open(stored, "r", options=_OPTIONS, metadata_errors="replace")
        except av.FFmpegError as error:
            raise unreadable from error
        streams = [stream for stream in self._container.streams.video if stream.codec_context is not None]
        if not streams:
            self._container.close()
            raise unreadable
        self._stream: VideoStream = streams[0]
        self._stream.codec_context.thread_type = "AUTO"
        self._stream.codec_context.thread_count = 2
        self._reader = PictureReader(self._container, self._stream, start=begin.packet if begin else 0)

    @property
    def frame_times(self) -> FrameTimes | None:
        """Regular times at the stream's mean rate; None where it declares none."""
        rate_hz = self._stream.average_rate
        return FrameTimes.at_rate(Fraction(rate_hz)) if rate_hz else None

    @property
    def frame_count(self) -> int:
        """As the stream's container declares; 0 where it declares none."""
        return self._stream.frames

    @property
    def pixel_aspect(self) -> float | None:
        """Width of a pixel over its height, by the stream; None where it says nothing."""
        aspect = self._stream.codec_context.sample_aspect_ratio
        return float(aspect) if aspect else None

    @property
    def entry(self) -> DecodingEntry | None:
        """See `RecordingSource.entry`."""
        return self._reader.entry

    def images(self) -> Generator[NDArray[np.uint8] | PictureError, None, None]:
        """Yields the grey pictures, each (rows, columns), and an error in the place of each that cannot be trusted.

        Raises:
            SourceUnreadable: a picture is not of the header's size.
            SourceTruncated: the stream ends damaged.
        """
        facts, reader = self._facts, self._reader
        for decoded in reader:
            picture = decoded.frame
            if picture is None or not decoded.is_sound:
                yield PictureError("damaged")
                continue
            if (picture.width, picture.height) != (facts.columns, facts.rows):
                raise SourceUnreadable(
                    f"{facts.path}: its pictures are {picture.width}x{picture.height}, its header says"
                    f" {facts.columns}x{facts.rows}; export the file again"
                )
            yield grey_image(picture)
        if reader.is_damaged:
            of_declared = f" of {facts.declared_count}" if facts.declared_count else ""
            raise SourceTruncated(
                f"{facts.path}: cut off or damaged after {reader.sound}{of_declared} frames; copy the file again"
            )

    def close(self) -> None:
        """Frees the decoder; the file stays open."""
        self._container.close()
