"""The fixed-interval smoother: the course of AoP or HSD once all of it has been measured.

The model is that of the causal filter (`stream.tracking.kalman`); a value is estimated from what was measured before
it and after it, so it neither lags nor jumps. Letters as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stream.common.errors import TrackError
from stream.tracking.hypothesis import LEAST_WEIGHT, OUTLIER_WEIGHT, edge_weight
from stream.tracking.kalman import H, transition_terms, update_noise_level
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

    Forwards the Kalman filter, backwards the modified Bryson-Frazier recursion, which inverts no matrix; both in single
    numbers, because an hour of video has a hundred thousand frames.
    Source: Bierman, Fixed interval smoothing with discrete measurements, Int. J. Control 18 (1973).
    """
    steps = np.diff(times, prepend=times[0])
    terms = np.array(transition_terms(noise, steps, exp=np.exp, expm1=np.expm1))
    forward, gains, variances = _forwards(terms, times, values, weights, noise)
    pull, precision = _backwards(terms[:3], gains)
    x, P = forward[:, :3], forward[:, list(_SYMMETRIC)].reshape(-1, 3, 3)
    means = x - np.einsum("nij,nj->ni", P, pull)
    covariances = P - P @ precision @ P
    return means, covariances, variances


_SYMMETRIC = (3, 4, 5, 4, 6, 7, 5, 7, 8)  # places of P00, P01, P02, P11, P12, P22 after the three of x


def _forwards(
    terms: Series, times: Series, values: Series, weights: Series, noise: FilterNoise
) -> tuple[Series, Series, Series]:
    """Filtered x and P as rows of 9, gains as rows (K0, K1, K2, y, S), 0 without a reading, and white variances."""
    R_nominal = noise.white_sd**2
    p00, p11, p22 = (_DIFFUSE * noise.white_sd) ** 2, noise.velocity_sd**2, noise.correlated_sd**2
    x0, x1, x2, p01, p02, p12 = float(np.median(values[weights > 0])), 0.0, 0.0, 0.0, 0.0, 0.0
    forward, gains, variances = [], [], []
    level, since_s = 1.0, float(times[0])
    rows = zip(*terms.tolist(), times.tolist(), values.tolist(), weights.tolist(), strict=True)
    for e, a, r, q00, q01, q11, q22, t_s, z, weight in rows:
        x0, x1, x2 = x0 + a * x1, e * x1, r * x2
        p00, p01, p02 = p00 + a * (2.0 * p01 + a * p11) + q00, e * (p01 + a * p11) + q01, r * (p02 + a * p12)
        p11, p12, p22 = e * e * p11 + q11, e * r * p12, r * r * p22 + max(level, 1.0) * q22
        variances.append(R_nominal * level)
        gain = _NO_GAIN
        if weight > 0.0:
            g0, g1, g2 = p00 + p02, p01 + p12, p02 + p22
            y, S = z - x0 - x2, g0 + g2 + R_nominal * level / weight
            k0, k1, k2 = g0 / S, g1 / S, g2 / S
            gain = k0, k1, k2, y, S
            x0, x1, x2 = x0 + k0 * y, x1 + k1 * y, x2 + k2 * y
            p00, p01, p02 = p00 - k0 * g0, p01 - k0 * g1, p02 - k0 * g2
            p11, p12, p22 = p11 - k1 * g1, p12 - k1 * g2, p22 - k2 * g2
            level, since_s = update_noise_level(level, y * y / S, t_s - since_s, noise=noise), t_s
        forward.append((x0, x1, x2, p00, p01, p02, p11, p12, p22))
        gains.append(gain)
    return np.array(forward), np.array(gains), np.array(variances)


_NO_GAIN = (0.0, 0.0, 0.0, 0.0, math.inf)  # of a frame without a reading


def _backwards(moves: Series, gains: Series) -> tuple[Series, Series]:
    """What later readings say of each moment: pulls (n, 3) and precisions (n, 3, 3).

    With A = I - K H: pull = A' pull - H y / S and precision = A' precision A + H' H / S at a reading, then F' from the
    left and F from the right, to the moment before.
    """
    pulls, precisions = [], []
    l0 = l1 = l2 = m00 = m01 = m02 = m11 = m12 = m22 = 0.0
    for (e, a, r), (k0, k1, k2, y, S) in zip(moves.T[::-1].tolist(), gains[::-1].tolist(), strict=True):
        pulls.append((l0, l1, l2))
        precisions.append((m00, m01, m02, m01, m11, m12, m02, m12, m22))
        v0, v1, v2 = m00 * k0 + m01 * k1 + m02 * k2, m01 * k0 + m11 * k1 + m12 * k2, m02 * k0 + m12 * k1 + m22 * k2
        both = k0 * v0 + k1 * v1 + k2 * v2 + 1.0 / S
        off = k0 * l0 + k1 * l1 + k2 * l2 + y / S
        l0, l2 = l0 - off, l2 - off
        m00, m01, m02 = m00 - 2.0 * v0 + both, m01 - v1, m02 - v0 - v2 + both
        m12, m22 = m12 - v1, m22 - 2.0 * v2 + both
        l1, l2 = a * l0 + e * l1, r * l2
        m11, m12, m22 = a * a * m00 + 2.0 * a * e * m01 + e * e * m11, r * (a * m02 + e * m12), r * r * m22
        m01, m02 = a * m00 + e * m01, r * m02
    return np.array(pulls[::-1]), np.array(precisions[::-1]).reshape(-1, 3, 3)


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
