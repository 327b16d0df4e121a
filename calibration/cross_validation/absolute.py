"""The absolute interval of AoP, fitted to out-of-fold errors, and how often it holds the drawn value on other folds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.cross_validation.quality import fit_errors, fused_errors
from calibration.data.bands import BANDS
from calibration.evaluation.statistics.resampling import mean_interval
from stream.measurement.absolute_interval import MOST_SCALE, AbsoluteInterval, position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from calibration.cross_validation.score import ScoredFrame

    Series = NDArray[np.float64]

CONFIDENCE = 0.955
"""Weighted share of the fitted frames within the interval; on frames of other groups some 0.95 are."""
GROUP_POWER = 0.3
"""A frame of a group of n frames weighs n to the minus this: a group's frames share most of their error, so many frames
of one group are not so many errors; yet it is frames of which the interval must hold 0.95."""
POWERS, GROWTHS = (0.2, 0.35, 0.5, 0.75, 1.0), (0.1, 0.25, 0.4)
"""What the width's dependence on the expected error and on AoP is chosen from."""
_MISS_COSTS = 2 / 0.05
DIFFERENCE = "difference of two frames"
DIFFERENCE_DEG = (7.0, 25.0)
"""Differences of AoP between two frames of a group that are judged: as between rest and peak of a push."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Readings:
    """AoP of n frames by one protocol, and what is known of them; arrays (n,).

    Attributes:
        found, drawn: degrees; both finite.
        features: (n, k) of each frame's expected error.
        fused_error: of the fused axis, degrees: what the model of expected errors is fitted to.
        groups, folds: of each frame.
    """

    found: Series
    drawn: Series
    features: Series
    fused_error: Series
    groups: NDArray[np.str_]
    folds: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> Readings:
        """Some of the frames."""
        return Readings(
            found=self.found[chosen],
            drawn=self.drawn[chosen],
            features=self.features[chosen],
            fused_error=self.fused_error[chosen],
            groups=self.groups[chosen],
            folds=self.folds[chosen],
        )


def readings_of(cases: Sequence[ScoredFrame], angles: Series) -> Readings:
    """The frames that are measured.

    Args:
        cases: labelled frames.
        angles: (m, 2) AoP of all frames, found and drawn, degrees; NaN where there is none (`protocol_angles`).
    """
    rows = np.array([case.row for case in cases])
    whole = Readings(
        found=angles[rows, 0],
        drawn=angles[rows, 1],
        features=np.array([case.features for case in cases]),
        fused_error=fused_errors(cases),
        groups=np.array([case.group for case in cases]),
        folds=np.array([case.fold for case in cases]),
    )
    return whole.where(np.isfinite(angles[rows]).all(axis=1))


def fit_absolute(readings: Readings, expected_deg: Series) -> AbsoluteInterval:
    """Fits the interval: of all choices the one with the least interval score, as wide as `CONFIDENCE` asks.

    Source: Gneiting and Raftery, Strictly proper scoring rules, J. Am. Stat. Assoc. 102 (2007), section 6.2.

    Args:
        readings: of frames that no network learned from.
        expected_deg: (n,) expected error of each.
    """
    error = np.abs(readings.found - readings.drawn)
    _, place, size = np.unique(readings.groups, return_inverse=True, return_counts=True)
    weight = size[place].astype(float) ** -GROUP_POWER
    usual = float(np.exp(np.average(np.log(expected_deg), weights=weight)))
    late = np.array([position(aop) for aop in readings.found])
    best: tuple[float, AbsoluteInterval] | None = None
    for power, growth in product(POWERS, GROWTHS):
        scale = np.clip((expected_deg / usual) ** power, 1 / MOST_SCALE, MOST_SCALE) * (1 + growth * late)
        half = _quantile(error / scale, weight, CONFIDENCE)
        cost = 2 * half * scale + _MISS_COSTS * np.maximum(error - half * scale, 0)
        score = float(np.average(cost, weights=weight))
        if best is None or score < best[0]:
            found = AbsoluteInterval(half_deg=half, usual_expected_deg=usual, power=power, growth=growth)
            best = score, found
    assert best is not None
    return best[1]


def fitted_absolute(by_protocol: Mapping[str, Readings]) -> dict[str, dict[str, float]]:
    """The interval of each protocol, fitted to all frames: what ships."""
    return {
        protocol: asdict(fit_absolute(readings, _expected(readings, readings)))
        for protocol, readings in by_protocol.items()
    }


def absolute_table(readings: Readings) -> dict[str, dict[str, Any]]:
    """How often intervals fitted on the other folds hold the drawn value: overall, and by drawn and by found AoP.

    The last row is of differences between two frames of a group, within the intervals of both as if these shared no
    error.
    """
    half = np.full(len(readings.found), np.nan)
    for fold in np.unique(readings.folds):
        own = readings.folds == fold
        others = readings.where(~own) if (~own).any() else readings
        fit = fit_absolute(others, _expected(others, others))
        expected = _expected(others, readings.where(own))
        pairs = zip(readings.found[own].tolist(), expected.tolist(), strict=True)
        half[own] = [fit.half_width_deg(aop, error) for aop, error in pairs]
    inside = np.abs(readings.found - readings.drawn) <= half
    table = {"all": _row(readings, inside, half, np.ones(len(half), bool))}
    for name, angle in (("drawn", readings.drawn), ("found", readings.found)):
        for band, low, high in BANDS:
            table[f"{name} {band}"] = _row(readings, inside, half, (angle >= low) & (angle < high))
    return table | {DIFFERENCE: _differences(readings, half)}


def _differences(readings: Readings, half: Series) -> dict[str, Any]:
    """How often the difference of two frames of a group errs by no more than both half widths, added as squares."""
    error = readings.found - readings.drawn
    inside, widths, groups = [], [], []
    for group in np.unique(readings.groups):
        rows = np.flatnonzero(readings.groups == group)
        apart = readings.found[rows][:, None] - readings.found[rows][None, :]
        above, below = np.nonzero((apart >= DIFFERENCE_DEG[0]) & (apart < DIFFERENCE_DEG[1]))
        width = np.hypot(half[rows[above]], half[rows[below]])
        inside.append(np.abs(error[rows[above]] - error[rows[below]]) <= width)
        widths.append(width)
        groups.append(np.full(len(above), group))
    return _figures(*map(np.concatenate, (inside, widths, groups)))


def _expected(fitted_on: Readings, frames: Readings) -> Series:
    """Expected errors of frames by the model of errors of others."""
    model = fit_errors(fitted_on.features, fitted_on.fused_error)
    return np.array([model.expected_deg(row) for row in frames.features])


def _row(readings: Readings, inside: NDArray[np.bool_], half: Series, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    return _figures(inside[chosen], half[chosen], readings.groups[chosen])


def _figures(inside: NDArray[np.bool_], half: Series, groups: NDArray[np.str_]) -> dict[str, Any]:
    if not len(inside):
        return {"frames": 0}
    return {
        "frames": len(inside),
        "groups": len(set(groups.tolist())),
        "inside": float(inside.mean()),
        "interval": mean_interval(inside.astype(float), groups.tolist()),
        "half_deg": float(half.mean()),
    }


def _quantile(values: Series, weights: Series, share: float) -> float:
    """The value that so large a share of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    return float(np.interp(share, reached, values[order]))
