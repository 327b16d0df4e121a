"""The Kalman filter of a track: pure functions on a belief about one number.

The state is x = [value, velocity, error]:

- the *value* moves with a velocity that decays (an integrated Ornstein-Uhlenbeck process), so a prediction
  across refused frames slows down instead of running away;
- the *error* is the part of the measurement error that lasts: neighbouring frames are segmented wrongly in
  the same way, so their errors are alike for about 0.3 s. A filter that takes them for independent claims
  intervals that are far too narrow; one that knows their correlation time is right at any frame rate.

A measurement is z = value + error + white noise. The white part has heavy tails (Student's t), so a wild
frame pulls the value only a little.

Letters: x state, P its covariance, F transition, Q process noise, H measurement row, R white noise variance,
z measurement, y innovation, S its variance, K gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from numpy.typing import NDArray

H = np.array([1.0, 0.0, 1.0])
"""The measurement row: a reading is the value and the error that lasts."""
_IDENTITY = np.eye(3)
_WEIGHT_ROUNDS = 4  # of fixed-point iteration; after them the weight moves by 0.01 at most
_USUAL_SURPRISE = 0.88  # mean for Gaussian innovations with 3 % outliers, at 4 degrees of freedom
_LEVEL_RANGE = (0.25, 9.0)  # variance: half to three times the nominal standard deviation
_LEVEL_STEP_S = 0.1  # a measurement after a gap teaches no more than this much time would


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterNoise:
    """What the filter assumes of a signal and of its measurements, in the unit of the tracked value.

    Attributes:
        white_sd: standard deviation of the error that is new in every frame; positive.
        correlated_sd: standard deviation of the error that neighbouring frames share; 0 for none.
        velocity_sd: standard deviation of the velocity in the long run, per second; 0 for a still value.
        correlation_s: time in which the correlation of the shared error falls to 1/e; positive.
        velocity_decay_s: time in which a velocity falls to 1/e; positive.
        dof: degrees of freedom of Student's t for the white error; `math.inf` makes it Gaussian.
        memory_s: time over which the level of the noise is learned; `math.inf` keeps it as given here.
    """

    white_sd: float
    correlated_sd: float
    velocity_sd: float
    correlation_s: float = 0.316
    velocity_decay_s: float = 0.7
    dof: float = 4.0
    memory_s: float = 5.0

    def __post_init__(self) -> None:
        positive = (self.white_sd, self.correlation_s, self.velocity_decay_s, self.dof, self.memory_s)
        if not (all(v > 0 for v in positive) and self.correlated_sd >= 0 and self.velocity_sd >= 0):
            raise ValueError(f"filter noise takes positive times and deviations, got {self}")

    def scaled(self, factor: float) -> Self:
        """Returns the noise of the same signal in another unit: `factor` of it make one of the old."""
        return replace(
            self,
            white_sd=self.white_sd * factor,
            correlated_sd=self.correlated_sd * factor,
            velocity_sd=self.velocity_sd * factor,
        )

    def at_level(self, level: float) -> Self:
        """Returns the noise with measurement errors of `level` times the variance; the signal stays.

        Below 1 only the white error shrinks: an error that lasts cannot be told from the signal by looking at
        innovations, so it is never believed to be smaller than it is given here.
        """
        return replace(
            self,
            white_sd=self.white_sd * math.sqrt(level),
            correlated_sd=self.correlated_sd * math.sqrt(max(level, 1.0)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """Mean x (3,) and covariance P (3, 3) of [value, velocity, error] at one moment."""

    x: NDArray[np.float64]
    P: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Update:
    """What one measurement did.

    Attributes:
        belief: after it.
        weight: how much of a clean measurement it counted for, (0, 1 + 1/dof].
        nis: normalised innovation squared, y^2 / S before weighing; 1 on average for Gaussian noise.
    """

    belief: Belief
    weight: float
    nis: float


def transition(noise: FilterNoise, dt_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns F (3, 3) and Q (3, 3) of x = [value, velocity, error] over `dt_s` seconds, 0 or more.

    Convention: the exact discretisation of the continuous model, so two steps of dt equal one of 2 dt. With
    decay time T and e = exp(-dt/T), value += T (1 - e) velocity and velocity *= e; Q is fed by white noise of
    density 2 velocity_sd^2 / T. The error decays by exp(-dt / correlation_s) and is fed so that its variance
    stays correlated_sd^2. dt = 0 gives F = I and Q = 0. Worked value: T = 0.7 s, dt = 0.7 s, a velocity of
    10 per second moves the value by 4.425 and is 3.679 after it.
    Source: the Singer model with acceleration replaced by velocity; Bar-Shalom, Li and Kirubarajan,
    Estimation with Applications to Tracking and Navigation, section 8.2.
    """
    e, a, r, q00, q01, q11, q22 = transition_terms(noise, dt_s)
    F = np.array([[1.0, a, 0.0], [0.0, e, 0.0], [0.0, 0.0, r]])
    Q = np.array([[q00, q01, 0.0], [q01, q11, 0.0], [0.0, 0.0, q22]])
    return F, Q


