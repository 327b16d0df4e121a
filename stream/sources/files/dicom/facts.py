"""Checked facts of a DICOM header about its pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from stream.common.errors import NoPictures, SourceUnreadable
from stream.sources.base import join_notes
from stream.sources.files.dicom.file import name_of

if TYPE_CHECKING:
    from pathlib import Path

    from stream.sources.files.dicom.header import DicomHeader, PixelElement

_ROOT = "1.2.840.10008.1.2"
_ENHANCED_US_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
_MOST_PIXELS = 1 << 24
_MOST_FRAMES = 1_000_000  # eleven hours at 25 frames a second; what is more is no count of frames
_MOST_PADDING = 16  # bytes behind the pixels; the standard asks for one at most
_OTHER_MODALITIES = frozenset({"CR", "CT", "DX", "ES", "MG", "MR", "NM", "OP", "PT", "RF", "SM", "XA"})


class Coding(Enum):
    """How the pixels are stored."""

    NATIVE = auto()
    CODED = auto()
    """Picture by picture; each says for itself how."""
    VIDEO = auto()


_NATIVE = frozenset({_ROOT, *(f"{_ROOT}.{n}" for n in ("1", "1.99", "2"))})
_VIDEO = frozenset({*(f"{_ROOT}.4.{n}" for n in range(100, 109)), *(f"{_ROOT}.4.{n}.1" for n in range(100, 107))})

_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}
_OTHER_MODELS = frozenset({"HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"})
"""Of PS3.3 C.7.6.3.1.2, too. No other word is quoted: anything may have been typed into any element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """Shape and coding of the pictures.

    Attributes:
        path: of the file, for messages.
        coding: how the pixels are stored.
        transfer_syntax: UID; explicit little endian where the file names none.
        rows, columns: height and width in pixels.
        samples: 1, or 3 for colour.
        photometric: PhotometricInterpretation.
        is_planar: colour in planes instead of pixel by pixel.
        bits_allocated: 8 or 16, for each sample.
        bits_stored: of these, those with a meaning.
        high_bit: the highest of them, counted from 0.
        is_signed: two's complement.
        declared_count: NumberOfFrames; None where the header gives none that can be.
        frame_count: of uncompressed frames, by the length of the pixel data; of others as declared.
        is_subsampled: stored as Y Y Cb Cr for two pixels.
        is_relabelled: the length of the pixel data shows that the header's colour model is not that of the pixels.
        note: what the viewer should know of the above.
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
    declared_count: int | None
    frame_count: int | None
    is_subsampled: bool = False
    is_relabelled: bool = False
    note: str = ""

    @property
    def syntax_name(self) -> str:
        """The standard's name of the transfer syntax."""
        return name_of(self.transfer_syntax)

    @property
    def is_coded(self) -> bool:
        return self.coding is not Coding.NATIVE

    @property
    def frame_bytes(self) -> int:
        """Of a frame that is not coded."""
        pixels = self.rows * self.columns * self.bits_allocated // 8
        return pixels * 2 if self.is_subsampled else pixels * self.samples


def read_facts(header: DicomHeader, element: PixelElement | None, path: Path) -> tuple[PictureFacts, PixelElement]:
    """Checks what the header says of its pictures; returns it with the element that holds them.

    Raises:
        SourceUnreadable: there are no pictures, or none of a kind that can be read.
    """
    sop_class = header.text("SOPClassUID") or header.media_class
    if element is None:
        kind = name_of(sop_class)
        is_other = sop_class and "Image" not in kind  # a report, a presentation state, an index; else it was cut off
        error = NoPictures if is_other else SourceUnreadable
        raise error(f"{path}: DICOM without pictures (kind: {kind}); give an ultrasound recording")
    if sop_class == _ENHANCED_US_VOLUME:
        raise SourceUnreadable(
            f"{path}: an Enhanced US Volume, whose frames are slices of a volume and not a film; give a 2-D recording"
        )
    coding, syntax = _coding(header, element, path)
    bits_allocated = _integer(header, "BitsAllocated", 0)
    bits_stored = _integer(header, "BitsStored", bits_allocated)
    declared = header.number("NumberOfFrames")
    declared_count = round(declared) if declared is not None and 1 <= declared <= _MOST_FRAMES else None
    photometric = header.text("PhotometricInterpretation").upper()
    modality = header.text("Modality")
    facts = PictureFacts(
        path=path,
        coding=coding,
        transfer_syntax=syntax,
        rows=_count(header, "Rows", path),
        columns=_count(header, "Columns", path),
        samples=_integer(header, "SamplesPerPixel", 1),
        photometric=photometric,
        is_planar=header.number("PlanarConfiguration") == 1,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_integer(header, "HighBit", bits_stored - 1),
        is_signed=header.number("PixelRepresentation") == 1,
        declared_count=declared_count,
        frame_count=declared_count,
        note=f"the file says it is {modality}, not ultrasound" if modality in _OTHER_MODALITIES else "",
    )
    if coding is not Coding.VIDEO:  # a video says for itself how its pixels are made
        _check_pixels(facts)
    return (_fitted(facts, element) if coding is Coding.NATIVE else facts), element


