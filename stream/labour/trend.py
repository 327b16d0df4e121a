"""How AoP at rest changes by the hour: within one recording, and over several of a day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stream.labour.pushes import resting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stream.labour.pushes import Push
    from stream.tracking.smoother import SmoothedCourse

    Series = NDArray[np.float64]

BLOCK_S = 30.0
"""The rest of a recording is summarised by medians over so long."""
LEAST_BLOCKS = 4
"""A trend within one recording takes so many of them."""
PLACEMENT_SD_DEG = 4.7
"""Standard deviation by which a second scan of one woman by one examiner differs, the probe placed anew.

Source: intra-observer ICC of 0.914 (van Adrichem 2018) at a standard deviation of AoP of 16 degrees:
16 sqrt(1 - 0.914) = 4.7.
"""
_T975 = (12.71, 4.303, 3.182, 2.776)  # 97.5 % quantiles of Student's t for 1 to 4 degrees of freedom


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RestCourse:
    """AoP at rest in one recording, in blocks of `BLOCK_S`; arrays (n,).

    Attributes:
        t_s: middle of each block, seconds on a clock that all recordings of the day share.
        value: median of the smoothed course outside of pushes, degrees.
        typical: AoP at rest over the whole recording, as it is told of it; None takes the mean of the blocks.
    """

    t_s: Series
    value: Series
    typical: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Change of AoP at rest, with its 95 % interval of repeatability.

    Attributes:
        slope_deg_per_h: degrees per hour.
        lo95, hi95: of that: what scans of the same labour would give again; a bias that they share is not in it.
        recordings: it rests on; with several, that the probe was placed anew for each counts in the interval.
        span_s: from the first block to the last.
    """

    slope_deg_per_h: float
    lo95: float
    hi95: float
    recordings: int
    span_s: float


def rest_course(
    course: SmoothedCourse, pushes: Sequence[Push], *, start_s: float = 0.0, typical: float | None = None
) -> RestCourse:
    """The rest of one recording.

    Args:
        course: of AoP in degrees.
        pushes: found in it.
        start_s: of the recording's clock on the day's clock, seconds.
        typical: see `RestCourse`.
    """
    rest = resting(course, pushes)
    t_s, value = course.t_s[rest], course.value[rest]
    blocks = np.floor(t_s / BLOCK_S)
    found = [(t_s[blocks == each].mean(), np.median(value[blocks == each])) for each in np.unique(blocks)]
    table = np.array(found, np.float64).reshape(-1, 2)
    return RestCourse(t_s=table[:, 0] + start_s, value=table[:, 1], typical=typical)


def fit_trend(recordings: Sequence[RestCourse]) -> Trend | None:
    """Fits the trend of a recording, or of several of a day; None where there is too little to say anything.

    Convention: of one recording a straight line through its blocks by least squares, the interval by Student's t with
    the residuals' autocorrelation allowed for. Of several a line through the value that is told of each, with its own
    deviation and `PLACEMENT_SD_DEG`, widened where they scatter more than that.
    """
    known = [each for each in recordings if len(each.t_s)]
    if len(known) > 1:
        return _over_recordings(known)
    return _within(known[0]) if known and len(known[0].t_s) >= LEAST_BLOCKS else None


def _within(rest: RestCourse) -> Trend:
    x, y = rest.t_s / 3600.0, rest.value
    size = len(x)
    off = x - x.mean()
    slope = float(off @ y / (off @ off))
    residual = y - y.mean() - slope * off
    before, after = residual[:-1], residual[1:]
    scale = float(residual @ residual)
    alike = min(max(float(before @ after) / scale, 0.0), 0.9) if scale > 0 else 0.0
    independent = max(size * (1 - alike) / (1 + alike), 3.0)
    deviation = math.sqrt(scale / (independent - 2) / (off @ off) * size / independent) if scale > 0 else 0.0
    return _trend(slope, _t975(independent - 2) * deviation, [rest])


def _over_recordings(recordings: Sequence[RestCourse]) -> Trend | None:
    x = np.array([rest.t_s.mean() / 3600.0 for rest in recordings])
    y = np.array([rest.value.mean() if rest.typical is None else rest.typical for rest in recordings])
    own = np.array([rest.value.var(ddof=1) / len(rest.value) if len(rest.value) > 1 else 0.0 for rest in recordings])
    weights = 1.0 / (own + PLACEMENT_SD_DEG**2)
    off = x - np.average(x, weights=weights)
    spread = float(weights @ off**2)
    if spread <= 0:
        return None
    slope = float(weights @ (off * y) / spread)
    residual = y - np.average(y, weights=weights) - slope * off
    free = len(y) - 2
    scatter = math.sqrt(float(weights @ residual**2) / free) if free else 1.0
    return _trend(slope, max(1.96, _t975(free) * scatter if free else 1.96) / math.sqrt(spread), recordings)


def _trend(slope: float, half: float, recordings: Sequence[RestCourse]) -> Trend:
    t_s = np.concatenate([rest.t_s for rest in recordings])
    return Trend(
        slope_deg_per_h=slope,
        lo95=slope - half,
        hi95=slope + half,
        recordings=len(recordings),
        span_s=float(t_s.max() - t_s.min()),
    )


def _t975(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, right to 0.02; degrees of freedom are rounded down."""
    whole = max(int(freedom), 1)
    return _T975[whole - 1] if whole <= len(_T975) else 1.96 + 2.4 / whole + 3.0 / whole**2
