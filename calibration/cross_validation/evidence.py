"""What the masks say for a standard plane, beside the plane head: how strongly PS and FH are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from engines.network.gate import mask_evidence, second_look_log_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.cross_validation.gate import Negatives
    from calibration.cross_validation.predictions import Predictions


def features(logits: NDArray[np.float32], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first five of `engines.network.gate.EVIDENCE`, (n, 5), of class logits (n, 3, h, w) and head logits (n,)."""
    found = mask_evidence(torch.from_numpy(logits)).double().numpy()
    return np.column_stack((plane, found))


def evidence_of(table: Predictions | Negatives) -> NDArray[np.float64]:
    """The gate's evidence, (n, 6): `features` and the second look's expected error; (n, 5) without a second look."""
    if np.isnan(table.views).all():
        return table.features
    spread = second_look_log_spread(torch.from_numpy(np.nan_to_num(table.views))).numpy()
    return np.column_stack((table.features, spread))


def fit_logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], weights: NDArray[np.float64], *, ridge: float = 1.0
) -> NDArray[np.float64]:
    """Weights (k + 1,), the constant last, of a logistic regression by Newton's steps.

    Args:
        x: (n, k).
        y: (n,) whether each is positive.
        weights: (n,) of the rows, at least 0.
        ridge: penalty on the squared weights of standardised columns; the constant goes free.
    """
    mean = np.average(x, axis=0, weights=weights)
    spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights)).clip(1e-6)
    z = np.column_stack(((x - mean) / spread, np.ones(len(x))))
    penalty = ridge * np.diag([*np.ones(x.shape[1]), 0.0])
    beta = np.zeros(z.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        gradient = z.T @ (weights * (p - y)) + penalty @ beta
        hessian = (z * (weights * p * (1 - p))[:, None]).T @ z + penalty + 1e-9 * np.eye(z.shape[1])
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-8:
            break
    slope = beta[:-1] / spread
    return np.array([*slope, beta[-1] - float(slope @ mean)])
