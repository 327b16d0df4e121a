"""The fixed-interval smoother: the course of AoP or HSD once all of it has been measured.

The model is that of the causal filter (`stream.tracking.kalman`); a value is estimated from what was measured before
it and after it, so it neither lags nor jumps. Letters as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import TrackError
from stream.tracking.hypothesis import LEAST_WEIGHT, OUTLIER_WEIGHT, edge_weight
from stream.tracking.kalman import Belief, H, innovation, transition, update, update_noise_level
from stream.tracking.tracker import AOP_NOISE_DEG, ENOUGH, LARGEST_VALUE, SHOW_S

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from stream.tracking.kalman import FilterNoise

    Series = NDArray[np.float64]

ROUNDS = 4
"""Times that the weights of outliers are found anew from the smoothed course; later ones change nothing to speak of."""
_DIFFUSE = 100.0  # of the first value's deviation over the noise's: nothing is known of it


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SmoothedCourse:
    """A value over time; all arrays (N,), one row a frame, in the order of the frames.

    Attributes:
        t_s: when each frame was taken, seconds; rises within a segment.
        value: smoothed, in the unit of the course; NaN where no reading near by says anything.
        std: its standard deviation (repeatability); NaN likewise.
        accepted: whether the frame's own reading was used, and was no outlier.
        segment: number of the unbroken run of frames that each belongs to.
    """

    t_s: Series
    value: Series
    std: Series
    accepted: NDArray[np.bool_]
    segment: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def lo95(self) -> Series:
        """Lower ends of the 95 % intervals."""
        return self.value - 1.96 * self.std

    @property
    def hi95(self) -> Series:
        """Upper ends of the 95 % intervals."""
        return self.value + 1.96 * self.std


def smooth_course(
    t_s: ArrayLike,
    value: ArrayLike,
    *,
    quality: ArrayLike | None = None,
    refused: ArrayLike | None = None,
    segment: ArrayLike | None = None,
    noise: FilterNoise = AOP_NOISE_DEG,
) -> SmoothedCourse:
    """Smooths what was read frame by frame, each segment by itself.

    Args:
        t_s: (N,) seconds; finite, and within a segment never going back.
        value: (N,) readings; NaN where a frame has none.
        quality: (N,) 0 to 1, as the filter takes it; None is 1 everywhere.
        refused: (N,) which frames were refused: readings beside them are doubted, as the filter doubts them. A dropped
            frame was not. None takes all without a reading.
        segment: (N,) whole numbers; None is one segment.
        noise: what the filter assumes of the value.

    Raises:
        TrackError: lengths differ, time goes back within a segment, or a number is out of its range.
    """
    times, values = np.asarray(t_s, np.float64), np.asarray(value, np.float64)
    qualities = np.ones(len(times)) if quality is None else np.asarray(quality, np.float64)
    refusals = np.isnan(values) if refused is None else np.asarray(refused, bool)
    segments = np.zeros(len(times), np.int64) if segment is None else np.asarray(segment, np.int64)
    _check(times, values, qualities, refusals, segments)
    weights = np.where(np.isfinite(values), qualities, 0.0)
    found = np.full((2, len(times)), np.nan)
    accepted = np.zeros(len(times), bool)
    for number in dict.fromkeys(segments.tolist()):
        rows = np.flatnonzero(segments == number)
        if (np.diff(times[rows]) < 0).any():
            raise TrackError(f"time goes back within segment {number}; begin a new segment there")
        worth = weights[rows] * _edge_weights(times[rows], refusals[rows])
        found[:, rows], accepted[rows] = _smooth_segment(times[rows], values[rows], worth, noise)
    return SmoothedCourse(t_s=times, value=found[0], std=found[1], accepted=accepted, segment=segments)


def _check(times: Series, values: Series, qualities: Series, *others: NDArray[Any]) -> None:
    """Raises TrackError unless these are columns of one table: times, values, qualities, refusals, segments."""
    columns = (times, values, qualities, *others)
    if times.ndim != 1 or len({each.shape for each in columns}) > 1:
        raise TrackError(
            f"columns of shapes {', '.join(str(each.shape) for each in columns)}; give one of each a frame"
        )
    read = np.isfinite(values)
    if not np.isfinite(times).all() or (np.abs(values[read]) > LARGEST_VALUE).any() or np.isinf(values).any():
        raise TrackError(f"a time is not finite, or a value beyond {LARGEST_VALUE:g}; NaN is for frames without one")
    if not ((qualities[read] >= 0) & (qualities[read] <= 1)).all():
        raise TrackError("a quality lies outside 0 to 1")


def _smooth_segment(
    times: Series, values: Series, weights: Series, noise: FilterNoise
) -> tuple[Series, NDArray[np.bool_]]:
    """Value and deviation (2, n) of one segment, and which readings were accepted (n,)."""
    used = weights >= LEAST_WEIGHT
    if not used.any():
        return np.full((2, len(times)), np.nan), np.zeros(len(times), bool)
    clean = np.ones(len(times))
    for _ in range(ROUNDS):
        means, covariances, variances = _smooth_once(times, values, np.where(used, weights * clean, 0.0), noise)
        # mean of the precision of Student's t given the smoothed course: `student_weight` of `stream.tracking.kalman`
        off = (values - means @ H) ** 2 + np.einsum("i,nij,j->n", H, covariances, H)
        clean = np.where(used, _student_weight(weights * off / variances, noise.dof), 1.0)
    accepted = used & (_student_weight(off / variances, noise.dof) >= OUTLIER_WEIGHT)
    shown = _near_weight(times, np.where(accepted, weights, 0.0)) > ENOUGH
    deviation = np.sqrt(covariances[:, 0, 0].clip(0.0))
    return np.where(shown, np.stack((means[:, 0], deviation)), np.nan), accepted


def _student_weight(squared: Series, dof: float) -> Series:
    return (1.0 + 1.0 / dof) / (1.0 + squared / dof)


def _smooth_once(times: Series, values: Series, weights: Series, noise: FilterNoise) -> tuple[Series, Series, Series]:
    """Means (n, 3), covariances (n, 3, 3) and white variances (n,) under Gaussian noise of given weights.

    Forwards the Kalman filter, backwards the modified Bryson-Frazier recursion, which inverts no matrix.
    Source: Bierman, Fixed interval smoothing with discrete measurements, Int. J. Control 18 (1973).
    """
    gaussian = replace(noise, dof=math.inf)
    passed, level = gaussian, 1.0
    first = float(np.median(values[weights > 0]))
    belief = Belief(
        np.array([first, 0.0, 0.0]),
        np.diag([(_DIFFUSE * noise.white_sd) ** 2, noise.velocity_sd**2, noise.correlated_sd**2]),
    )
    steps, variances = [], np.full(len(times), noise.white_sd**2)
    before_s = since_s = float(times[0])
    for row, t_s in enumerate(times.tolist()):
        F, Q = transition(passed, t_s - before_s)
        belief, before_s = Belief(F @ belief.x, F @ belief.P @ F.T + Q), t_s
        gain: tuple[Series, float, float] | None = None
        variances[row] = passed.white_sd**2
        if weights[row] > 0:
            y, HPH = innovation(belief, float(values[row]))
            S = HPH + passed.white_sd**2 / float(weights[row])
            gain = belief.P @ H / S, y, S
            belief = update(belief, float(values[row]), noise=passed, quality=float(weights[row])).belief
            level = update_noise_level(level, y * y / S, t_s - since_s, noise=noise)
            passed, since_s = gaussian.at_level(level), t_s
        steps.append((belief, F, gain))
    means, covariances = _backwards(steps)
    return means, covariances, variances


def _backwards(steps: list[tuple[Belief, Series, tuple[Series, float, float] | None]]) -> tuple[Series, Series]:
    means, covariances = np.empty((len(steps), 3)), np.empty((len(steps), 3, 3))
    pull, precision = np.zeros(3), np.zeros((3, 3))
    for row in range(len(steps) - 1, -1, -1):
        belief, F, gain = steps[row]
        P = belief.P
        means[row] = belief.x - P @ pull
        covariances[row] = P - P @ precision @ P
        if gain is not None:
            K, y, S = gain
            A = np.eye(3) - np.outer(K, H)
            pull = A.T @ pull - H * (y / S)
            precision = A.T @ precision @ A + np.outer(H, H) / S
        pull, precision = F.T @ pull, F.T @ precision @ F
    return means, covariances


def _edge_weights(times: Series, refused: NDArray[np.bool_]) -> Series:
    """What is left of each reading's worth (n,) by its nearness to a refused frame, before it and after it."""
    worth = np.ones(len(times))
    for order in (slice(None), slice(None, None, -1)):
        edge_s, was_refused = math.nan, False
        for row in range(len(times))[order]:
            if not refused[row]:
                edge_s = float(times[row]) if was_refused else edge_s
                worth[row] *= 1.0 if math.isnan(edge_s) else edge_weight(abs(float(times[row]) - edge_s))
            was_refused = bool(refused[row])
    return worth


def _near_weight(times: Series, weights: Series) -> Series:
    """Sum of the weights within `SHOW_S` of each moment, before it and after it."""
    total = np.r_[0.0, np.cumsum(weights)]
    near: Series = (
        total[np.searchsorted(times, times + SHOW_S, "right")] - total[np.searchsorted(times, times - SHOW_S, "left")]
    )
    return near
