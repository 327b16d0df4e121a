"""How large the pixels of a DICOM recording are, region by region."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stream.frame import PixelSpacing
from stream.regions import Region, RegionKind

if TYPE_CHECKING:
    from stream.sources.dicom.header import Header

_SPATIAL_2D, _CENTIMETRES = 1, 3  # PS3.3 C.8.5.5.1
_ROUNDING = 0.005
_TISSUE = (1, 2)
"""RegionDataType: tissue, and colour flow, which is drawn over tissue at its scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size and shape of the pixels; `note` says why a size that the file gives was not taken."""

    spacing: PixelSpacing | None
    pixel_aspect: float
    note: str = ""
    regions: tuple[Region, ...] = ()

    def given(self, spacing: PixelSpacing) -> Scale:
        """The user's spacing in the place of the file's, everywhere in the picture."""
        regions = tuple(replace(region, spacing=None) for region in self.regions)
        return Scale(spacing=spacing, pixel_aspect=spacing.x_mm / spacing.y_mm, regions=regions)


def scale_of(header: Header, *, columns: int, rows: int, aspect: float | None = None) -> Scale:
    """Size and shape of the pixels of a picture of `columns` x `rows`, region by region.

    Convention: PhysicalDeltaX and Y are centimetres, of either sign, PS3.3 C.8.5.5. The whole picture has the scale
    that all its regions of tissue share, and none where they differ; without such regions, PixelSpacing or
    NominalScannedPixelSpacing (rows first), but not 1 and 1, which much software writes for "unknown". A region that
    reaches out of the picture shows that the picture was resized or cut since, so that no region's scale holds.
    `pixel_aspect` is width over height, from the spacing, else PixelAspectRatio (vertical, horizontal), else `aspect`,
    which the pictures themselves say, else 1.
    Worked value: PhysicalDeltaX = 0.02, PhysicalDeltaY = -0.03 is 0.2 mm in x and 0.3 mm in y.
    """
    items = header.items("SequenceOfUltrasoundRegions")
    regions = [region for item in items if (region := _region(item, columns=columns, rows=rows))]
    tissue = [region for region in regions if region.kind is RegionKind.TISSUE]
    spacings = {region.spacing for region in tissue}
    spacing, reason = None, next((region.reason for region in tissue if region.reason), "")
    if len(regions) < len(items):
        regions, reason = [], "the file's ultrasound region reaches out of the picture (resized?)"
    elif not _are_alike(spacings):
        reason = "several ultrasound regions of unlike scale: each holds in its own region only"
    elif not (spacing := tissue[0].spacing if tissue else None):
        spacing, attribute_reason = _spacing_attribute(header)
        reason = reason or attribute_reason
    shape = spacing.x_mm / spacing.y_mm if spacing else _aspect_attribute(header) or aspect or 1.0
    note = f"no scale: {reason}" if reason and not spacing else ""
    return Scale(spacing=spacing, pixel_aspect=shape, note=note, regions=tuple(regions))


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


def _region(item: Header, *, columns: int, rows: int) -> Region | None:
    """A region of the picture; None where it reaches out of it. One without a box is the whole picture."""
    x0, y0, x1, y1 = _corners(item) or (0, 0, columns - 1, rows - 1)
    if not (0 <= x0 <= x1 <= columns and 0 <= y0 <= y1 <= rows):  # one column or row too many is a common slip
        return None
    is_tissue = item.number("RegionSpatialFormat") == _SPATIAL_2D and item.number("RegionDataType") in _TISSUE
    spacing, reason = _region_spacing(item) if is_tissue else (None, "")
    return Region(
        box=(x0, y0, min(x1, columns - 1) - x0 + 1, min(y1, rows - 1) - y0 + 1),
        kind=RegionKind.TISSUE if is_tissue else RegionKind.OTHER,
        spacing=spacing,
        reason=reason,
    )


def _corners(item: Header) -> tuple[int, int, int, int] | None:
    keywords = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    x0, y0, x1, y1 = (item.number(f"RegionLocation{keyword}") for keyword in keywords)
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (int(x0), int(y0), int(x1), int(y1))


def _region_spacing(item: Header) -> tuple[PixelSpacing | None, str]:
    units = [item.number(f"PhysicalUnits{axis}Direction") for axis in "XY"]
    if units != [_CENTIMETRES, _CENTIMETRES]:
        return None, "the file's ultrasound region is not in centimetres"
    delta_x_cm, delta_y_cm = item.number("PhysicalDeltaX"), item.number("PhysicalDeltaY")
    return _plausible(10 * abs(delta_x_cm or 0), 10 * abs(delta_y_cm or 0))


def _spacing_attribute(header: Header) -> tuple[PixelSpacing | None, str]:
    reason = ""
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
        match header.numbers(keyword):
            case [y_mm, x_mm] if (x_mm, y_mm) != (1, 1):
                spacing, reason = _plausible(x_mm, y_mm)
                if spacing:
                    return spacing, ""
    return None, reason


def _plausible(x_mm: float, y_mm: float) -> tuple[PixelSpacing | None, str]:
    """The spacing that the file gives; None and why, where no ultrasound picture has it. Zeros say nothing."""
    if not (x_mm or y_mm):
        return None, ""
    try:
        return PixelSpacing.checked(x_mm, y_mm), ""
    except ValueError as error:
        return None, str(error)


def _aspect_attribute(header: Header) -> float | None:
    match header.numbers("PixelAspectRatio"):
        case [vertical, horizontal] if vertical > 0 and horizontal > 0:
            return horizontal / vertical
    return None
