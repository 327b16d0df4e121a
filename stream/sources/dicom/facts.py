"""What a DICOM header says about its pictures, checked, before the first one is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from stream.errors import SourceUnreadable
from stream.sources.dicom.file import name_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream.sources.dicom.header import Header, PixelElement

_NAME = re.compile(r"[A-Z0-9_ ]{1,16}")
_ROOT = "1.2.840.10008.1.2"


class Coding(Enum):
    """How the pixels are coded, by who decodes them."""

    NATIVE = auto()
    JPEG = auto()
    JPEG_2000 = auto()
    VIDEO = auto()
    OTHER = auto()
    """Left to pydicom: RLE, which it decodes itself, and what its plug-ins decode."""


_CODINGS = {
    **dict.fromkeys((_ROOT, f"{_ROOT}.1", f"{_ROOT}.2"), Coding.NATIVE),
    **dict.fromkeys((f"{_ROOT}.4.{n}" for n in (50, 51, 53, 55, 57, 70)), Coding.JPEG),
    **dict.fromkeys((f"{_ROOT}.4.{n}" for n in (90, 91)), Coding.JPEG_2000),
    **dict.fromkeys((f"{_ROOT}.4.{n}" for n in range(100, 109)), Coding.VIDEO),
    **dict.fromkeys((f"{_ROOT}.4.{n}.1" for n in range(100, 107)), Coding.VIDEO),
}

_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """Shape and coding of the pictures.

    Attributes:
        path: of the file, for messages.
        coding: who decodes the pixels.
        transfer_syntax: UID; explicit little endian where the file names none.
        rows, columns: height and width in pixels.
        samples: 1, or 3 for colour.
        photometric: PhotometricInterpretation.
        is_planar: colour in planes instead of pixel by pixel.
        bits_allocated: 8 or 16, for each sample.
        bits_stored: of these, those with a meaning.
        high_bit: the highest of them, counted from 0.
        is_signed: two's complement.
        frame_count: as declared; None where a video declares none.
    """

    path: Path
    coding: Coding
    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    photometric: str
    is_planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    frame_count: int | None

    @property
    def syntax_name(self) -> str:
        """The standard's name of the transfer syntax."""
        return name_of(self.transfer_syntax)

    @property
    def is_subsampled(self) -> bool:
        """Stored as Y Y Cb Cr for two pixels; only where nothing else codes the pixels."""
        return self.photometric == "YBR_FULL_422" and self.coding is Coding.NATIVE

    @property
    def frame_bytes(self) -> int:
        """Of a frame that is not compressed."""
        pixels = self.rows * self.columns * self.bits_allocated // 8
        return pixels * 2 if self.is_subsampled else pixels * self.samples


def read_facts(header: Header, element: PixelElement | None, path: Path) -> tuple[PictureFacts, PixelElement]:
    """Checks what the header says of its pictures; returns it with the element that holds them.

    Raises:
        SourceUnreadable: there are no pictures, or none of a kind that can be read.
    """
    if element is None:
        sop_class = header.text("SOPClassUID")
        raise SourceUnreadable(
            f"{path}: DICOM without pictures (kind: {name_of(sop_class)}); give an ultrasound recording"
        )
    coding, syntax = _coding(header, element, path)
    bits_allocated = _integer(header, "BitsAllocated", 0)
    bits_stored = _integer(header, "BitsStored", bits_allocated)
    facts = PictureFacts(
        path=path,
        coding=coding,
        transfer_syntax=syntax,
        rows=_count(header, "Rows", path),
        columns=_count(header, "Columns", path),
        samples=_integer(header, "SamplesPerPixel", 1),
        photometric=header.text("PhotometricInterpretation"),
        is_planar=header.number("PlanarConfiguration") == 1,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_integer(header, "HighBit", bits_stored - 1),
        is_signed=header.number("PixelRepresentation") == 1,
        frame_count=_frame_count(header, coding, path),
    )
    if coding is not Coding.VIDEO:  # a video says for itself how its pixels are made
        _check_pixels(facts)
    return facts, element


def _coding(header: Header, element: PixelElement, path: Path) -> tuple[Coding, str]:
    syntax = header.transfer_syntax or f"{_ROOT}.1"
    coding = _CODINGS.get(syntax, Coding.OTHER)
    is_encapsulated = element.length is None
    if is_encapsulated == (coding is Coding.NATIVE):
        stored = "in fragments" if is_encapsulated else "in one piece"
        raise SourceUnreadable(
            f"{path}: its pixels are stored {stored}, which its transfer syntax {name_of(syntax)} does not"
            " allow; export the file again"
        )
    return coding, syntax


def _integer(header: Header, keyword: str, default: int) -> int:
    value = header.number(keyword)
    return default if value is None else round(value)


def _count(header: Header, keyword: str, path: Path) -> int:
    value = header.number(keyword)
    if value is None or value < 1:
        found = "no" if value is None else f"{value:.0f}"
        raise SourceUnreadable(f"{path}: its DICOM header gives {found} {keyword}; export the file again")
    return round(value)


def _frame_count(header: Header, coding: Coding, path: Path) -> int | None:
    if header.text("NumberOfFrames"):
        return _count(header, "NumberOfFrames", path)
    return None if coding is Coding.VIDEO else 1


def _check_pixels(facts: PictureFacts) -> None:
    expected = _SAMPLES.get(facts.photometric)
    what = ""
    if expected is None:
        found = facts.photometric if _NAME.fullmatch(facts.photometric) else "damaged"
        what = f"PhotometricInterpretation is {found}, expected one of {', '.join(_SAMPLES)}"
    elif facts.samples != expected:
        what = f"{facts.photometric} goes with SamplesPerPixel {expected}, not {facts.samples}"
    elif facts.bits_allocated not in (8, 16):
        what = f"BitsAllocated is {facts.bits_allocated}, expected 8 or 16"
    elif not 0 <= facts.bits_stored - 1 <= facts.high_bit < facts.bits_allocated:
        what = f"BitsStored {facts.bits_stored}, HighBit {facts.high_bit} of {facts.bits_allocated} bits"
    elif facts.is_subsampled and facts.columns % 2:
        what = f"YBR_FULL_422 needs an even number of Columns, not {facts.columns}"
    if what:
        raise SourceUnreadable(f"{facts.path}: pixels of an unknown kind ({what}); export the file again")
