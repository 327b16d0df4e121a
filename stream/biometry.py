"""One frame's measurement: AoP and HSD by a named protocol, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from stream.errors import MaskError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Point = tuple[float, float]
"""(x, y) in pixels, y down, pixel centres at integers."""


class Reason(StrEnum):
    """Why a frame has no measurement. The values are the codes written to files."""

    NOT_STANDARD_PLANE = "not_standard_plane"
    NO_PS = "no_ps"
    NO_FH = "no_fh"
    PS_END_IN_HEAD = "ps_end_in_head"
    CUT_BY_SECTOR = "cut_by_sector"
    AXIS_AMBIGUOUS = "axis_ambiguous"
    IMPLAUSIBLE = "implausible"


CHALLENGE_SIDE_PX = {"iugc2024": 512, "fhps2023": 256}
"""The squeezed square each challenge protocol is defined on."""


class Orientation(StrEnum):
    """Which way round the picture is: found on each mask, or known from elsewhere."""

    AUTO = "auto"
    NORMAL = "normal"
    MIRRORED = "mirrored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """The points a measurement was read from, in pixels of the mask or image it was made on.

    `hsd_perp_foot` is None where the head does not cross the infrapubic line, and under `fhps2023`,
    which defines no HSD, both feet are None.
    """

    ps_superior: Point
    ps_inferior: Point
    tangent: Point
    hsd_min_foot: Point | None
    hsd_perp_foot: Point | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Biometry:
    """AoP and HSD of one frame, or `reason`. Either `reason` is None and AoP is finite, or the reverse.

    Attributes:
        protocol: `robust`, `iugc2024` or `fhps2023`.
        reason: None where measured.
        aop_deg: angle of progression in degrees, (0, 360).
        hsd_min: shortest distance from the inferior PS end to the head's outline, in the caller's unit.
        hsd_perp: distance along the infrapubic line, in the caller's unit; None where it does not exist.
        landmarks: in mask pixels; None where not measured.
        mirrored: the picture shows the PS on the right and the head to its left.
        quality: 0 (barely measurable) to 1 (clean outlines); scales the filter's noise.
        normal_log_odds: natural logarithm of the odds that the picture is normal, as this mask alone shows; 0 where
            it says nothing. Evidence of several frames may be added up.
    """

    protocol: str
    reason: Reason | None = None
    aop_deg: float | None = None
    hsd_min: float | None = None
    hsd_perp: float | None = None
    landmarks: Landmarks | None = None
    mirrored: bool = False
    quality: float = 0.0
    normal_log_odds: float = 0.0


def protocols() -> Mapping[str, str]:
    """The names of the protocols with one line each, for help texts and messages."""
    return {
        "robust": "second-moment axis, hull tangent, isotropic coordinates (default)",
        "iugc2024": "the IUGC 2024 evaluator: farthest contour points, at 512 x 512",
        "fhps2023": "the FH-PS-AOP 2023 scorer: fitted ellipses, at 256 x 256",
    }


def measure(
    labels: NDArray[np.uint8],
    *,
    protocol: str = "robust",
    pixel_size: tuple[float, float] = (1.0, 1.0),
    field_of_view: NDArray[np.bool_] | None = None,
    orientation: Orientation = Orientation.AUTO,
) -> Biometry:
    """Measures AoP and HSD on a label mask; missing or unusable anatomy gives a reason.

    Args:
        labels: (H, W) uint8; 0 background, 1 PS, 2 FH.
        protocol: a name in `protocols()`.
        pixel_size: width and height of a mask pixel in the unit lengths are wanted in: millimetres, or (aspect, 1)
            for pixels made square. Angles are taken in these coordinates. The challenge protocols ignore it: they
            are defined in the pixels of their squeezed square (512 and 256).
        field_of_view: (H, W) bool, True where the scanner shows tissue; only `robust` uses it, to tell a structure
            that ends from one that is cut. The mask's border always counts as a cut.
        orientation: `AUTO` finds out whether the picture is mirrored; only `robust` can measure it if it is.

    Raises:
        MaskError: `labels` or `field_of_view` has another shape, type or codes.
        OptionError: no such protocol, or `pixel_size` is not two positive finite numbers.
    """
    from stream.protocol_challenge import measure_fhps2023, measure_iugc2024
    from stream.protocol_robust import measure_robust

    _check(labels, pixel_size, field_of_view)
    check_orientation(protocol, orientation)
    match protocol:
        case "robust":
            return measure_robust(
                labels, pixel_size=pixel_size, field_of_view=field_of_view, orientation=Orientation(orientation)
            )
        case "iugc2024":
            return measure_iugc2024(labels)
        case "fhps2023":
            return measure_fhps2023(labels)
        case _:
            raise OptionError(f"no protocol {protocol!r}; choose one of: {', '.join(protocols())}")


def check_orientation(protocol: str, orientation: Orientation) -> None:
    """Raises OptionError where a protocol that presumes normal pictures is asked to read mirrored ones."""
    if protocol in CHALLENGE_SIDE_PX and orientation is Orientation.MIRRORED:
        raise OptionError(f"protocol {protocol} is defined on normal pictures only; use robust for mirrored ones")


def _check(labels: NDArray[np.uint8], pixel_size: tuple[float, float], field_of_view: NDArray[np.bool_] | None) -> None:
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.size == 0:
        raise MaskError(f"a label mask is (H, W) uint8 with pixels in it, got {labels.dtype} {labels.shape}")
    if int(labels.max()) > 2:
        raise MaskError(
            f"a label mask holds 0, 1 (PS) and 2 (FH), got {int(labels.max())}; recode it with stream.masks.recode"
        )
    if field_of_view is not None and (field_of_view.shape != labels.shape or field_of_view.dtype != np.bool_):
        raise MaskError(
            f"the field of view must be bool {labels.shape} like the labels, got {field_of_view.dtype}"
            f" {field_of_view.shape}"
        )
    if len(pixel_size) != 2 or not all(math.isfinite(size) and size > 0 for size in pixel_size):
        raise OptionError(f"a pixel's size must be two positive numbers (x, y), got {pixel_size}")
