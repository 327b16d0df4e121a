"""The header of a MetaImage or NRRD stack, in one form.

MetaImage and NRRD differ in how the header is written, not in what it says; both parsers
(`stream.sources.files.volumes.metaimage`, `stream.sources.files.volumes.nrrd`) end in a `StackHeader`.
`stream.sources.files.volumes.pixels` reads what it describes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from stream.common.errors import SourceUnreadable
from stream.frames.frame import PixelSpacing, plausible_aspect
from stream.sources.timestamps import Timestamps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.sources.files.volumes.frame_fields import FrameFields

LAYOUTS = ("xy", "xyt", "cxy", "cxyt", "xyc", "xyct", "txy")
"""Orders of axes that are read, fastest axis first: columns x, rows y, colour c, time t."""

CHANNELS = (3, 4)
"""Values of a pixel that are a colour."""

PLANES_NOTE = "3 planes taken for one colour picture, not for 3 frames"

MAX_FRAME_BYTES = 1 << 28
"""A header that asks for more per picture is taken for a broken one."""

_ORIENTATION = re.compile(r"(?:[MU][FN]|[FN][MU])[AD]?")
_RADIO_FREQUENCY = "RF"


@dataclass(frozen=True, slots=True)
class VolumeScale:
    """What a header says of the size of pixels, as far as it can be believed.

    Attributes:
        spacing: mm per pixel; None where unknown.
        aspect: width of a pixel over its height, also where the unit is in doubt; None where unknown.
        note: why the header is not believed, or "".
    """

    spacing: PixelSpacing | None = None
    aspect: float | None = 1.0
    note: str = ""

    @classmethod
    def declared(cls, x_mm: float, y_mm: float, *, unit: str = "mm") -> Self:
        """The scale that a header declares, in mm or in a unit that is not known.

        A step of exactly 1 for both is what writers leave there when they know nothing, so it counts as unknown, and
        so do steps that are zero or no numbers; neither needs a word.
        """
        x_mm, y_mm = abs(x_mm), abs(y_mm)
        if not (0 < x_mm < math.inf and 0 < y_mm < math.inf) or (x_mm, y_mm) == (1.0, 1.0):
            return cls()
        try:
            if unit != "mm":
                raise ValueError(f"a scale in {unit[:20]!r} is not understood")
            return cls(PixelSpacing.checked(x_mm, y_mm), x_mm / y_mm)
        except ValueError as error:
            return cls(None, plausible_aspect(x_mm, y_mm), str(error))

    def transposed(self) -> VolumeScale:
        """The scale of the picture with columns and rows exchanged."""
        spacing = PixelSpacing(self.spacing.y_mm, self.spacing.x_mm) if self.spacing else None
        return VolumeScale(spacing, 1 / self.aspect if self.aspect else None, self.note)


UNKNOWN_SCALE = VolumeScale()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackHeader:
    """The facts needed to read a stack picture by picture.

    Attributes:
        path: of the header, for messages.
        data_path: of the pixels; the same file, or the one the header points to.
        data_offset: bytes before the pixels; None where the pixels are the last bytes of the file.
        compressed: the pixels are zlib or gzip streams.
        dtype: of one element, with its byte order.
        sizes: of the axes, fastest first.
        layout: the meaning of the axes, one of `LAYOUTS`.
        scale: of the stored columns and rows.
        frame_scales: the same, of pictures that have their own.
        orientation: where stored columns and rows run to, in PLUS letters: Marked or Unmarked side,
            Far from or Near to the probe. `MF` is the usual display.
        stamps: times of the pictures.
        invalid: numbers of pictures that the recorder itself calls invalid.
        notes: what is doubtful in the header, in words.
    """

    path: Path
    data_path: Path
    data_offset: int | None
    compressed: bool
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    layout: str
    scale: VolumeScale = UNKNOWN_SCALE
    frame_scales: Mapping[int, VolumeScale] = field(default_factory=dict)
    orientation: str = "MF"
    stamps: Timestamps = field(default_factory=Timestamps)
    invalid: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = " x ".join(map(str, self.sizes))
        if self.layout not in LAYOUTS:
            raise SourceUnreadable(
                f"{self.path}: its axes, {sizes} ('{self.layout}'), cannot be read picture by picture;"
                " store it as columns x rows x frames"
            )
        channels = self.sizes[self.layout.index("c")] if "c" in self.layout else 1
        if channels not in (1, *CHANNELS):
            raise SourceUnreadable(f"{self.path}: has {channels} values a pixel ({sizes}); 1, 3 and 4 can be read")
        interleaved_bytes = self.frame_count * self.dtype.itemsize if self.layout == "txy" else 0
        if min(self.sizes) < 1 or max(self.frame_bytes, interleaved_bytes) > MAX_FRAME_BYTES:
            raise SourceUnreadable(
                f"{self.path}: its header asks for pictures of {self.frame_bytes} bytes"
                f" (sizes {self.sizes}); the header is damaged"
            )

    @property
    def frame_count(self) -> int:
        return self.sizes[self.layout.index("t")] if "t" in self.layout else 1

    @property
    def frame_sizes(self) -> tuple[int, ...]:
        """Sizes of one picture, fastest first."""
        return tuple(size for size, axis in zip(self.sizes, self.layout, strict=True) if axis != "t")

    @property
    def frame_bytes(self) -> int:
        return math.prod(self.frame_sizes) * self.dtype.itemsize

    @property
    def has_depth_in_columns(self) -> bool:
        """Depth runs along the stored columns, so that pictures must be transposed to show it downwards."""
        return self.orientation[:1] in ("F", "N")

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) once depth runs downwards."""
        width, height = self.sizes[self.layout.index("x")], self.sizes[self.layout.index("y")]
        return (height, width) if self.has_depth_in_columns else (width, height)

    def shown_scale(self, index: int) -> VolumeScale:
        """Scale of a picture once depth runs downwards."""
        scale = self.frame_scales.get(index, self.scale)
        return scale.transposed() if self.has_depth_in_columns else scale

    def pixels(self, block: bytes) -> NDArray[Any]:
        """One picture as stored, (H, W), or (H, W, C) with colour channels red first."""
        stored = np.frombuffer(block, dtype=self.dtype).reshape(self.frame_sizes[::-1])
        return np.moveaxis(stored, 0, -1) if self.layout.startswith("xyc") else stored

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turns a stored (H, W) picture so that depth runs downwards; left and right stay as stored."""
        if self.has_depth_in_columns:
            image = image.T
        depth = self.orientation[:2].translate(str.maketrans("", "", "MU"))
        return image[::-1] if depth == "N" else image


def axis_layout(sizes: Sequence[int], *, is_sequence: bool) -> str:
    """Tells which axis is what, where the header itself does not say.

    Convention: sizes are given fastest first. Two axes are columns and rows. A first axis of 3 or 4 is colour
    interleaved by pixel. A third axis of exactly 3 is colour in planes (one picture), unless the header
    marks the file as a sequence (`is_sequence`). Any other last axis is time.
    Worked values: (256, 256, 3) is `xyc`, or `xyt` as a sequence; (3, 256, 256) is `cxy`; (820, 616, 21)
    is `xyt`.
    """
    first, rest = ("c", sizes[1:]) if len(sizes) > 2 and sizes[0] in CHANNELS else ("", sizes)
    if len(rest) == 3:
        is_planar = rest[2] == 3 and not first and not is_sequence
        return first + ("xyc" if is_planar else "xyt")
    if len(rest) == 4 and rest[2] == 3 and not first:
        return "xyct"
    return first + "xyzt"[: len(rest)]


def kept_axes(sizes: Sequence[int]) -> list[int]:
    """Axes that count: those of size 1 behind the first two do not, a volume of one slice being a picture."""
    return [axis for axis, size in enumerate(sizes) if axis < 2 or size != 1]


def volume_scale(layout: str, steps_mm: Sequence[float]) -> VolumeScale:
    """Scale of columns and rows, from one step in mm for each axis."""
    if "x" not in layout or "y" not in layout or len(steps_mm) != len(layout):
        return UNKNOWN_SCALE
    return VolumeScale.declared(steps_mm[layout.index("x")], steps_mm[layout.index("y")])


def frame_scales(frames: FrameFields) -> dict[int, VolumeScale]:
    """Scale of the pictures that have their own."""
    return {index: VolumeScale.declared(*steps_mm) for index, steps_mm in frames.steps_mm.items()}


def scale_note(scale: VolumeScale, of_frames: Mapping[int, VolumeScale]) -> str:
    """Why the first scale that is not believed is not, or ""."""
    return next((note for note in (scale.note, *(scale.note for scale in of_frames.values())) if note), "")


def validate_orientation(path: Path, fields: Mapping[str, str]) -> tuple[str, str]:
    """Orientation of a PLUS sequence, and a note where it is not known; refuses what holds no pictures.

    Raises:
        SourceUnreadable: the file says that it holds radio-frequency data.
    """
    kind = fields.get("UltrasoundImageType", "")
    if kind.upper().startswith(_RADIO_FREQUENCY):
        raise SourceUnreadable(
            f"{path}: holds radio-frequency data ({kind[:40]}) and no pictures; convert it to brightness first"
        )
    declared = fields.get("UltrasoundImageOrientation", "").upper()
    if not declared or _ORIENTATION.fullmatch(declared):
        return declared or "MF", ""
    return "MF", f"orientation {declared[:10]!r} is not known: shown as stored"
