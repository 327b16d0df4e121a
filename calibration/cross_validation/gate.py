"""The plane gate out of fold: head, masks and second look in one calibrated probability, and what it lets through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.cross_validation.angles import aop_deg, axis_of
from calibration.cross_validation.evidence import evidence_of, features, fit_logistic
from calibration.cross_validation.frame_table import FrameTable
from calibration.cross_validation.negatives import fold_negatives
from calibration.cross_validation.predictions import (
    SIDE,
    find_refinements,
    fold_frames,
    labels_of,
    mask_network,
    run_network,
    views_of,
)
from calibration.data.layouts.tables import read_table
from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.learning.frames import fit_image
from engines.network.gate import EVIDENCE
from engines.onnx.fitted import CONSTANT
from stream.measurement.symphysis_axis import ellipse_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from calibration.cross_validation.predictions import Predictions

PASSING = 0.98
"""Share of true standard planes that pass on the frames that the gate is fitted on: on others one in a hundred less."""
LEAVING = 0.001
"""Share of true standard planes that an early exit may stop."""
SHARES = {
    "planes, standard": 3.0,
    "planes, other": 3.0,
    "planes, only head": 1.5,
    "PS filled with tissue": 3.0,
    "PS from another frame": 3.0,
}
"""How much all frames of a kind weigh together, beside 1 for the kinds that are not named: real planes and a symphysis
that is missing count more; those labelled `only_head` half, because a symphysis is seen in about a third of them."""
RIDGE = 30.0
"""Penalty on the gate's weights: with less, evidence that few frames speak for sways other folds."""
ONLY_HEAD = "only_head"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Negatives(FrameTable):
    """Gate evidence of m negative frames: no standard planes.

    Attributes:
        kinds: (m,) text.
        folds: (m,) whose networks were asked.
        features: (m, 5) as `Predictions` has them.
        views: (m, V, 7) likewise.
        measurable: (m,) bool; the found masks give an AoP, were the gate to let them pass.
    """

    kinds: NDArray[np.str_]
    folds: NDArray[np.int64]
    features: NDArray[np.float64]
    views: NDArray[np.float64]
    measurable: NDArray[np.bool_]


def predict_negatives(fold: int, *, data: Path, runs: Path) -> Negatives:
    """Runs a fold's networks over negatives made of its held-out frames, and over other anatomy and no signal."""
    frames = [(path, frame) for path, frame in fold_frames(data, fold) if path == "psfhs"]
    images = np.stack([fit_image(frame.image, SIDE) for _, frame in frames])
    drawn = np.stack([frame.mask for _, frame in frames if frame.mask is not None])
    network = mask_network(runs / f"mask-{fold}")
    kinds, found, views, measurable = [], [], [], []
    for kind, pictures in fold_negatives(images, drawn, data=data, fold=fold).items():
        logits, plane, _ = run_network(network, pictures)
        kinds += [kind] * len(pictures)
        found.append(features(logits, plane))
        views.append(views_of(find_refinements(runs, fold), pictures, logits))
        measurable += [
            math.isfinite(aop_deg(axis_of(labels == 1), ellipse_of(labels == 2))) for labels in labels_of(logits)
        ]
    return Negatives(
        kinds=np.array(kinds),
        folds=np.full(len(kinds), fold),
        features=np.concatenate(found),
        views=np.concatenate(views),
        measurable=np.array(measurable),
    )


def only_head_names(data: Path) -> frozenset[str]:
    """The frames of `planes` whose label says that they show a head and no symphysis; their names as `Predictions`'."""
    table = data / "planes" / "labels.csv"
    rows = read_table(table, ("name", "label")) if table.exists() else ()
    return frozenset(f"planes/{row['name']}" for row in rows if row["label"] == ONLY_HEAD)


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A logistic gate.

    Attributes:
        weights: (k + 1,) of the evidence, the constant last.
        threshold: least logit of a frame that passes.
        exit_logit: plane head's logit below which nothing else need be asked.
    """

    weights: NDArray[np.float64]
    threshold: float
    exit_logit: float = -math.inf

    def logits(self, of: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibrated logits (n,) of evidence (n, k)."""
        result: NDArray[np.float64] = of @ self.weights[:-1] + self.weights[-1]
        return result

    @property
    def facts(self) -> dict[str, Any]:
        """As `partum export` takes them: weights by `engines.network.gate.EVIDENCE`, the threshold in [0, 1]."""
        names = (*EVIDENCE[: len(self.weights) - 1], CONSTANT)
        return {
            "weights": dict(zip(names, map(float, self.weights), strict=True)),
            "plane_threshold": 1 / (1 + math.exp(-self.threshold)),
            "exit_logit": self.exit_logit,
        }


