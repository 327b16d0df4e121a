"""Recordings in any video format that FFmpeg decodes, as a source of frames."""

from __future__ import annotations

import itertools
import logging
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.stream import Disposition

from stream.common.errors import SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.frames.segment_numbering import SegmentNumbering
from stream.frames.timeline import Timeline
from stream.frames.typed_spacing import TypedSpacing
from stream.sources.base import DEFAULT_RATE_HZ, RATE_NOTE, SourceInfo, join_notes
from stream.sources.decoding.acceleration import CPU, acceleration, decoder_of
from stream.sources.decoding.checked_decoder import declared_aspect, presumed_aspect
from stream.sources.decoding.luma import display_transform, grey_image
from stream.sources.decoding.picture_reader import PictureReader
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator

    from av import VideoFrame
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing
    from stream.sources.decoding.picture_reader import DecodingEntry

NOTE_PREFIX = "partum-note:"
"""A file's `comment` that begins so holds words the viewer must see with the pictures."""

_log = logging.getLogger(__name__)


class VideoSource(RecordingSource):
    """The frames of a video file, decoded one by one.

    Frames are grey (`stream.sources.decoding.luma`), turned as the file's display matrix asks, with the file's own
    timestamps (`stream.frames.timeline`) and pixel shape. Interlaced pictures are taken as they are. Where size or
    pixel shape changes, a new segment begins. Pictures that are damaged, or built on one that is, are refused
    (`stream.sources.decoding.picture_reader`), black where nothing could be decoded; a recording that ends damaged, or
    earlier than it declares, ends in SourceTruncated.

    Of several streams of pictures the one that the file itself prefers is played, else that with most pictures, else
    the largest; the note says which.
    """

    def __init__(
        self, path: str | Path, *, clock: Clock, spacing: PixelSpacing | None = None, decoder: str = CPU
    ) -> None:
        """Opens the file and decodes its first picture.

        Args:
            path: of the file.
            clock: stamps the frames as they are decoded.
            spacing: mm per pixel of the pictures as they are shown, where the caller knows it.
            decoder: `cpu`, or `cuda` and `cuda:1` for an NVIDIA GPU, which falls back on the CPU and says so.

        Raises:
            OptionError: the decoder is none of these.
            SourceNotFound: there is no such file.
            SourceUnreadable: it is no video, or holds no picture that can be decoded.
        """
        self._path = Path(path)
        self._clock = clock
        chosen = acceleration(decoder, str(path))
        self._is_accelerated = chosen is not None
        self._longest_s = Fraction(0)  # from one picture to the next, so far
        self._container = _open(self._path, chosen)
        try:
            self._stream, self._choice = _video_stream(self._path, self._container)
            self._reader = PictureReader(self._container, self._stream)
            info = self._begin(spacing, decoder)
        except BaseException:
            self._container.close()
            raise
        super().__init__(info)

    def _begin(self, spacing: PixelSpacing | None, decoder: str) -> SourceInfo:
        """Decodes the first picture, which knows what the header does not: its turn and true size."""
        before, pictures = [], iter(self._reader)
        for decoded in pictures:
            before.append(decoded)
            if decoded.frame is not None:
                break
        first = before[-1].frame if before else None
        if first is None:
            raise SourceUnreadable(f"{self._path}: holds no picture that can be decoded; export it again")
        self._pictures = itertools.chain(before, pictures)
        self._stored_size, self._first_aspect = (first.width, first.height), before[-1].aspect
        self._turn = display_transform(first)
        width, height = self._stored_size[::-1] if self._turn.transpose else self._stored_size
        rate_hz = _rate_hz(self._stream)
        return SourceInfo(
            uri=str(self._path),
            kind="video",
            width=width,
            height=height,
            frame_count=self._stream.frames or None,
            frame_rate_hz=rate_hz,
            spacing=spacing,
            note=join_notes(
                *(_note(self._container), self._choice, _rate_note(self._stream)),
                _behind_note(self._path) if "mp4" in self._container.format.name else "",
            ),
            decoder=decoder_of(first, decoder, str(self._path)) if self._is_accelerated else CPU,
        )

    @property
    def entry(self) -> DecodingEntry | None:
        return self._reader.entry

    def _read(self) -> Generator[Frame, None, None]:
        time_base = _fraction(self._stream.time_base) or Fraction(1, 1_000_000)
        timeline = Timeline(time_base=time_base, period_s=_period_s(self._stream))
        segments, typed = SegmentNumbering(), TypedSpacing(self.info.spacing)
        coded = declared_aspect(self._first_aspect)
        image = np.zeros((self.info.height, self.info.width), np.uint8)
        # The container's goes before the codec's, where either says something.
        said = _fraction(self._stream.sample_aspect_ratio)
        aspect = declared_aspect(said) if said else presumed_aspect(*self._stored_size)
        last = 0
        for index, decoded in enumerate(self._pictures):
            if decoded.frame is None:
                image = np.zeros_like(image)
            else:
                image = self._shown(decoded.frame)
                if declared_aspect(decoded.aspect) != coded:  # it changed on the way
                    coded = aspect = declared_aspect(decoded.aspect)
            shown_aspect = 1 / aspect if aspect and self._turn.transpose else aspect
            pts = timeline.place(decoded.stamp)
            self._longest_s, last = max(self._longest_s, (pts - last) * time_base), pts
            frame = Frame(
                image=image,
                index=index,
                pts=pts,
                time_base=time_base,
                captured_ns=self._clock.now_ns(),
                spacing=typed.for_picture(image.shape, shown_aspect, None),
                pixel_aspect=shown_aspect,
                refusal=None if decoded.is_sound else Reason.DAMAGED,
            )
            yield segments.numbered(frame, jumps=timeline.segment)
        self._check_end()

    def _shown(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """Grey and upright; the turn is read again where the size changes."""
        if (picture.width, picture.height) != self._stored_size:
            self._stored_size = picture.width, picture.height
            self._turn = display_transform(picture)
        return self._turn(grey_image(picture))

    def _check_end(self) -> None:
        """Raises SourceTruncated where the recording ends damaged, or before the end its header declares."""
        reader, declared_count = self._reader, self._stream.frames
        period_s = _period_s(self._stream)
        end_s = self._reader.end * (_fraction(self._stream.time_base) or Fraction(1, 1_000_000))
        declared_s = _declared_end_s(self._container, self._stream)
        # The last picture may be shown as long as the longest, where the rate varies.
        is_short = declared_s is not None and declared_s - end_s > max(2 * period_s, self._longest_s)
        if reader.is_damaged or is_short:
            declared = declared_count or (round(declared_s / period_s) if declared_s else 0)
            of_declared = f" of {declared}" if declared > reader.sound else ""
            raise SourceTruncated(
                f"{self._path}: cut off or damaged after {reader.sound}{of_declared} frames; copy the file again"
            )
        if reader.damaged:
            _log.warning("%s: %d damaged pictures were refused", self._path, reader.damaged)
        if declared_count and declared_count != reader.sound + reader.damaged:
            count = reader.sound + reader.damaged
            _log.warning("%s: holds %d frames, its header says %d", self._path, count, declared_count)

    def _release(self) -> None:
        self._container.close()


def images_from(path: Path, entry: DecodingEntry) -> Generator[NDArray[np.uint8], None, None]:
    """The pictures of a video from an entry on, (H, W) uint8, grey and upright as `VideoSource` gives them.

    A lost one is black. They are the same ones where the turn is said of every picture; the caller compares the first.

    Raises:
        SourceError: as of `VideoSource`.
    """
    with _open(path, None) as container:
        stream, _ = _video_stream(path, container)
        size, image = (0, 0), np.zeros((1, 1), np.uint8)
        for decoded in PictureReader(container, stream, start=entry.packet):
            picture = decoded.frame
            if picture is None:
                yield np.zeros_like(image)
                continue
            if (picture.width, picture.height) != size:
                size, turn = (picture.width, picture.height), display_transform(picture)
            image = turn(grey_image(picture))
            yield image


def _open(path: Path, chosen: HWAccel | None) -> InputContainer:
    """Opens a regular file; FFmpeg's other protocols are out of reach."""
    if not path.exists():
        raise SourceNotFound(f"{path}: no such file; check the path")
    if not path.is_file():
        raise SourceUnreadable(f"{path}: not a regular file; give a recording")
    if path.stat().st_size == 0:
        raise SourceUnreadable(f"{path}: the file is empty; copy or export it again")
    try:
        return av.open(f"file:{path}", metadata_errors="replace", hwaccel=chosen)
    except av.FFmpegError as error:
        raise SourceUnreadable(
            f"{path}: not a video that can be read ({error.strerror}); it may be of another kind, or cut off"
        ) from error


def _video_stream(path: Path, container: InputContainer) -> tuple[VideoStream, str]:
    """The stream of moving pictures, and words on the choice where there are several."""
    if container.format.name == "tty":  # FFmpeg would play a text file as a terminal session
        raise SourceUnreadable(f"{path}: a text file, not a video")
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise SourceUnreadable(f"{path}: holds no video stream; give a recording with pictures")
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise SourceUnreadable(f"{path}: its codec cannot be decoded here; export it as H.264")
    chosen = max(known, key=_preference)
    if _is_still(chosen) and len(known) > 1:  # the tiles of one large picture, which FFmpeg gives one by one
        raise SourceUnreadable(
            f"{path}: holds {len(known)} stills, which may be tiles of one; export it as PNG or JPEG"
        )
    others = f"stream {moving.index(chosen) + 1} of {len(moving)} is played" if len(moving) > 1 else ""
    return chosen, others


def _preference(stream: VideoStream) -> tuple[bool, bool, int, int]:
    """What is played rather: no still beside films, what the file prefers, more pictures, larger ones."""
    is_default = bool(stream.disposition & Disposition.default)
    return not _is_still(stream), is_default, stream.frames, stream.codec_context.width * stream.codec_context.height


def _is_still(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.still_image) or stream.frames == 1


def _declared_end_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Where the header says the pictures end, in seconds on the file's clock; None where it says nothing.

    Only what is written down counts: many containers have their duration estimated from size or from the
    last timestamp found. Matroska and FLV declare one duration for all streams, so it must be the only one.
    """
    kind, time_base = container.format.name, _fraction(stream.time_base)
    if "mp4" in kind and stream.duration and time_base:
        return (stream.duration + (stream.start_time or 0)) * time_base
    if kind == "avi" and stream.frames:
        return stream.frames * _period_s(stream)
    if ("matroska" in kind or kind == "flv") and container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None


def _rate_hz(stream: VideoStream) -> Fraction | None:
    """Mean rate by the container; in a bare stream, which has no timestamps, the codec's own."""
    return _fraction(stream.guessed_rate if stream.start_time is None else stream.average_rate)


def _rate_note(stream: VideoStream) -> str:
    """A note where neither container nor codec says anything of time: FFmpeg then makes it up."""
    is_bare = stream.start_time is None and not _fraction(stream.codec_context.framerate)
    return RATE_NOTE if is_bare or _rate_hz(stream) is None else ""


def _period_s(stream: VideoStream) -> Fraction:
    """Nominal time from one frame to the next, in seconds."""
    return 1 / (_rate_hz(stream) or DEFAULT_RATE_HZ)


def _fraction(value: Fraction | None) -> Fraction | None:
    """The value as a positive fraction, or None where it is unset: None, or a falsy 0/1 in later PyAV."""
    return Fraction(value.numerator, value.denominator) if value and value > 0 else None


def _behind_note(path: Path) -> str:
    """A note where an MP4 holds a second index of pictures, as when two files were joined: FFmpeg plays the first."""
    size, at, indexes = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            indexes += head[4:8] == b"moov"
            if length < 8:  # up to the end of the file, or damaged
                break
            at += length
    return "another recording lies behind the first in the file, and is not played" if indexes > 1 else ""


def _note(container: InputContainer) -> str:
    comments = (text for key, text in container.metadata.items() if key.lower() == "comment")
    comment = next(comments, "")
    return comment.removeprefix(NOTE_PREFIX).strip() if comment.startswith(NOTE_PREFIX) else ""
