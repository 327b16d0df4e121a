"""Measures AoP and HSD on a label mask by one of the named protocols."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from engines.base import describe, grey_fault
from stream.common.errors import MaskError, OptionError
from stream.measurement.biometry import Orientation
from stream.measurement.protocols.base import Protocol
from stream.measurement.protocols.fhps2023 import FHPS2023
from stream.measurement.protocols.iugc2024 import IUGC2024
from stream.measurement.protocols.robust import ROBUST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stream.measurement.biometry import Biometry, MoveEnds


PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (ROBUST, IUGC2024, FHPS2023)}
"""By name; a new one is a module of its own and its entry here."""
DEFAULT_PROTOCOL = ROBUST.name


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in PROTOCOLS:
        raise OptionError(f"no protocol {name!r}; choose one of: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def measure(
    labels: NDArray[np.uint8],
    *,
    protocol: str = DEFAULT_PROTOCOL,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    field_of_view: NDArray[np.bool_] | None = None,
    orientation: Orientation = Orientation.AUTO,
    move_ends: MoveEnds | None = None,
) -> Biometry:
    """Measures AoP and HSD on a label mask; missing or unusable anatomy gives a reason.

    Args:
        labels: (H, W) uint8; 0 background, 1 PS, 2 FH.
        protocol: a name in `PROTOCOLS`.
        pixel_size: width and height of a mask pixel in the unit lengths are wanted in: millimetres, or (aspect, 1)
            for pixels made square. Angles are taken in these coordinates. The challenge protocols ignore it: they
            are defined in the pixels of their squeezed square (512 and 256).
        field_of_view: (H, W) bool, True where the scanner shows tissue; only `robust` uses it, to tell a structure
            that ends from one that is cut. The mask's border always counts as a cut.
        orientation: `AUTO` finds out whether the picture is mirrored; only `robust` can measure it if it is.
        move_ends: corrects the ends of the PS' axis that the protocol finds on the mask, where more is known than the
            mask shows; None leaves them.

    Raises:
        MaskError: `labels` or `field_of_view` has another shape, type or codes.
        OptionError: no such protocol, or `pixel_size` is not two positive finite numbers.
    """
    _check(labels, pixel_size, field_of_view)
    found = check_orientation(protocol, orientation)
    return found.measure(
        labels,
        pixel_size=pixel_size,
        field_of_view=field_of_view,
        orientation=Orientation(orientation),
        move_ends=move_ends,
    )


def check_orientation(protocol: str, orientation: Orientation) -> Protocol:
    """The protocol of that name, which can read pictures of that orientation.

    Raises:
        OptionError: there is none, or it presumes normal pictures and is asked to read mirrored ones.
    """
    found = find_protocol(protocol)
    if found.is_squeezed and orientation is Orientation.MIRRORED:
        raise OptionError(
            f"protocol {protocol} is defined on normal pictures only; use {DEFAULT_PROTOCOL} for mirrored ones"
        )
    return found


def _check(labels: NDArray[np.uint8], pixel_size: tuple[float, float], field_of_view: NDArray[np.bool_] | None) -> None:
    if fault := grey_fault(labels):
        raise MaskError(f"a label mask is (H, W) uint8 with pixels in it, {fault}")
    if int(labels.max()) > 2:
        raise MaskError(
            f"a label mask holds 0, 1 (PS) and 2 (FH), got {int(labels.max())}; "
            "recode it with stream.sources.files.masks.recode"
        )
    if field_of_view is not None and not (
        isinstance(field_of_view, np.ndarray)
        and field_of_view.shape == labels.shape
        and field_of_view.dtype == np.bool_
    ):
        raise MaskError(f"the field of view must be bool {labels.shape} like the labels, got {describe(field_of_view)}")
    is_pair = isinstance(pixel_size, tuple | list | np.ndarray) and len(pixel_size) == 2
    if not is_pair or not all(isinstance(size, Real) and math.isfinite(size) and size > 0 for size in pixel_size):
        raise OptionError(f"a pixel's size must be two positive numbers (x, y), got {pixel_size}")
