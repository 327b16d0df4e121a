"""Reads a DICOM header up to its pixels, through pydicom.

Only the attributes listed here are ever read. None of them identifies a patient; the series' UID is used to sort files
and is neither shown nor written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, cast

from stream.common.errors import SourceUnreadable
from stream.sources.files.dicom.file import damage_error, quiet_pydicom, read_file_meta

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

_KEYWORDS = (
    *("SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "Modality"),
    *("CineRate", "FrameTime", "FrameTimeVector", "FrameIncrementPointer", "RecommendedDisplayFrameRate"),
    *("ActualFrameDuration", "EffectiveDuration", "SequenceOfUltrasoundRegions", "PixelSpacing"),
    *("NominalScannedPixelSpacing", "PixelAspectRatio", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape", "ExtendedOffsetTable"),
    "LargestImagePixelValue",
    *(
        f"{kind}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)

_PIXEL_DATA = 0x7FE00010
_FLOAT_PIXEL_DATA = 0x7FE00008
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the pixel data lie in the file.

    Attributes:
        offset: of the first byte of the value.
        length: in bytes; None where the frames are in fragments.
        available: bytes from there to the end of the file.
        in_words: written as 16-bit words, which big-endian files store byte-swapped even for 8-bit pixels.
        is_little_endian: byte order of the file.
    """

    offset: int
    length: int | None
    available: int
    in_words: bool
    is_little_endian: bool


class DicomHeader:
    """The attributes of a DICOM data set that matter here. What cannot be read counts as absent."""

    def __init__(self, dataset: Dataset, meta: DicomHeader | None = None) -> None:
        self._dataset, self._meta = dataset, meta

    @property
    def transfer_syntax(self) -> str | None:
        """UID of the coding of the pixels; None in files without file meta information."""
        return (self._meta.text("TransferSyntaxUID") or None) if self._meta else None

    @property
    def media_class(self) -> str:
        """UID of what the file holds, by its file meta information; "" where it has none."""
        return self._meta.text("MediaStorageSOPClassUID") if self._meta else ""

    def text(self, keyword: str) -> str:
        """The first value as text, without padding; "" where absent."""
        return next(iter(self.texts(keyword)), "")

    def texts(self, keyword: str) -> list[str]:
        """All values as text, without padding; empty where absent."""
        return [str(value).strip(" \0") for value in self._values(keyword)]

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

    def items(self, keyword: str) -> list[DicomHeader]:
        """The items of a sequence; empty where absent."""
        return [DicomHeader(item) for item in self._values(keyword)]

    def _values(self, keyword: str) -> list[Any]:
        try:
            with quiet_pydicom():
                value = self._dataset.get(keyword)
        except damage_error():
            return []
        if value is None or value == "":
            return []
        return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def read_header(file: IO[bytes], path: Path, *, keywords: tuple[str, ...] = _KEYWORDS) -> DicomHeader:
    """Reads the header up to the pixel data, where the file then stands; it may stand anywhere before.

    How it is written, explicit or implicit and in which byte order, is seen from its bytes: a transfer syntax that
    says otherwise would shift all that follows.

    Raises:
        SourceUnreadable: the header is damaged.
    """
    from pydicom.filereader import read_dataset
    from pydicom.tag import Tag

    tags: list[Any] = [Tag(keyword) for keyword in keywords]
    binary = cast("BinaryIO", file)
    try:
        meta = read_file_meta(file)
        with quiet_pydicom():
            is_implicit, is_little_endian = _encoding(file)
            dataset = read_dataset(
                binary,
                is_implicit,
                is_little_endian,
                stop_when=lambda tag, _vr, _length: tag >= _FLOAT_PIXEL_DATA,
                specific_tags=tags,
            )
            dataset.set_original_encoding(is_implicit, is_little_endian)
        return DicomHeader(dataset, DicomHeader(meta))
    except damage_error() as error:
        # pydicom's own words may quote values, and values may name the patient: only the kind is passed on
        raise SourceUnreadable(
            f"{path}: its DICOM header is damaged ({type(error).__name__}); copy or export it again"
        ) from None


def _encoding(file: IO[bytes]) -> tuple[bool, bool]:
    """Whether the data set is implicit, and little endian, by its first element; the file stays where it is."""
    head = file.read(6)
    file.seek(-len(head), 1)
    is_little_endian = not (head[:1] == b"\0" and head[1:2] != b"\0")  # its group is a small number
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    return is_little_endian and not is_explicit, is_little_endian


def find_pixels(file: IO[bytes]) -> PixelElement | None:
    """The pixel data element, where the file stands; None where another one or nothing follows.

    Explicit or implicit is seen from its own bytes, as `_encoding` does: the length of an implicit one is even, and
    would have to be odd to read as OB, OW or UN.
    """
    head = file.read(12)
    order: Literal["little", "big"] = "big" if head.startswith(b"\x7f\xe0") else "little"
    if int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order) != _PIXEL_DATA or len(head) < 8:
        return None
    is_explicit = head[4:6] in (b"OB", b"OW", b"UN")
    length = int.from_bytes(head[8:12] if is_explicit else head[4:8], order)
    offset = file.seek(0 if is_explicit else 8 - len(head), 1)
    begins_with_item = file.read(4) == _ITEM
    return PixelElement(
        offset=offset,
        length=None if length == _UNDEFINED_LENGTH or begins_with_item else length,
        available=file.seek(0, 2) - offset,
        in_words=not is_explicit or head[4:6] == b"OW",
        is_little_endian=order == "little",
    )


def _finite(value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
