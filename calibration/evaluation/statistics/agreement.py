"""Agreement of measured and true values: spread, Bland-Altman limits, risk-coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.evaluation.statistics.ranks import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_975 = 1.959963984540054
"""The normal distribution's 97.5 % point: 95 % lie within this many standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How (n,) values lie. `sd` is the sample's (n - 1), None for one value; `p95` the 95th percentile."""

    n: int
    mean: float
    sd: float | None
    median: float
    p95: float


def describe_spread(values: NDArray[np.float64]) -> Spread | None:
    """Describes (N,) values; None where there is none. Percentiles are linear between values."""
    if not len(values):
        return None
    return Spread(
        n=len(values),
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlandAltman:
    """Bias and 95 % limits of agreement of (n,) differences, each with its 95 % confidence interval (low, high)."""

    n: int
    bias: float
    sd: float
    lower: float
    upper: float
    bias_ci95: tuple[float, float]
    lower_ci95: tuple[float, float]
    upper_ci95: tuple[float, float]


def bland_altman(difference: NDArray[np.float64]) -> BlandAltman | None:
    """Limits of agreement of measured minus true values, (N,); None for fewer than two.

    Convention: the unit of the differences; positive where the measured value is larger. Limits = bias +- 1.96 SD;
    standard errors SD / sqrt(n) of the bias and SD sqrt(1 / n + 1.96^2 / (2 (n - 1))) of each limit, times
    Student's t. Frames count as independent, which those of one video are not: the intervals are the narrowest
    that could be true. Worked value: differences 1, 2, 3 give bias 2, SD 1, limits 0.04 and 3.96, and the bias'
    interval 2 +- 2.484. Source: Bland and Altman, Stat Methods Med Res 1999;8:135.
    """
    n = len(difference)
    if n < 2:
        return None
    bias, sd = float(np.mean(difference)), float(np.std(difference, ddof=1))
    lower, upper = bias - NORMAL_975 * sd, bias + NORMAL_975 * sd
    t = student_t_975(n - 1)
    bias_reach = t * sd / math.sqrt(n)
    limit_reach = t * sd * math.sqrt(1 / n + NORMAL_975**2 / (2 * (n - 1)))
    return BlandAltman(
        n=n,
        bias=bias,
        sd=sd,
        lower=lower,
        upper=upper,
        bias_ci95=(bias - bias_reach, bias + bias_reach),
        lower_ci95=(lower - limit_reach, lower + limit_reach),
        upper_ci95=(upper - limit_reach, upper + limit_reach),
    )


def student_t_975(degrees: int) -> float:
    """The 97.5 % point of Student's t with 1 or more degrees of freedom, to 4 digits.

    Convention: t = sqrt(degrees) tan(a), where a has density cos(a)^(degrees - 1) on (-pi/2, pi/2), summed by
    trapezoids. Worked value: 12.706 for 1, 2.228 for 10.
    """
    angle = np.linspace(0.0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (degrees - 1)
    share = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    return math.sqrt(degrees) * math.tan(float(np.interp(0.95, share / share[-1], angle)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RiskCoverage:
    """The error of the most confident frames.

    Attributes:
        coverage: (N,) share of all frames that the 1, 2, ... N most confident are.
        risk: (N,) their mean absolute error.
        area: mean of `risk`: the expected error where the share kept is any with equal chance.
        best_area: the same where the errors themselves had given the order; no confidence does better.
        spearman: rank correlation of confidence with the absolute error, -1 the best; None where it has no sense.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float
    best_area: float
    spearman: float | None

    def at(self, share: float) -> float | None:
        """Mean absolute error of the most confident `share` of all frames; None where fewer were measured."""
        if share > self.coverage[-1] + 1e-9:
            return None
        return float(self.risk[np.searchsorted(self.coverage, share - 1e-9)])


def risk_coverage(
    confidence: NDArray[np.float64], absolute_error: NDArray[np.float64], *, frames: int
) -> RiskCoverage | None:
    """Sorts (N,) measured frames by falling confidence; None where there is none.

    Convention: coverage in (0, N / frames], risk in the errors' unit. Frames of equal confidence come in together:
    each has the risk after the last of them. Worked value: confidences .9, .8, .7 with errors 1, 3, 2 of 4 frames
    give risks 1, 2, 2 at coverages .25, .5, .75; area 5 / 3, best area (1 + 1.5 + 2) / 3.

    Args:
        confidence: (N,) of each frame, in any unit.
        absolute_error: (N,) of each frame, 0 or more.
        frames: how many there were to measure, N or more.
    """
    n = len(absolute_error)
    if not n:
        return None
    order = np.argsort(-confidence, kind="stable")
    running = np.cumsum(absolute_error[order]) / np.arange(1, n + 1)
    falling = confidence[order]
    last_equal = np.searchsorted(-falling, -falling, side="right") - 1
    risk = running[last_equal]
    best = np.cumsum(np.sort(absolute_error)) / np.arange(1, n + 1)
    return RiskCoverage(
        coverage=np.arange(1, n + 1) / frames,
        risk=risk,
        area=float(risk.mean()),
        best_area=float(best.mean()),
        spearman=spearman(confidence, absolute_error),
    )
