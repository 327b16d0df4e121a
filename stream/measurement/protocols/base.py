"""What a measurement protocol is."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stream.measurement.biometry import Biometry, MoveEnds, Orientation


class MeasureMask(typing.Protocol):
    """Measures a label mask that was checked; the arguments are those of `stream.measurement.protocols.measure`."""

    def __call__(
        self,
        labels: NDArray[np.uint8],
        *,
        pixel_size: tuple[float, float],
        field_of_view: NDArray[np.bool_] | None,
        orientation: Orientation,
        move_ends: MoveEnds | None = None,
    ) -> Biometry: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How AoP and HSD are measured on a label mask.

    Attributes:
        name: on the command line and in files.
        summary: one line for help texts.
        side_px: of the square that the whole picture is squeezed into, on which the protocol is defined; None where it
            measures true angles, in isotropic coordinates.
        hsd_px: what the pixels are in which HSD is given; empty where there is no HSD.
        measure: does it.
    """

    name: str
    summary: str
    side_px: int | None
    hsd_px: str
    measure: MeasureMask

    @property
    def is_squeezed(self) -> bool:
        """Whether it is defined on a squeezed square: of the whole picture, not mirrored, and without millimetres."""
        return self.side_px is not None