def count_note(declared: int | None, found: int) -> str:
    """What to say where a file holds another number of frames than it declares; "" where that is as it should be."""
    if declared is None:
        return f"{found} frames found; the file does not say how many it holds" if found > 1 else ""
    return f"{found} frames found; the file says it holds {declared}" if found > declared else ""


def _coding(header: DicomHeader, element: PixelElement, path: Path) -> tuple[Coding, str]:
    """The coding, of which the way the pixels are stored decides first and the transfer syntax second."""
    syntax = header.transfer_syntax or f"{_ROOT}.1"
    if element.length is not None and syntax not in _NATIVE:
        raise SourceUnreadable(
            f"{path}: its pixels are stored in one piece, which its transfer syntax {name_of(syntax)} does not"
            " allow; export the file again"
        )
    if element.length is not None:
        return Coding.NATIVE, syntax
    return (Coding.VIDEO if syntax in _VIDEO else Coding.CODED), syntax


def _integer(header: DicomHeader, keyword: str, default: int) -> int:
    value = header.number(keyword)
    return default if value is None else round(value)


def _count(header: DicomHeader, keyword: str, path: Path) -> int:
    value = header.number(keyword)
    if value is None or value < 1:
        found = "no" if value is None else f"{value:.0f}"
        raise SourceUnreadable(f"{path}: its DICOM header gives {found} {keyword}; export the file again")
    return round(value)


def _check_pixels(facts: PictureFacts) -> None:
    expected = _SAMPLES.get(facts.photometric)
    what = ""
    if expected is None:
        found = facts.photometric if facts.photometric in _OTHER_MODELS else "unknown"
        what = f"PhotometricInterpretation is {found}, expected one of {', '.join(_SAMPLES)}"
    elif facts.samples != expected:
        what = f"{facts.photometric} goes with SamplesPerPixel {expected}, not {facts.samples}"
    elif facts.bits_allocated not in (8, 16):
        what = f"BitsAllocated is {facts.bits_allocated}, expected 8 or 16"
    elif not 1 <= facts.bits_stored <= facts.high_bit + 1 <= facts.bits_allocated:
        what = f"BitsStored {facts.bits_stored}, HighBit {facts.high_bit} of {facts.bits_allocated} bits"
    elif facts.rows * facts.columns > _MOST_PIXELS:
        what = f"{facts.columns}x{facts.rows} pixels"
    if what:
        raise SourceUnreadable(f"{facts.path}: pixels of an unknown kind ({what}); export the file again")


def _fitted(facts: PictureFacts, element: PixelElement) -> PictureFacts:
    """Uncompressed frames held against the length of the pixel data, which cannot lie as a header can.

    More frames than declared are played, with a note. YBR_FULL_422 that is stored with all its chroma, and YBR_FULL
    that is stored without, is told by the length that the declared frames have. Pixel data that no whole number of
    frames fills are refused: every frame behind the first would be shifted.

    Raises:
        SourceUnreadable: length and header contradict each other.
    """
    length, declared = element.length or 0, facts.declared_count
    as_labelled = replace(facts, is_subsampled=facts.photometric == "YBR_FULL_422")
    if declared and length > element.available >= declared * as_labelled.frame_bytes:
        length = declared * as_labelled.frame_bytes  # a length that reaches out of the file says nothing
    readings = [as_labelled]
    if facts.photometric in ("YBR_FULL", "YBR_FULL_422") and not facts.is_planar:
        readings.append(replace(facts, is_subsampled=not as_labelled.is_subsampled, is_relabelled=True))
    readings = [reading for reading in readings if not (reading.is_subsampled and facts.columns % 2)]
    filled = [reading for reading in readings if length % reading.frame_bytes <= _MOST_PADDING]
    if facts.samples == 3 and declared and length == as_labelled.frame_bytes * declared // 3:
        filled = []  # grey, if anything: a film that lost two thirds to the byte is less likely
    exact = [reading for reading in filled if length // reading.frame_bytes == declared]
    if not exact and (not filled or (len(filled) > 1 and as_labelled.photometric.startswith("YBR"))):
        size = as_labelled.frame_bytes
        frames = f"{declared} frames" if declared else "frames"
        raise SourceUnreadable(
            f"{facts.path}: its pixel data are {length} bytes, where its header says {frames} of {size} bytes"
            f" ({facts.columns}x{facts.rows}, {facts.photometric}); export the file again"
        )
    chosen = (exact or filled)[0]
    count = length // chosen.frame_bytes
    relabelled = f"its colour is not stored as {facts.photometric}, as it says" if chosen.is_relabelled else ""
    note = join_notes(facts.note, count_note(declared, count), relabelled)
    return replace(chosen, frame_count=max(count, declared or 1), note=note)