def fit_gate(predictions: Predictions, negatives: Negatives, only_head: Collection[str] = ()) -> Gate:
    """Fits the gate on frames that the networks had not learned from.

    Convention: standard planes and others weigh the same, so that a probability of 0.5 means as many of the ones as of
    the others. Within either, kinds weigh as `SHARES` says, and within a kind each group of near-duplicates does the
    same. The threshold lets `PASSING` of the standard planes through, each counted.

    Args:
        predictions: of standard planes and, in `planes`, of others.
        negatives: of the same folds.
        only_head: see `only_head_names`.
    """
    known = predictions.planes >= 0
    kinds = np.concatenate((_kinds(predictions, only_head)[known], negatives.kinds))
    groups = np.concatenate((predictions.groups[known], np.arange(len(negatives.kinds)).astype(str)))
    x = np.concatenate((evidence_of(predictions)[known], evidence_of(negatives)))
    y = np.concatenate((predictions.planes[known] == 1, np.zeros(len(negatives.kinds), bool)))
    weights = np.empty(len(kinds))
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        _, inverse, sizes = np.unique(groups[of_kind], return_inverse=True, return_counts=True)
        weights[of_kind] = SHARES.get(str(kind), 1.0) * 100 / len(sizes) / sizes[inverse]
    weights[y] *= weights[~y].sum() / weights[y].sum()
    gate = fit_logistic(x, y, weights, ridge=RIDGE)
    passing = Gate(gate, 0.0).logits(x[y])
    return Gate(
        gate,
        threshold=float(np.quantile(passing, 1 - PASSING)),
        exit_logit=float(np.quantile(x[y, 0], LEAVING, method="lower")),
    )


def out_of_fold_gate(
    predictions: Predictions, negatives: Negatives, only_head: Collection[str] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far above the threshold each frame lies, logits, by gates fitted on the other folds: (n,) and (m,)."""
    own, others = np.full(len(predictions), np.nan), np.full(len(negatives.kinds), np.nan)
    folds = np.unique(predictions.folds)
    for fold in folds:
        rest = predictions.folds != fold if len(folds) > 1 else np.ones(len(predictions), bool)
        rest_too = negatives.folds != fold if len(folds) > 1 else np.ones(len(others), bool)
        gate = fit_gate(predictions.where(rest), negatives.where(rest_too), only_head)
        for scores, table in ((own, predictions), (others, negatives)):
            chosen = table.folds == fold
            scores[chosen] = gate.logits(evidence_of(table)[chosen]) - gate.threshold
    return own, others


def gate_table(
    predictions: Predictions,
    negatives: Negatives,
    own: NDArray[np.float64],
    others: NDArray[np.float64],
    only_head: Collection[str] = (),
) -> dict[str, Any]:
    """By kind of frame: how many there are, pass (score at least 0), and pass and are measured; AUC on the planes.

    `measured` counts what would be shown: a frame that passes whose masks give an AoP. The AUC is told with and without
    the frames labelled `only_head`.
    """
    measured = np.array(
        [math.isfinite(aop_deg(axis_of(labels == 1), ellipse_of(labels == 2))) for labels in predictions.found]
    )
    own_kinds = _kinds(predictions, only_head)
    kinds = np.concatenate((own_kinds, negatives.kinds))
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
        for words, chosen in (("", labelled), (" without only_head", labelled & (own_kinds != "planes, only head"))):
            table[f"AUC on planes{words}, {name}"] = area_under_roc(column[chosen], predictions.planes[chosen] == 1)
    return table


def _kinds(predictions: Predictions, only_head: Collection[str]) -> NDArray[np.str_]:
    others = np.where(np.isin(predictions.names, list(only_head)), "planes, only head", "planes, other")
    of_planes = np.where(predictions.planes == 1, "planes, standard", others)
    return np.where(np.char.startswith(predictions.names, "planes/"), of_planes, "psfhs")
