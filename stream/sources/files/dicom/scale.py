"""Pixel spacing of a DICOM recording, region by region."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.frames.frame import PixelSpacing, plausible_aspect
from stream.frames.regions import Region, RegionKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.sources.files.dicom.header import DicomHeader

_SPATIAL_2D, _CENTIMETRES = 1, 3  # PS3.3 C.8.5.5.1
_ROUNDING = 0.005
_TISSUE = (1, 2)
"""RegionDataType: tissue, and colour flow, which is drawn over tissue at its scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomScale:
    """Size and shape of the pixels, None where unknown; `note` says why what the file gives was not taken."""

    spacing: PixelSpacing | None
    pixel_aspect: float | None
    note: str = ""
    regions: tuple[Region, ...] = ()

    def given(self, spacing: PixelSpacing) -> DicomScale:
        """The user's spacing in the place of the file's, everywhere in the picture."""
        regions = tuple(replace(region, spacing=None) for region in self.regions)
        return DicomScale(spacing=spacing, pixel_aspect=spacing.x_mm / spacing.y_mm, regions=regions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What one place in the file says of the size of pixels.

    Attributes:
        spacing: as far as an ultrasound picture can have it.
        aspect: width over height, also where `spacing` is not plausible; None where it is not plausible either.
        is_said: two numbers are there.
        reason: why there is no `spacing`, or "".
    """

    spacing: PixelSpacing | None = None
    aspect: float | None = None
    is_said: bool = False
    reason: str = ""


def dicom_scale(header: DicomHeader, *, columns: int, rows: int, aspect: float | None = None) -> DicomScale:
    """Size and shape of the pixels of a picture of `columns` x `rows`, region by region.

    Convention: PhysicalDeltaX and Y are centimetres, of either sign, PS3.3 C.8.5.5. The whole picture has the scale
    that all its regions of tissue share, and none where they differ; without such regions, PixelSpacing or
    NominalScannedPixelSpacing (rows first), but not 1 and 1, which much software writes for "unknown". A region that
    reaches out of the picture shows that the picture was resized or cut since, so that no region's scale holds.
    `pixel_aspect` is width over height, from the spacing, also where only its unit cannot be, else PixelAspectRatio
    (vertical, horizontal), else `aspect`, which the pictures themselves say, else 1. It is unknown where the file says
    one that no ultrasound picture has.
    Worked value: PhysicalDeltaX = 0.02, PhysicalDeltaY = -0.03 is 0.2 mm in x and 0.3 mm in y.
    """
    items = header.items("SequenceOfUltrasoundRegions")
    regions = [region for item in items if (region := _region(item, columns=columns, rows=rows))]
    tissue = [region for region in regions if region.kind is RegionKind.TISSUE]
    sizes: list[_Size] = []
    spacings = {region.spacing for region in tissue}
    spacing, reason = None, next((region.reason for region in tissue if region.reason), "")
    if len(regions) < len(items):
        regions, reason = [], "the file's ultrasound region reaches out of the picture (resized?)"
    elif not _are_alike(spacings):
        reason = "several ultrasound regions of unlike scale: each holds in its own region only"
    elif not (spacing := tissue[0].spacing if tissue else None):
        attribute = _spacing_attribute(header)
        spacing, reason = attribute.spacing, reason or attribute.reason
        sizes = [*(_region_size(item) for item in items if _is_tissue(item)), attribute]
    if spacing:
        return DicomScale(spacing=spacing, pixel_aspect=spacing.x_mm / spacing.y_mm, regions=tuple(regions))
    shape, doubt = _shape(header, sizes, aspect)
    note = f"no scale: {reason}" if reason else doubt
    return DicomScale(spacing=None, pixel_aspect=shape, note=note, regions=tuple(regions))


def _shape(header: DicomHeader, sizes: Sequence[_Size], aspect: float | None) -> tuple[float | None, str]:
    """Width of a pixel over its height where no size is believed, and why it is unknown where it is."""
    said = [size.aspect for size in sizes if size.is_said]
    if said:
        first = said[0]
        is_one = first and all(other and math.isclose(other, first, rel_tol=_ROUNDING) for other in said)
        return (first if is_one else None), ""
    match header.numbers("PixelAspectRatio"):
        case [vertical, horizontal] if vertical > 0 and horizontal > 0:
            shape = plausible_aspect(horizontal, vertical)
            doubt = "" if shape else "no angle: the file's PixelAspectRatio is not plausible"
            return shape, doubt
    return aspect or 1.0, ""


def _are_alike(spacings: set[PixelSpacing | None]) -> bool:
    """Whether regions have one scale, but for the rounding of what is written in the file."""
    known = [spacing for spacing in spacings if spacing]
    if not known or len(known) < len(spacings):
        return len(spacings) <= 1
    return all(
        math.isclose(a, b, rel_tol=_ROUNDING)
        for spacing in known
        for a, b in ((spacing.x_mm, known[0].x_mm), (spacing.y_mm, known[0].y_mm))
    )


def _region(item: DicomHeader, *, columns: int, rows: int) -> Region | None:
    """A region of the picture; None where it reaches out of it. One without a box is the whole picture."""
    x0, y0, x1, y1 = _corners(item) or (0, 0, columns - 1, rows - 1)
    if not (0 <= x0 <= x1 <= columns and 0 <= y0 <= y1 <= rows):  # one column or row too many is a common slip
        return None
    is_tissue = _is_tissue(item)
    size = _region_size(item) if is_tissue else _Size()
    return Region(
        box=(x0, y0, min(x1, columns - 1) - x0 + 1, min(y1, rows - 1) - y0 + 1),
        kind=RegionKind.TISSUE if is_tissue else RegionKind.OTHER,
        spacing=size.spacing,
        reason=size.reason,
    )


def _is_tissue(item: DicomHeader) -> bool:
    return item.number("RegionSpatialFormat") == _SPATIAL_2D and item.number("RegionDataType") in _TISSUE


def _corners(item: DicomHeader) -> tuple[int, int, int, int] | None:
    keywords = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    x0, y0, x1, y1 = (item.number(f"RegionLocation{keyword}") for keyword in keywords)
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (int(x0), int(y0), int(x1), int(y1))


def _region_size(item: DicomHeader) -> _Size:
    units = [item.number(f"PhysicalUnits{axis}Direction") for axis in "XY"]
    if units != [_CENTIMETRES, _CENTIMETRES]:
        return _Size(reason="the file's ultrasound region is not in centimetres")
    delta_x_cm, delta_y_cm = item.number("PhysicalDeltaX"), item.number("PhysicalDeltaY")
    return _plausible(10 * abs(delta_x_cm or 0), 10 * abs(delta_y_cm or 0))


def _spacing_attribute(header: DicomHeader) -> _Size:
    size = _Size()
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
        match header.numbers(keyword):
            case [y_mm, x_mm] if (x_mm, y_mm) != (1, 1) and not size.spacing:
                other = _plausible(x_mm, y_mm)
                size = other if other.spacing or not size.is_said else size
    return size


def _plausible(x_mm: float, y_mm: float) -> _Size:
    """The size that the file gives; why it is not taken where no ultrasound picture has it. Zeros say nothing."""
    if not (x_mm or y_mm):
        return _Size()
    aspect = plausible_aspect(x_mm, y_mm)
    try:
        return _Size(spacing=PixelSpacing.checked(x_mm, y_mm), aspect=aspect, is_said=True)
    except ValueError as error:
        return _Size(aspect=aspect, is_said=True, reason=str(error))
