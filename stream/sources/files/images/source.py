"""A folder of images, or one image file, as a source of frames."""

from __future__ import annotations

import logging
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from natsort import natsort_keygen, ns

from stream.common.errors import SourceError, SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frames.frame import Frame
from stream.frames.reason import Reason
from stream.frames.segment_numbering import SegmentNumbering
from stream.frames.typed_spacing import TypedSpacing
from stream.sources.base import DEFAULT_RATE_HZ, RATE_NOTE, SourceInfo, join_notes
from stream.sources.files.images.image_file import ImageFacts, ImagePage, image_facts, read_grey, read_pictures, to_grey
from stream.sources.files.kinds import UNREAD_SUFFIXES, count_by_suffix, is_image, is_recording
from stream.sources.recording_base import RecordingSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from stream.common.clock import Clock
    from stream.frames.frame import PixelSpacing

__all__ = ["ImageFolderSource", "natural_key", "natural_path_key", "read_grey"]

_log = logging.getLogger(__name__)

_TIME_BASE = Fraction(1, 1_000_000)
_WHITES = (0xFF, 0x3FF, 0xFFF, 0x3FFF, 0xFFFF)
_natural = natsort_keygen(alg=ns.INT | ns.IGNORECASE)


class ImageFolderSource(RecordingSource):
    """The images of a folder in natural order (`frame2` before `frame10`), or of one file, read one by one.

    Convention: a file of several pictures (animated GIF, WebP or PNG, MPO, TIFF of many pages) is a film, alone and in
    a folder. 8-bit grey is taken as it is; colour becomes grey by BT.601; alpha is ignored; the EXIF orientation is
    applied. Levels of a 16-bit PNG or TIFF are scaled by the bits in use (8, 10, 12, 14 or 16), the same for all
    images. A film alone has its own times; all else comes at `rate_hz`. Where the size changes, a new segment begins.
    What a file is, its first bytes say; files that hold no image, and names that begin with a dot, are passed over. An
    image that cannot be read, among others that can, is refused and keeps its place.
    Worked value: where the highest level is 4000, 12 bits are in use, and 2056 is 128.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock,
        spacing: PixelSpacing | None = None,
        rate_hz: Fraction | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        """Lists the folder, reads all headers, and looks at the first image.

        Args:
            path: of the folder, or of one image.
            clock: stamps the frames as they are read.
            spacing: mm per pixel, where the caller knows it.
            rate_hz: images a second; None for the file's own times, else 25.
            files: of the folder, in this order; without them all images in it.

        Raises:
            SourceNotFound: there is no such folder.
            SourceUnreadable: it holds no images, or none that can be read.
        """
        self._paths, passed_over = (list(files), "") if files else _images_in(Path(path))
        self._clock, self._rate_hz = clock, rate_hz
        facts = [_facts_or_one(image) for image in self._paths]
        self._wide = [image for image, fact in zip(self._paths, facts, strict=True) if fact.is_wide]
        self._counts = [fact.count for fact in facts]
        first, count = self._first_picture(), sum(self._counts)
        self._is_film = len(self._paths) == 1 and count > 1 and rate_hz is None
        self._period_s = facts[0].period_s if self._is_film else None
        has_times = self._is_film and (self._period_s or first.duration_s)
        period_s = (self._period_s or first.duration_s if self._is_film else None) or 1 / (rate_hz or DEFAULT_RATE_HZ)
        (height, width), self._first_aspect = first.levels.shape, first.aspect
        super().__init__(
            SourceInfo(
                uri=str(path),
                kind="images",
                width=width,
                height=height,
                frame_count=count,
                frame_rate_hz=1 / period_s,
                spacing=spacing,
                note=join_notes(passed_over, "" if has_times or rate_hz or count == 1 else RATE_NOTE),
            )
        )

    def _read(self) -> Generator[Frame, None, None]:
        white, typed = self._white(), TypedSpacing(self.info.spacing)
        segments, pts_s = SegmentNumbering(), Fraction(0)
        default_s = 1 / (self.info.frame_rate_hz or DEFAULT_RATE_HZ)
        time_base = _TIME_BASE if self._is_film else default_s
        image, aspect = np.zeros((self.info.height, self.info.width), np.uint8), self._first_aspect
        for index, (path, picture) in enumerate(self._pictures()):
            if picture is None:
                image = np.zeros_like(image)
            else:
                image = to_grey(picture.levels, white=white if path in self._wide else 0xFFFF)
                aspect = picture.aspect
            frame = Frame(
                image=image,
                index=index,
                pts=round(pts_s / time_base),
                time_base=time_base,
                captured_ns=self._clock.now_ns(),
                spacing=typed.for_picture(image.shape, aspect, None),
                pixel_aspect=aspect,
                refusal=None if picture else Reason.DAMAGED,
            )
            yield segments.numbered(frame)
            own_s = self._period_s or (picture.duration_s if picture else None)
            pts_s += (own_s if self._is_film else None) or default_s

    def _first_picture(self) -> ImagePage:
        """The first that can be read; the first's error where none can."""
        error: SourceError | None = None
        for path in self._paths:
            try:
                return next(read_pictures(path))
            except SourceError as caught:
                error = error or caught
        raise error or SourceUnreadable(f"{self._paths[0]}: holds no picture")

    def _pictures(self) -> Iterator[tuple[Path, ImagePage | None]]:
        """All pictures with their files; None for one that cannot be read among others that can."""
        damaged: list[str] = []
        for path, count in zip(self._paths, self._counts, strict=True):
            read = 0
            try:
                for picture in read_pictures(path):
                    yield path, picture
                    read += 1
            except (SourceTruncated, SourceUnreadable) as error:
                if len(self._paths) == 1:
                    raise
                damaged.append(str(error))
                for _ in range(max(1, count - read)):
                    yield path, None
        if damaged:
            _log.warning("%d images could not be read and were refused; the first: %s", len(damaged), damaged[0])

    def _white(self) -> int:
        """The level shown as white, of the images with 16 bits; goes through all of them."""
        highest = 0
        for path in self._wide:
            with suppress(SourceError):  # said when its turn comes
                for picture in read_pictures(path):
                    if self._closed.is_set():
                        return _WHITES[-1]
                    highest = max(highest, int(picture.levels.max()))
        return next(white for white in _WHITES if highest <= white)


