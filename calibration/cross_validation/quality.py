"""Expected AoP error of a frame from its own prediction, and how well that sorts the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.cross_validation.angles import aop_deg
from calibration.cross_validation.score import fused_axes
from stream.measurement.expected_error import FEATURES, ErrorModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calibration.cross_validation.score import ScoredFrame

DOUBTS = ("disagreement", "spread", "expected", "end")
"""Features that the expected error is made of: those that say how far the readings of the symphysis are apart."""
LEAST_SLOPE = 0.2
"""Of the logarithm of the expected error against the mean of the standardised uncertainty scores."""
SUREST = 0.05
"""Frames of so small a share of all have quality 1."""


def quality_table(errors: NDArray[np.float64], doubt: NDArray[np.float64]) -> dict[str, float]:
    """Mean absolute errors of the surer half, of the other half, and of all, by an uncertainty score."""
    known = np.isfinite(errors) & np.isfinite(doubt)
    order = np.argsort(doubt[known], kind="stable")
    sorted_errors = np.abs(errors[known])[order]
    half = len(sorted_errors) // 2
    return {
        "all": float(sorted_errors.mean()),
        "surer half": float(sorted_errors[:half].mean()),
        "other half": float(sorted_errors[half:].mean()),
        "ratio": float(sorted_errors[:half].mean() / sorted_errors.mean()),
    }


def quality_of(cases: Sequence[ScoredFrame]) -> dict[str, dict[str, float]]:
    """How well each feature, and the expected error by a model of the other folds, sort the fused axis' errors."""
    errors, features, folds = fused_errors(cases), _features(cases), np.array([case.fold for case in cases])
    foretold = np.full(len(cases), np.nan)
    for fold in np.unique(folds):
        others = (folds != fold) | (len(np.unique(folds)) == 1)
        model = fit_errors(features[others], errors[others])
        own = np.flatnonzero((folds == fold) & np.isfinite(features).all(axis=1))
        foretold[own] = [model.expected_deg(row) for row in features[own]]
    tables = {name: quality_table(errors, features[:, column]) for column, name in enumerate(FEATURES)}
    return tables | {"foretold": quality_table(errors, foretold)}


def fitted_errors(cases: Sequence[ScoredFrame]) -> ErrorModel:
    """The model of errors of all cases: what ships."""
    return fit_errors(_features(cases), fused_errors(cases))


def fit_errors(features: NDArray[np.float64], errors: NDArray[np.float64]) -> ErrorModel:
    """Fits the expected absolute error: exponential in the sum of the standardised `DOUBTS`, by Newton's steps.

    Convention: all uncertainty scores weigh alike and only the slope of their sum and the level are fitted (gamma
    regression with a logarithmic link). The errors are of patients more than of frames, and of those there are too few
    to weigh each score: weights that are free turn their signs from fold to fold. The slope is at least `LEAST_SLOPE`,
    so that quality never rises with an uncertainty score.

    Args:
        features: (n, k) as `error_features` gives them; rows with NaN had no second look.
        errors: (n,) of AoP, degrees, signed or not; NaN where it was not measured.
    """
    size, measured = np.abs(errors), np.isfinite(errors)
    known = measured & np.isfinite(features).all(axis=1)
    columns = [FEATURES.index(name) for name in DOUBTS]
    x, y = features[known][:, columns], size[known].clip(0.1)
    mean, spread = x.mean(axis=0), x.std(axis=0).clip(1e-6)
    score = ((x - mean) / spread).mean(axis=1)
    z = np.column_stack((score, np.ones(len(score))))
    beta = np.array([0.0, np.log(y.mean())])
    for _ in range(50):
        ratio = y / np.exp(z @ beta)
        step = np.linalg.solve((z * ratio[:, None]).T @ z + 1e-6 * np.eye(2), z.T @ (ratio - 1))
        beta += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    slope = max(float(beta[0]), LEAST_SLOPE)
    level = float(np.log(y.mean() / np.exp(slope * score).mean()))  # the mean is kept, whatever the slope
    weights = slope / len(DOUBTS) / spread
    foretold = np.exp(slope * score + level)
    return ErrorModel(
        weights=dict(zip(DOUBTS, map(float, weights), strict=True)),
        constant=float(level - weights @ mean),
        surest_deg=float(np.quantile(foretold, SUREST)),
        mask_only_deg=float(max(size[measured].mean(), np.quantile(foretold, 0.9))),
    )


def _features(cases: Sequence[ScoredFrame]) -> NDArray[np.float64]:
    return np.array([case.features for case in cases])


def fused_errors(cases: Sequence[ScoredFrame]) -> NDArray[np.float64]:
    """AoP errors of the fused axis, degrees; NaN where there is none."""
    pairs = zip(cases, fused_axes(cases), strict=True)
    return np.array([aop_deg(axis, case.head) - case.truth_deg for case, axis in pairs])
