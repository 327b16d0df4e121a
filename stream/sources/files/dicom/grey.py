"""Grey levels from stored pixel values: rescale, window, palette, colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stream.common.errors import SourceUnreadable
from stream.sources.files.dicom.codestream import PictureError
from stream.sources.files.dicom.file import damage_error, quiet_pydicom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.sources.files.dicom.facts import PictureFacts
    from stream.sources.files.dicom.header import DicomHeader
    from stream.sources.files.dicom.pixels import StoredPixels

_BT601 = (0.299, 0.587, 0.114)
_COLOURS = ("Red", "Green", "Blue")
_LIMITS = (0xFF, 0x3FF, 0xFFF, 0x3FFF, 0xFFFF)
_WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def luma_of(pixels: NDArray[Any], *, is_rgb: bool) -> NDArray[Any]:
    """Stored values (H, W) from stored samples (H, W) or (H, W, 3).

    Convention: RGB becomes luma by BT.601, 0.299 R + 0.587 G + 0.114 B, rounded; of the other colour models,
    which are YCbCr, the first sample is the luma. Worked value: RGB 255, 0, 0 becomes 76.
    """
    if pixels.ndim == 2:
        return pixels
    if is_rgb:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(pixels[..., 0])


def looks_like_chroma(pixels: NDArray[Any]) -> bool:
    """Whether the second and third samples of 8 bits are chroma: ultrasound is grey, so nearly all is close to 128.

    Only asked where a header contradicts its pixels. Grey in RGB has three like samples, most of them dark.
    """
    chroma = pixels[::4, ::4, 1:].astype(np.int16)
    return bool(np.mean(np.abs(chroma - 128) <= 10) >= 0.8)


class GreyLevels:
    """Turns stored values into grey levels, the same way in every frame.

    Convention: the bits stored count, the others are masked. Colour and monochrome without a window map the whole
    stored range linearly to 0 to 255; it does not depend on the frame, so brightness cannot flicker. Monochrome goes
    through its Modality LUT or rescaling, then its VOI LUT, or the first window with its VOILUTFunction, PS3.3
    C.11.2.1. MONOCHROME1, or a PresentationLUTShape INVERSE, is inverted. Palette entries become luma by BT.601. What
    a coded picture says of its bits goes before the header. Rounded to nearest.
    Worked values: 12 bits stored, no window: 0, 2048, 4095 become 0, 128, 255; window 100, 51 with LINEAR:
    up to 74, 100, from 125 on become 0, 130, 255.
    """

    def __init__(self, header: DicomHeader, facts: PictureFacts, *, is_little_endian: bool) -> None:
        """Makes the table that the header asks for.

        Raises:
            SourceUnreadable: a palette or another table is missing or damaged.
        """
        self._header, self._facts, self._is_little_endian = header, facts, is_little_endian
        self._tables: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._table(facts.bits_allocated, facts.bits_stored)

    def __call__(self, stored: StoredPixels) -> NDArray[np.uint8]:
        """Grey levels (H, W), contiguous.

        Raises:
            PictureError: the picture has more bits than the header allows for.
        """
        facts = self._facts
        if facts.is_coded:
            table = self._table(16 if stored.values.dtype == np.uint16 else 8, self._bits_of(stored))
        else:
            table = self._table(facts.bits_allocated, facts.bits_stored)
        if len(table) > 256:
            return np.take(table, stored.values)
        if np.array_equal(table, np.arange(256)):
            return np.ascontiguousarray(stored.values, dtype=np.uint8)
        return cv2.LUT(np.ascontiguousarray(stored.values), table).astype(np.uint8, copy=False)

    def _bits_of(self, stored: StoredPixels) -> int:
        """The bits that count in a coded picture.

        Fewer than the header says: as the picture says. More: many encoders write the bits allocated, so the header
        is right as long as the values fit; where the header does not even allocate them, it was damaged.
        """
        facts, bits = self._facts, stored.bits
        if bits <= facts.bits_stored:
            return bits
        if bits > facts.bits_allocated:
            if self._has_window:
                raise PictureError(f"it has {bits} bits a sample, its header {facts.bits_stored} and a window")
            return bits
        if facts.is_signed:
            spread = 1 << (facts.bits_stored - 1)
            is_within = ((stored.values.astype(np.int32) + spread) & ((1 << bits) - 1)).max() < 2 * spread
        else:
            is_within = stored.values.max() < 1 << facts.bits_stored
        if not is_within:
            raise PictureError(f"it has values of {bits} bits, its header says {facts.bits_stored}")
        return facts.bits_stored

    @property
    def _has_window(self) -> bool:
        return self._facts.samples == 1 and self._header.number("WindowCenter") is not None

    def _table(self, word_bits: int, bits: int) -> NDArray[np.uint8]:
        """The grey level of every word of `word_bits` that a pixel can hold, 256 or 65536 entries."""
        key = (word_bits, bits)
        if key not in self._tables:
            facts = self._facts
            high_bit = bits - 1 if facts.is_coded else facts.high_bit
            words: NDArray[np.int64] = np.arange(1 << word_bits)
            stored = words >> (high_bit + 1 - bits) & ((1 << bits) - 1)
            if facts.is_signed:
                stored = np.where(stored >> (bits - 1), stored - (1 << bits), stored)
            self._tables[key] = np.rint(self._levels(stored)).astype(np.uint8)
        return self._tables[key]

    def _levels(self, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        facts, header = self._facts, self._header
        if facts.photometric == "PALETTE COLOR":
            return self._palette(stored)
        if facts.samples != 1:
            return _spread(stored)
        values = self._looked_up(stored, "ModalityLUTSequence")
        if values is None:
            slope, intercept = header.number("RescaleSlope") or 1.0, header.number("RescaleIntercept") or 0.0
            values = np.asarray(slope * stored + intercept, np.float64)
        levels = self._looked_up(values, "VOILUTSequence", is_last=True)
        if levels is None:
            levels = _windowed(header, values)
        if levels is None:
            levels = _spread(values, self._highest())
        is_inverse = header.text("PresentationLUTShape").upper() == "INVERSE"
        return 255.0 - levels if facts.photometric == "MONOCHROME1" or is_inverse else levels

    def _highest(self) -> float | None:
        """The highest value in use, of 8, 10, 12 ... bits as many as the header's largest pixel value needs."""
        largest, header = self._header.number("LargestImagePixelValue"), self._header
        is_mapped = header.number("RescaleSlope") is not None or bool(header.items("ModalityLUTSequence"))
        if self._facts.is_signed or is_mapped or not largest or largest < 0:
            return None
        return next((limit for limit in _LIMITS if largest <= limit), None)

    def _looked_up(self, values: NDArray[Any], keyword: str, *, is_last: bool = False) -> NDArray[np.float64] | None:
        """Values through the first table of a sequence, as grey levels if it is the last; None where there is none."""
        items = self._header.items(keyword)
        if not items:
            return None
        descriptor, table = items[0].numbers("LUTDescriptor"), items[0].numbers("LUTData")
        data = items[0].data("LUTData")
        entries = np.asarray(table, np.float64) if not data else self._entries(descriptor, data)
        if entries is None or len(descriptor) != 3 or not np.isfinite(entries).all() or not len(entries):
            raise SourceUnreadable(f"{self._facts.path}: its {keyword} is damaged; export the file again")
        places = np.rint(values - descriptor[1]).astype(np.int64)
        found = np.asarray(entries[np.clip(places, 0, len(entries) - 1)], np.float64)
        return np.clip(found * 255.0 / ((1 << round(descriptor[2])) - 1), 0.0, 255.0) if is_last else found

    def _palette(self, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        """Luma of the palette's entries, PS3.3 C.7.6.3.1.5: values outside take the first or last entry.

        Entries of 16 bits that use 8 only are taken as 8 bits.
        """
        entries = [self._colour(colour) for colour in _COLOURS]
        scale = 1 / 257 if max(values.max() for values, _ in entries) > 255 else 1.0
        levels = np.zeros(len(stored), np.float64)
        for (values, first), weight in zip(entries, _BT601, strict=True):
            levels += weight * scale * values[np.clip(stored - first, 0, len(values) - 1)]
        return levels

    def _colour(self, colour: str) -> tuple[NDArray[np.float64], int]:
        """One colour of the palette, and the stored value of its first entry."""
        descriptor = self._header.numbers(f"{colour}PaletteColorLookupTableDescriptor")
        entries = self._entries(descriptor, self._header.data(f"{colour}PaletteColorLookupTableData"))
        if entries is None:
            segments = self._header.data(f"Segmented{colour}PaletteColorLookupTableData")
            entries = self._expanded(descriptor, segments)
        if entries is None or not len(entries):
            raise SourceUnreadable(
                f"{self._facts.path}: its {colour.lower()} palette is missing or damaged; export it in RGB"
            )
        return entries, round(descriptor[1])

    def _entries(self, descriptor: list[float], data: bytes) -> NDArray[np.float64] | None:
        """The entries of a table, of one or two bytes each, whatever the descriptor says of their depth."""
        if len(descriptor) != 3 or not all(map(np.isfinite, descriptor)):
            return None
        count = round(descriptor[0]) or 1 << 16
        if len(data) >= 2 * count:
            return np.frombuffer(data, "<u2" if self._is_little_endian else ">u2", count).astype(np.float64)
        return np.frombuffer(data, np.uint8, count).astype(np.float64) if len(data) >= count else None

    def _expanded(self, descriptor: list[float], segments: bytes) -> NDArray[np.float64] | None:
        """A segmented palette, PS3.3 C.7.9.2, expanded by pydicom, which wants three colours; all are this one."""
        from pydicom import Dataset
        from pydicom.pixels.processing import apply_color_lut

        if len(descriptor) != 3 or not all(map(np.isfinite, descriptor)) or not segments:
            return None
        count, depth = round(descriptor[0]), round(descriptor[2])
        table = Dataset()
        table.set_original_encoding(False, self._is_little_endian)
        for colour in _COLOURS:
            setattr(table, f"{colour}PaletteColorLookupTableDescriptor", [count, 0, depth])
            setattr(table, f"Segmented{colour}PaletteColorLookupTableData", segments)
        try:
            with quiet_pydicom():
                colours = apply_color_lut(np.arange(count or 1 << 16), table)
        except damage_error():
            return None
        return np.asarray(colours[:, 0], np.float64)


def _spread(values: NDArray[Any], highest: float | None = None) -> NDArray[np.float64]:
    """Values over all grey levels; what lies above `highest` is white."""
    lowest = float(values.min())
    span = min(float(values.max()), np.inf if highest is None else highest) - lowest
    return np.clip((values - lowest) * (255.0 / (span or 1.0)), 0.0, 255.0)


def _windowed(header: DicomHeader, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Values through the header's window; None where it has none that can be."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    center, width = header.number("WindowCenter"), header.number("WindowWidth")
    function = header.text("VOILUTFunction").upper() or "LINEAR"
    if center is None or width is None or function not in _WINDOWS or width <= 0:
        return None
    window = Dataset()  # one that asks for 0 to 255
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    window.VOILUTFunction = function
    window.WindowCenter = f"{center:.9g}"
    window.WindowWidth = f"{max(width, 1.0) if function == 'LINEAR' else width:.9g}"
    with quiet_pydicom(), np.errstate(over="ignore"):
        return np.asarray(apply_windowing(values, window), np.float64)