def natural_key(name: str) -> tuple[object, str]:
    """Sorts `frame2` before `frame10`: runs of digits count as numbers, letters without regard to case."""
    return _natural(name), name


def natural_path_key(path: Path) -> tuple[object, str]:
    """The same for a file, by its name alone."""
    return natural_key(path.name)


def _facts_or_one(path: Path) -> ImageFacts:
    """The header's facts; a file that cannot be read counts as one picture until its turn comes."""
    try:
        return image_facts(path)
    except SourceUnreadable:
        return ImageFacts(1, is_wide=False)


def _images_in(path: Path) -> tuple[list[Path], str]:
    """The images in natural order, and words on recordings, other images and links beside them that are not played."""
    if not path.exists():
        raise SourceNotFound(f"{path}: no such folder; check the path")
    if not path.is_dir():
        return [path], ""
    try:
        entries = sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=natural_path_key)
        files = [entry for entry in entries if entry.is_file()]
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be listed ({error.strerror}); check its permissions") from error
    images = [entry for entry in files if is_image(entry)]
    others = [entry for entry in files if is_recording(entry) or entry.suffix.lower() in UNREAD_SUFFIXES]
    broken = sum(entry.is_symlink() and not entry.exists() for entry in entries)
    folders = sum(entry.is_dir() for entry in entries)
    rest = ((folders, "folder"), (broken, "broken link"))
    words = ", ".join(
        [*count_by_suffix(others), *(f"{count} {name}{'s' * (count > 1)}" for count, name in rest if count)]
    )
    if not images:
        inside = f"; it holds {words}: give one of them" if words else "; give one that holds them"
        raise SourceUnreadable(f"{path}: a folder without images{inside}")
    return images, f"not played, of this folder: {words}" if words else ""
