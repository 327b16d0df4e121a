"""A folder of images, or one image, as a source of frames."""

from __future__ import annotations

import re
import zlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.errors import SourceNotFound, SourceUnreadable
from stream.frame import Frame
from stream.sources.base import SourceInfo
from stream.sources.kinds import IMAGE_SUFFIXES
from stream.sources.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from stream.clock import Clock
    from stream.frame import PixelSpacing

DEFAULT_RATE_HZ = Fraction(25)
"""Images carry no time."""


class ImageFolderSource(Recording):
    """The images of a folder in natural order (`frame2` before `frame10`), read one by one.

    Convention: 8-bit grey is taken as it is, 16 bits scaled by 255/65535, colour turned grey by BT.601, alpha
    ignored, EXIF orientation applied. All images have one size. Other files, and names that begin with a
    dot, are passed over. Worked value: 16-bit 32896 is 128.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock,
        spacing: PixelSpacing | None = None,
        rate_hz: Fraction = DEFAULT_RATE_HZ,
    ) -> None:
        """Lists the folder and looks at its first image.

        Args:
            path: of the folder, or of one image.
            clock: stamps the frames as they are read.
            spacing: mm per pixel, where the caller knows it.
            rate_hz: images a second.

        Raises:
            SourceNotFound: there is no such folder.
            SourceUnreadable: it holds no images, or the first cannot be read.
        """
        self._paths = _images_in(Path(path))
        self._clock = clock
        height, width = read_grey(self._paths[0]).shape
        super().__init__(
            SourceInfo(
                uri=str(path),
                kind="images",
                width=width,
                height=height,
                frame_count=len(self._paths),
                frame_rate_hz=rate_hz,
                spacing=spacing,
            )
        )
        self._time_base = 1 / rate_hz

    def _read(self) -> Generator[Frame, None, None]:
        size = (self.info.height, self.info.width)
        for index, path in enumerate(self._paths):
            image = read_grey(path)
            if image.shape != size:
                raise SourceUnreadable(
                    f"{path}: is {image.shape[1]}x{image.shape[0]}, the images before it {size[1]}x{size[0]};"
                    " keep images of one size in one folder"
                )
            yield Frame(
                image=image,
                index=index,
                pts=index,
                time_base=self._time_base,
                captured_ns=self._clock.now_ns(),
                spacing=self.info.spacing,
            )


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts `frame2` before `frame10`: runs of digits count as numbers, letters without regard to case."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], name


def _images_in(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceNotFound(f"{path}: no such folder; check the path")
    if not path.is_dir():
        return [path]
    found = [
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SourceUnreadable(f"{path}: a folder without images ({kinds}); give one that holds them")
    return sorted(found, key=lambda entry: natural_key(entry.name))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """One image as grey levels, (H, W), by the convention of `ImageFolderSource`.

    Raises:
        SourceUnreadable: it cannot be opened or decoded, or is cut off.
    """
    stored = _decode(path)
    if stored is None or stored.size == 0:
        raise SourceUnreadable(f"{path}: not an image that can be decoded; copy it again or take it away")
    if stored.dtype == np.uint16:
        stored = cv2.convertScaleAbs(stored, alpha=255 / 65535)
    elif stored.dtype != np.uint8:
        raise SourceUnreadable(f"{path}: has {stored.dtype} pixels; store it with 8 or 16 bits")
    grey = cv2.cvtColor(stored, cv2.COLOR_BGR2GRAY) if stored.ndim == 3 else stored
    return grey.astype(np.uint8, copy=False)


def _decode(path: Path) -> NDArray[Any] | None:
    """The stored pixels, blue first where coloured; None where they cannot be decoded.

    The complaints of OpenCV and its libraries are kept from stderr: the error raised in their place says it
    in one line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be opened ({error.strerror})") from error
    if not _is_whole(data):
        return None
    level = cv2.utils.logging.setLogLevel(0)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _is_whole(data: bytes) -> bool:
    """Whether a PNG's chunks are all there and sound, and a JPEG has its end; true for other kinds."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in data
    if not data.startswith(b"\x89PNG"):
        return True
    start, name = 8, b""
    while name != b"IEND" and start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        name = data[start + 4 : start + 8]
        if zlib.crc32(data[start + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        start = end + 4
    return name == b"IEND"
