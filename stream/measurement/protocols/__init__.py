"""Measures AoP and HSD on a label mask by one of the named protocols."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stream.common.errors import MaskError, OptionError
from stream.measurement.biometry import CHALLENGE_SIDE_PX, Orientation
from stream.measurement.protocols.challenge import measure_fhps2023, measure_iugc2024
from stream.measurement.protocols.robust import measure_robust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.measurement.biometry import Biometry


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
            f"a label mask holds 0, 1 (PS) and 2 (FH), got {int(labels.max())}; "
            "recode it with stream.sources.files.masks.recode"
        )
    if field_of_view is not None and (field_of_view.shape != labels.shape or field_of_view.dtype != np.bool_):
        raise MaskError(
            f"the field of view must be bool {labels.shape} like the labels, got {field_of_view.dtype}"
            f" {field_of_view.shape}"
        )
    if len(pixel_size) != 2 or not all(math.isfinite(size) and size > 0 for size in pixel_size):
        raise OptionError(f"a pixel's size must be two positive numbers (x, y), got {pixel_size}")