def transition_terms(
    noise: FilterNoise, dt_s: Any, *, exp: Callable[[Any], Any] = math.exp, expm1: Callable[[Any], Any] = math.expm1
) -> tuple[Any, ...]:
    """The numbers of which F and Q are made: e, T (1 - e), exp(-dt / correlation_s), Q00, Q01, Q11, Q22.

    Args:
        noise: of the signal.
        dt_s: seconds; an array with NumPy's functions.
        exp: of one number, or of an array.
        expm1: likewise.
    """
    T = noise.velocity_decay_s
    e, a, b = exp(-dt_s / T), -expm1(-dt_s / T), -expm1(-2.0 * dt_s / T)
    r, c = exp(-dt_s / noise.correlation_s), -expm1(-2.0 * dt_s / noise.correlation_s)
    s2 = noise.velocity_sd**2
    q00 = 2.0 * s2 * T * (dt_s - 2.0 * T * a + 0.5 * T * b)
    return e, T * a, r, q00, s2 * T * a * a, s2 * b, noise.correlated_sd**2 * c


def initial_belief(z: float, *, noise: FilterNoise, quality: float = 1.0) -> Belief:
    """Returns the belief after one measurement beside which nothing is known.

    Convention: the value is z, the velocity 0 with its long-run variance. The variance of the value is four
    times that of a measurement, because the first one may be an outlier; it moves against the shared error,
    since value = z - error - white noise. `quality` in (0, 1] divides the white noise variance. Worked value:
    white_sd 2, correlated_sd 2.5: std 6.4; with quality 0.1: 13.6.
    """
    shared = noise.correlated_sd**2
    P = np.diag([4.0 * (noise.white_sd**2 / quality + shared), noise.velocity_sd**2, shared])
    P[0, 2] = P[2, 0] = -shared
    return Belief(np.array([z, 0.0, 0.0]), P)


def predict(belief: Belief, dt_s: float, *, noise: FilterNoise) -> Belief:
    """Returns the belief `dt_s` seconds later, 0 or more, with nothing measured in between."""
    F, Q = transition(noise, dt_s)
    # x = F x;  P = F P F' + Q
    return Belief(F @ belief.x, F @ belief.P @ F.T + Q)


def innovation(belief: Belief, z: float) -> tuple[float, float]:
    """Returns y = z - H x, by which a measurement differs from what is expected, and H P H', the variance of that."""
    x, P = belief.x, belief.P
    return z - float(x[0] + x[2]), float(P[0, 0] + 2.0 * P[0, 2] + P[2, 2])


def update(belief: Belief, z: float, *, noise: FilterNoise, quality: float = 1.0) -> Update:
    """Takes a measurement of the belief's moment into it.

    Convention: z in the unit of the value; `quality` in (0, 1] divides the white noise variance. So does the
    weight, which is small for a measurement far off; with infinite `dof` it is 1 and this is the plain Kalman
    filter. The covariance stays symmetric and positive in spite of rounding (Joseph form). Worked value:
    P = diag(4, 0, 0), white_sd 2, infinite dof: the value moves half way to z.
    """
    x, P = belief.x, belief.P
    R = noise.white_sd**2 / quality
    y, HPH = innovation(belief, z)
    PH = P @ H
    weight = student_weight(y, predicted_variance=HPH, white_variance=R, dof=noise.dof)
    Rw = R / weight
    # S = H P H' + R;  K = P H' / S
    K = PH / (HPH + Rw)
    # P = (I - K H) P (I - K H)' + K R K'
    A = _IDENTITY - np.outer(K, H)
    P = A @ P @ A.T + Rw * np.outer(K, K)
    return Update(belief=Belief(x + K * y, (P + P.T) / 2.0), weight=weight, nis=y * y / (HPH + R))


def student_weight(y: float, *, predicted_variance: float, white_variance: float, dof: float) -> float:
    """Returns the weight of a measurement under Student's t noise: its white variance is divided by it.

    Convention: `y` is the innovation, `predicted_variance` H P H', `white_variance` R, positive; weight in
    (0, 1 + 1/dof], 1 for infinite `dof`. It is the mean of the t distribution's hidden precision given the
    residual left after the update, by fixed-point iteration from 1. Worked value: R = 4, H P H' = 4, dof = 4:
    0.985 for y = 3, 0.053 for y = 20.
    Source: Agamennoni, Nieto and Nebot, Approximate inference in state-space models with heavy-tailed noise,
    IEEE Transactions on Signal Processing 60 (2012).
    """
    weight = 1.0
    for _ in range(_WEIGHT_ROUNDS):
        R = white_variance / weight
        k = R / (predicted_variance + R)
        # expected squared residual after the update: (k y)^2 + k H P H'
        squared = (k * y * k * y + k * predicted_variance) / white_variance
        weight = (1.0 + 1.0 / dof) / (1.0 + squared / dof)
    return weight


def update_noise_level(level: float, nis: float, dt_s: float, *, noise: FilterNoise) -> float:
    """Returns the noise level, relative to `noise`, after one more innovation.

    Convention: `level` is what `FilterNoise.at_level` takes; 0.25 to 9, so standard deviations are learned
    between half and three times the nominal ones. It grows where the normalised
    innovation squared is larger than usual and shrinks where it is smaller, e-fold in `memory_s` per unit of
    difference; the t score bounds what an outlier can do. Infinite `memory_s` returns `level`. Worked value:
    level 1, nis 0, dt 0.1 s, memory 5 s: 0.983.
    """
    surprise = (1.0 + 1.0 / noise.dof) * nis / (1.0 + nis / noise.dof)
    step = min(dt_s, _LEVEL_STEP_S) / noise.memory_s
    low, high = _LEVEL_RANGE
    return min(max(level * math.exp(step * (surprise - _USUAL_SURPRISE)), low), high)
