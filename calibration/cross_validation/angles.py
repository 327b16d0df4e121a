"""AoP by `fhps2023` from parts: inferior end, axis direction, head ellipse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stream.measurement.geometry import ellipse_tangent, law_of_cosines_deg
from stream.measurement.symphysis_axis import axis_of_ellipse, ellipse_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stream.measurement.geometry import Ellipse
    from stream.measurement.symphysis_axis import Axis


def axis_of(region: NDArray[np.bool_]) -> Axis | None:
    """The axis of a PS in a normal picture by its ellipse, as FH-PS-AOP 2023 has it."""
    ellipse = ellipse_of(region)
    return None if ellipse is None else axis_of_ellipse(ellipse)


def aop_deg(axis: Axis | None, head: Ellipse | None) -> float:
    """AoP at an axis' inferior end to the leading tangent of a head; NaN where a part is missing or there is none.

    Worked value: an axis that ends at (0, -2) pointing down, on the unit circle as head, gives 150: the tangent there
    is 30 degrees off straight down.
    """
    if axis is None or head is None:
        return math.nan
    inferior = (float(axis.inferior[0]), float(axis.inferior[1]))
    superior = (inferior[0] - float(axis.direction[0]), inferior[1] - float(axis.direction[1]))
    tangent = ellipse_tangent(head, inferior)
    return math.nan if tangent is None else law_of_cosines_deg(inferior, superior, tangent)
