"""The plane gate out of fold: plane head and mask evidence in one calibrated probability, and what it lets through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.cross_validation.angles import aop_deg, axis_of
from calibration.cross_validation.evidence import features, fit_logistic
from calibration.cross_validation.frame_table import FrameTable
from calibration.cross_validation.negatives import fold_negatives
from calibration.cross_validation.predictions import SIDE, fold_frames, labels_of, mask_network, run_network
from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.learning.frames import fit_image
from stream.measurement.symphysis_axis import ellipse_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.cross_validation.predictions import Predictions

PASSING = 0.97
"""Share of true standard planes that are to pass."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Negatives(FrameTable):
    """What is said of m frames that are no standard planes.

    Attributes:
        kinds: (m,) text.
        folds: (m,) whose networks were asked.
        features: (m, 5) of the gate.
        measurable: (m,) bool; the found masks give an AoP, were the gate to let them pass.
    """

    kinds: NDArray[np.str_]
    folds: NDArray[np.int64]
    features: NDArray[np.float64]
    measurable: NDArray[np.bool_]


def predict_negatives(fold: int, *, data: Path, runs: Path) -> Negatives:
    """Runs a fold's network over negatives made of its held-out frames, and over other anatomy and no signal."""
    frames = [(path, frame) for path, frame in fold_frames(data, fold) if path == "psfhs"]
    images = np.stack([fit_image(frame.image, SIDE) for _, frame in frames])
    drawn = np.stack([frame.mask for _, frame in frames if frame.mask is not None])
    network = mask_network(runs / f"mask-{fold}")
    kinds, found, measurable = [], [], []
    for kind, pictures in fold_negatives(images, drawn, data=data, fold=fold).items():
        logits, plane, _ = run_network(network, pictures)
        kinds += [kind] * len(pictures)
        found.append(features(logits, plane))
        measurable += [
            math.isfinite(aop_deg(axis_of(labels == 1), ellipse_of(labels == 2))) for labels in labels_of(logits)
        ]
    return Negatives(
        kinds=np.array(kinds),
        folds=np.full(len(kinds), fold),
        features=np.concatenate(found),
        measurable=np.array(measurable),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A logistic gate.

    Attributes:
        weights: (6,) of the features, the constant last.
        threshold: least logit of a frame that passes.
    """

    weights: NDArray[np.float64]
    threshold: float

    def logits(self, of: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibrated logits (n,) of features (n, 5)."""
        result: NDArray[np.float64] = of @ self.weights[:-1] + self.weights[-1]
        return result


def fit_gate(predictions: Predictions, negatives: Negatives) -> Gate:
    """Fits the gate; the threshold lets `PASSING` of the true planes through.

    Frames of each kind weigh one together, but those of `planes`, which are real, three times as much.
    """
    known = predictions.planes >= 0
    kinds = np.concatenate((_kinds(predictions)[known], negatives.kinds))
    x = np.concatenate((predictions.features[known], negatives.features))
    y = np.concatenate((predictions.planes[known] == 1, np.zeros(len(negatives.kinds), bool)))
    weights = np.empty(len(kinds))
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        weights[of_kind] = (3.0 if kind.startswith("planes") else 1.0) * 100 / of_kind.sum()
    weights[y] *= weights[~y].sum() / weights[y].sum()
    gate = fit_logistic(x, y, weights)
    true = Gate(gate, 0.0).logits(x[y])
    return Gate(gate, float(np.quantile(true, 1 - PASSING)))


def out_of_fold_gate(predictions: Predictions, negatives: Negatives) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far above the threshold each frame lies, logits, by gates fitted on the other folds: (n,) and (m,)."""
    own, others = np.full(len(predictions), np.nan), np.full(len(negatives.kinds), np.nan)
    folds = np.unique(predictions.folds)
    for fold in folds:
        rest = predictions.folds != fold if len(folds) > 1 else np.ones(len(predictions), bool)
        rest_too = negatives.folds != fold if len(folds) > 1 else np.ones(len(others), bool)
        gate = fit_gate(predictions.where(rest), negatives.where(rest_too))
        for scores, table in ((own, predictions), (others, negatives)):
            chosen = table.folds == fold
            scores[chosen] = gate.logits(table.features[chosen]) - gate.threshold
    return own, others


def gate_table(
    predictions: Predictions, negatives: Negatives, own: NDArray[np.float64], others: NDArray[np.float64]
) -> dict[str, Any]:
    """By kind of frame: how many there are, pass (score at least 0), and pass and are measured; AUC on the planes.

    `measured` counts what would be shown: a frame that passes whose masks give an AoP.
    """
    measured = np.array(
        [math.isfinite(aop_deg(axis_of(labels == 1), ellipse_of(labels == 2))) for labels in predictions.found]
    )
    kinds = np.concatenate((_kinds(predictions), negatives.kinds))
    scores, shown = np.concatenate((own, others)), np.concatenate((measured, negatives.measurable))
    table: dict[str, Any] = {}
    for kind in dict.fromkeys(kinds.tolist()):
        chosen = kinds == kind
        passes = scores[chosen] >= 0
        table[kind] = {
            "frames": int(chosen.sum()),
            "pass": float(passes.mean()),
            "pass and measured": float((passes & shown[chosen]).mean()),
        }
    labelled = (predictions.planes >= 0) & np.char.startswith(predictions.names, "planes/")
    for name, column in (("gate", own), ("plane head", predictions.features[:, 0])):
        table[f"AUC on planes, {name}"] = area_under_roc(column[labelled], predictions.planes[labelled] == 1)
    return table


def _kinds(predictions: Predictions) -> NDArray[np.str_]:
    is_plane = np.char.startswith(predictions.names, "planes/")
    names = np.where(predictions.planes == 1, "standard", "other")
    return np.where(is_plane, np.char.add("planes, ", names), "psfhs")
