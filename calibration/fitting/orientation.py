"""Fits the weights that tell a normal picture from a mirrored one (`stream.measurement.orientation_cues`).

Run: python -m calibration.fitting.orientation DATASET. Its pictures must be normal (PS left); their mirror images need
no second fit, because all cues change sign with the picture. Phantoms are added, evenly over AoP 80 to 170, so that a
PS held far off the middle cannot overrule a clean taper. How right they are on groups that they were not fitted to is
measured by `python -m benchmarks.experiments.orientation`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.data import open_dataset
from calibration.data.split import grouped_folds
from stream.measurement.protocols.robust import mask_orientation_cues
from stream.phantom.sample import sample_scene
from stream.phantom.truth import scene_masks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame

PHANTOMS = 240
SEED = 3
RIDGE = 1e-3
"""Weight of the squared (standardised) coefficients; keeps the fit finite where the cues separate perfectly."""


def cues_of(masks: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Skewness, offset and tilt of every mask that shows both structures: (N, 3)."""
    found = [mask_orientation_cues(mask) for mask in masks]
    return np.array([(cues.skewness, cues.offset, cues.tilt) for cues in found if cues is not None]).reshape(-1, 3)


def phantom_masks(count: int, *, size: int = 256) -> list[NDArray[np.uint8]]:
    """Masks of random phantoms in normal orientation, evenly over AoP 80 to 170."""
    rng = np.random.default_rng(SEED)
    return [scene_masks(sample_scene(rng, aop_deg=float(aop)), size) for aop in np.linspace(80, 170, count)]


def fit_weights(cues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression without intercept on cues (N, K) of normal pictures: the K weights.

    Convention: minimises mean log(1 + exp(-w . cues)) plus RIDGE |w|^2 on standardised cues, by Newton's method.
    """
    spread = np.sqrt(np.mean(cues**2, axis=0))
    x = cues / spread
    w = np.zeros(x.shape[1])
    for _ in range(50):
        miss = 1.0 / (1.0 + np.exp(x @ w))
        gradient = -(miss @ x) / len(x) + 2 * RIDGE * w
        hessian = (x * (miss * (1 - miss))[:, None]).T @ x / len(x) + 2 * RIDGE * np.eye(len(w))
        w = w - np.linalg.solve(hessian, gradient)
    return np.asarray(w / spread)


def frames_with_masks(folder: Path) -> list[LabelledFrame]:
    """The frames of a data set whose mask shows both structures.

    Raises:
        DataSetError: it cannot be read.
    """
    frames = open_dataset(folder).frames()
    return [frame for frame in frames if frame.mask is not None and mask_orientation_cues(frame.mask) is not None]


def out_of_fold_log_odds(
    cues: NDArray[np.float64], groups: Sequence[str], more: NDArray[np.float64], *, folds: int, seed: int
) -> NDArray[np.float64]:
    """Log odds of each of N normal pictures, (N,), by weights fitted to the other folds and to `more`.

    Args:
        cues: (N, K), of `cues_of`.
        groups: of each picture; none is torn apart.
        more: (M, K), cues of pictures that are in every fit.
        folds: how many.
        seed: of the folds.
    """
    log_odds = np.empty(len(cues))
    for fold in grouped_folds(groups, folds, seed=seed):
        held = np.isin(np.arange(len(cues)), list(fold))
        log_odds[held] = cues[held] @ fit_weights(np.concatenate([cues[~held], more]))
    return log_odds


def main(folder: Path) -> None:
    """Prints the weights and how many pictures that they were fitted to they get wrong."""
    real = cues_of(frame.mask for frame in frames_with_masks(folder) if frame.mask is not None)
    phantoms = cues_of(phantom_masks(PHANTOMS))
    weights = fit_weights(np.concatenate([real, phantoms]))
    sys.stdout.write(f"weights: skewness {weights[0]:.1f}, offset {weights[1]:.1f}, tilt {weights[2]:.1f}\n")
    for name, cues in (("masks", real), ("phantoms", phantoms)):
        wrong = int(np.count_nonzero(cues @ weights < 0))
        sys.stdout.write(f"{name}: {wrong} of {len(cues)} wrong\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m calibration.fitting.orientation DATASET")
    main(Path(sys.argv[1]))
