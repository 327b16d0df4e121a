"""A stack of pictures as its header describes it, and its bytes, one picture at a time.

MetaImage and NRRD differ in how the header is written, not in what it says; both parsers
(`stream.sources.metaimage`, `stream.sources.nrrd`) end in a `StackHeader`.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np

from stream.errors import SourceNotFound, SourceTruncated, SourceUnreadable
from stream.frame import PixelSpacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUTS = ("xy", "xyt", "cxy", "cxyt", "xyc", "xyct")
"""Orders of axes that stream, fastest axis first: columns x, rows y, colour c, time t."""

MAX_FRAME_BYTES = 1 << 30
"""A header that asks for more per picture is taken for a broken one."""

_CHUNK_BYTES = 1 << 20
_TIMESTAMP = re.compile(r"Seq_Frame(\d+)_Timestamp$")

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackHeader:
    """The facts needed to read a stack picture by picture.

    Attributes:
        path: of the header, for messages.
        data_path: of the pixels; the same file, or the one the header points to.
        data_offset: bytes before the pixels; None where the pixels are the last bytes of the file.
        compressed: the pixels are one zlib or gzip stream.
        dtype: of one element, with its byte order.
        sizes: of the axes, fastest first.
        layout: the meaning of the axes, one of `LAYOUTS`.
        spacing: of the stored columns and rows; None where the header gives none, or 1 for both.
        orientation: where stored columns and rows run to, in PLUS letters: Marked or Unmarked side,
            Far from or Near to the probe. `MF` is the usual display.
        times_s: of each picture, as the header gives them; empty where it gives none.
        period_s: from picture to picture; None where unknown.
    """

    path: Path
    data_path: Path
    data_offset: int | None
    compressed: bool
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    layout: str
    spacing: PixelSpacing | None = None
    orientation: str = "MF"
    times_s: tuple[float | None, ...] = ()
    period_s: float | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            sizes = " x ".join(map(str, self.sizes))
            raise SourceUnreadable(
                f"{self.path}: its axes, {sizes} ('{self.layout}'), cannot be read picture by picture;"
                " store it as columns x rows x frames"
            )
        if min(self.sizes) < 1 or self.frame_bytes > MAX_FRAME_BYTES:
            raise SourceUnreadable(
                f"{self.path}: its header asks for pictures of {self.frame_bytes} bytes"
                f" (sizes {self.sizes}); the header is damaged"
            )

    @property
    def frame_count(self) -> int:
        return self.sizes[-1] if self.layout.endswith("t") else 1

    @property
    def frame_bytes(self) -> int:
        return math.prod(self._frame_sizes()) * self.dtype.itemsize

    @property
    def has_depth_in_columns(self) -> bool:
        """Depth runs along the stored columns, so that pictures must be transposed to show it downwards."""
        return self.orientation[:1] in ("F", "N")

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) once depth runs downwards."""
        width, height = self.sizes[self.layout.index("x")], self.sizes[self.layout.index("y")]
        return (height, width) if self.has_depth_in_columns else (width, height)

    @property
    def shown_spacing(self) -> PixelSpacing | None:
        """Spacing once depth runs downwards."""
        if self.spacing is None or not self.has_depth_in_columns:
            return self.spacing
        return PixelSpacing(x_mm=self.spacing.y_mm, y_mm=self.spacing.x_mm)

    def pixels(self, block: bytes) -> NDArray[Any]:
        """One picture as stored, (H, W), or (H, W, C) with colour channels red first."""
        stored = np.frombuffer(block, dtype=self.dtype).reshape(self._frame_sizes()[::-1])
        return np.moveaxis(stored, 0, -1) if self.layout.startswith("xyc") else stored

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turns a stored (H, W) picture so that depth runs downwards; left and right stay as stored."""
        if self.has_depth_in_columns:
            image = image.T
        depth = self.orientation[:2].translate(str.maketrans("", "", "MU"))
        return image[::-1] if depth == "N" else image

    def _frame_sizes(self) -> tuple[int, ...]:
        return self.sizes[:-1] if self.layout.endswith("t") else self.sizes


def timestamp_index(key: str) -> int | None:
    """Index of the picture whose PLUS timestamp a header field holds; None where it is another field."""
    match = _TIMESTAMP.match(key)
    return int(match[1]) if match else None


def parse_number(path: Path, key: str, text: str, kind: Callable[[str], Number]) -> Number:
    """Reads one number of a header; raises SourceUnreadable with the field and its text where it is none."""
    try:
        return kind(text)
    except ValueError as error:
        raise SourceUnreadable(
            f"{path}: its header says {key} = {text!r}, which is not a number; the header is damaged"
        ) from error


def axis_layout(sizes: Sequence[int], *, is_sequence: bool) -> str:
    """Tells which axis is what, where the header itself does not say.

    Convention: sizes are given fastest first. Two axes are columns and rows. A first axis of 3 or 4 is colour
    interleaved by pixel. A third axis of exactly 3 is colour in planes (one picture), unless the header
    marks the file as a sequence (`is_sequence`). Any other last axis is time.
    Worked values: (256, 256, 3) is `xyc`, or `xyt` as a sequence; (3, 256, 256) is `cxy`; (820, 616, 21)
    is `xyt`.
    """
    first, rest = ("c", sizes[1:]) if len(sizes) > 2 and sizes[0] in (3, 4) else ("", sizes)
    if len(rest) == 3:
        is_planar = rest[2] == 3 and not first and not is_sequence
        return first + ("xyc" if is_planar else "xyt")
    if len(rest) == 4 and rest[2] == 3 and not first:
        return "xyct"
    return first + "xyzt"[: len(rest)]


def kept_axes(sizes: Sequence[int]) -> list[int]:
    """Axes that count: those of size 1 behind the first two do not, a volume of one slice being a picture."""
    return [axis for axis, size in enumerate(sizes) if axis < 2 or size != 1]


def spacing_of(layout: str, steps_mm: Sequence[float]) -> PixelSpacing | None:
    """Spacing of columns and rows, from one step in mm for each axis; None where unknown.

    A step of exactly 1 for both is what writers leave there when they know nothing, so it counts as unknown.
    """
    if "x" not in layout or "y" not in layout or len(steps_mm) != len(layout):
        return None
    x_mm, y_mm = abs(steps_mm[layout.index("x")]), abs(steps_mm[layout.index("y")])
    is_usable = all(math.isfinite(step) and step > 0 for step in (x_mm, y_mm)) and (x_mm, y_mm) != (1.0, 1.0)
    return PixelSpacing(x_mm=x_mm, y_mm=y_mm) if is_usable else None


def open_pixels(header: StackHeader) -> IO[bytes]:
    """Opens the file with the pixels.

    Raises:
        SourceNotFound: the header points to a file that is not there.
        SourceUnreadable: it cannot be opened.
    """
    try:
        return header.data_path.open("rb")
    except FileNotFoundError as error:
        raise SourceNotFound(
            f"{header.data_path}: not there, though {header.path.name} points to it; put both in one folder"
        ) from error
    except OSError as error:
        raise SourceUnreadable(f"{header.data_path}: cannot be opened ({error.strerror})") from error


def frame_blocks(header: StackHeader, file: IO[bytes]) -> Iterator[bytes]:
    """Yields the bytes of one picture after the other from the file with the pixels, holding one at a time.

    Raises:
        SourceTruncated: the pixels end, or their compression breaks, before the header's last picture.
    """
    file.seek(_data_start(header, file))
    reader = _Inflated(file) if header.compressed else file
    for index in range(header.frame_count):
        block = reader.read(header.frame_bytes)
        if len(block) < header.frame_bytes:
            raise SourceTruncated(
                f"{header.data_path}: ends after {index} of {header.frame_count} frames;"
                " copy the file again or export it anew"
            )
        yield block


def _data_start(header: StackHeader, file: IO[bytes]) -> int:
    if header.data_offset is not None:
        return header.data_offset
    total = header.frame_bytes * header.frame_count
    return max(0, file.seek(0, 2) - total)


class _Inflated:
    """Reads a zlib or gzip stream by the piece. A broken stream reads as one that has ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=47)  # 32 + 15: the header tells zlib from gzip
        self._pending = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        parts = bytearray()
        while len(parts) < size and not self._inflate.eof:
            self._pending = self._pending or self._file.read(_CHUNK_BYTES)
            if not self._pending:
                break
            try:
                parts += self._inflate.decompress(self._pending, size - len(parts))
            except zlib.error:
                break
            self._pending = self._inflate.unconsumed_tail
        return bytes(parts)
