"""Weight of the second look in the fused axis, by inverse error variance out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def inverse_variance_share(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The share of the second of two estimates whose weighted mean errs least in square.

    Convention: errors (n,) of both on the same frames, signed; the errors' correlation counts, and the share is kept
    in [0, 1]. Worked value: independent errors of variance 3 and 1 give 0.75.
    """
    v1, v2, both = (first**2).mean(), (second**2).mean(), (first * second).mean()
    below = v1 + v2 - 2 * both
    return float(np.clip((v1 - both) / below, 0.0, 1.0)) if below > 0 else 0.5
