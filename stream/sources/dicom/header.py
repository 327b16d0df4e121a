"""The header of a DICOM file up to its pixels, read through pydicom.

Only the attributes listed here are ever read. None of them identifies a patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from stream.errors import SourceUnreadable
from stream.sources.dicom.file import damage, has_prefix, quiet_pydicom

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

_KEYWORDS = (
    *("SOPClassUID", "CineRate", "FrameTime", "FrameTimeVector", "FrameIncrementPointer"),
    *("RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions", "PixelSpacing"),
    *("NominalScannedPixelSpacing", "PixelAspectRatio", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "ExtendedOffsetTable"),
)

_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the pixel data lie in the file.

    Attributes:
        offset: of the first byte of the value.
        length: in bytes; None where undefined, which means the frames are encapsulated.
        in_words: written as 16-bit words, which big-endian files store byte-swapped even for 8-bit pixels.
        is_little_endian: byte order of the file.
    """

    offset: int
    length: int | None
    in_words: bool
    is_little_endian: bool


class Header:
    """The attributes of a DICOM data set that matter here. What cannot be read counts as absent."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def transfer_syntax(self) -> str | None:
        """UID of the coding of the pixels; None in files without file meta information."""
        with quiet_pydicom():
            uid = getattr(self._dataset, "file_meta", {}).get("TransferSyntaxUID")
        return str(uid) if uid else None

    def text(self, keyword: str) -> str:
        """The first value as text, without padding; "" where absent."""
        values = self._values(keyword)
        return str(values[0]).strip(" \0") if values else ""

    def numbers(self, keyword: str) -> list[float]:
        """All values, NaN for those that are no finite numbers; empty where absent."""
        return [_finite(value) for value in self._values(keyword)]

    def number(self, keyword: str) -> float | None:
        """The first value; None where absent or no finite number."""
        values = self.numbers(keyword)
        return None if not values or math.isnan(values[0]) else values[0]

    def data(self, keyword: str) -> bytes:
        """A value that is not text, as stored; b"" where absent."""
        values = self._values(keyword)
        return bytes(values[0]) if values and isinstance(values[0], bytes) else b""

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; empty where absent."""
        return [Header(item) for item in self._values(keyword)]

    def _values(self, keyword: str) -> list[Any]:
        try:
            with quiet_pydicom():
                value = self._dataset.get(keyword)
        except damage():
            return []
        if value is None or value == "":
            return []
        return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def read_header(file: IO[bytes], path: Path) -> tuple[Header, PixelElement | None]:
    """Reads the header and finds the pixel data; the file may stand anywhere.

    Raises:
        SourceUnreadable: the header is damaged.
    """
    from pydicom import dcmread

    is_bare = not has_prefix(file)
    file.seek(0)
    try:
        with quiet_pydicom():
            dataset = dcmread(file, stop_before_pixels=True, force=is_bare, specific_tags=list(_KEYWORDS))
        return Header(dataset), _pixel_element(file, *dataset.original_encoding)
    except damage() as error:
        # pydicom's own words may quote values, and values may name the patient: only the kind is passed on
        raise SourceUnreadable(
            f"{path}: its DICOM header is damaged ({type(error).__name__}); copy or export it again"
        ) from None


def _pixel_element(file: IO[bytes], is_implicit: bool, is_little_endian: bool) -> PixelElement | None:
    """The pixel data element, where the file stands; None where another one or nothing follows."""
    order: Literal["little", "big"] = "little" if is_little_endian else "big"
    head = file.read(8)
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag != _PIXEL_DATA:
        return None
    length = int.from_bytes(head[4:8] if is_implicit else file.read(4), order)
    return PixelElement(
        offset=file.tell(),
        length=None if length == _UNDEFINED_LENGTH else length,
        in_words=is_implicit or head[4:6] == b"OW",
        is_little_endian=is_little_endian,
    )


def _finite(value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
