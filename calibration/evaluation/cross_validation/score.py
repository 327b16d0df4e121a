"""How right out-of-fold predictions are: AoP by bands, looks and parts, masks, planes, orientation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.data.bands import BANDS, band_of
from calibration.evaluation.cross_validation.angles import Axis, aop_deg, axis_of, ellipse_of, turn_deg
from calibration.evaluation.cross_validation.fusion import (
    Fusion,
    SecondLook,
    inverse_variance_share,
    redrawn,
    second_look,
)
from calibration.evaluation.metrics import score_labels
from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.evaluation.statistics.resampling import mean_interval
from stream.measurement.protocols import PROTOCOLS, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calibration.evaluation.cross_validation.predictions import Predictions
    from stream.measurement.geometry import Ellipse


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One labelled frame, the `row` of its table: what is drawn, what is found."""

    row: int
    drawn_axis: Axis
    drawn_head: Ellipse
    mask_axis: Axis | None
    head: Ellipse | None
    look: SecondLook | None
    fold: int
    group: str
    scanner: str
    truth_deg: float


def cases_of(predictions: Predictions) -> list[Case]:
    """The frames with a drawn mask that can be measured."""
    cases = []
    for row in range(len(predictions)):
        drawn, found = predictions.drawn[row], predictions.found[row]
        axis, head = axis_of(drawn == 1), ellipse_of(drawn == 2)
        truth = aop_deg(axis, head)
        if axis is None or head is None or not math.isfinite(truth):
            continue
        cases.append(
            Case(
                row,
                axis,
                head,
                axis_of(found == 1),
                ellipse_of(found == 2),
                second_look(predictions.views[row]),
                int(predictions.folds[row]),
                str(predictions.groups[row]),
                str(predictions.looks[row]),
                truth,
            )
        )
    return cases


def fitted_fusion(cases: Sequence[Case]) -> Fusion:
    """The weights by which the joint axis errs least in square on these cases."""
    both = [case for case in cases if case.mask_axis is not None and case.look is not None]
    turns = np.array(
        [
            [turn_deg(case.drawn_axis.direction, axis.direction) for axis in (case.mask_axis, case.look.axis)]  # type: ignore[union-attr]
            for case in both
        ]
    ).reshape(-1, 2)
    ends = np.array(
        [[axis.inferior - case.drawn_axis.inferior for axis in (case.mask_axis, case.look.axis)] for case in both]  # type: ignore[union-attr]
    ).reshape(-1, 2, 2)
    if not both:
        return Fusion(0.0, 0.0)
    return Fusion(
        inverse_variance_share(turns[:, 0], turns[:, 1]),
        inverse_variance_share(ends[:, 0].ravel(), ends[:, 1].ravel()),
    )


def fusions(cases: Sequence[Case]) -> dict[int, Fusion]:
    """The weights for each fold, fitted on the others; with one fold, on itself."""
    folds = {case.fold for case in cases}
    return {fold: fitted_fusion([case for case in cases if case.fold != fold or len(folds) == 1]) for fold in folds}


def fused_axes(cases: Sequence[Case]) -> list[Axis | None]:
    """Each case's joint axis."""
    fits = fusions(cases)
    return [fits[case.fold].join(case.mask_axis, case.look) for case in cases]


def with_redrawn(predictions: Predictions, cases: Sequence[Case]) -> Predictions:
    """The cases' frames with the PS drawn anew on the joint axis."""
    fits = fusions(cases)
    found = predictions.found.copy()
    for case, axis in zip(cases, fused_axes(cases), strict=True):
        if axis is not None and case.look is not None:
            share = fits[case.fold].inferior
            found[case.row] = redrawn(found[case.row], axis, case.look, length_share=share)
    return replace(predictions, found=found)


def error_table(cases: Sequence[Case], axes: Sequence[Axis | None]) -> dict[str, Any]:
    """AoP errors with found heads and these axes: overall, by band of the drawn AoP, and by scanner."""
    found = np.array([aop_deg(axis, case.head) for case, axis in zip(cases, axes, strict=True)])
    truth = np.array([case.truth_deg for case in cases])
    groups = [case.group for case in cases]
    bands = np.array([band_of(value) for value in truth])
    scanners = np.array([case.scanner for case in cases])
    table = {"all": error_figures(found, truth, groups)}
    for name, _, _ in BANDS:
        table[name] = error_figures(found, truth, groups, bands == name)
    for scanner in np.unique(scanners):
        table[f"look {scanner}"] = error_figures(found, truth, groups, scanners == scanner)
    return table


def error_figures(
    found: NDArray[np.float64],
    truth: NDArray[np.float64],
    groups: Sequence[str],
    chosen: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Absolute error in degrees with the 95 % interval of its mean over groups, and the bias (found - drawn)."""
    take = np.ones(len(found), bool) if chosen is None else chosen
    measured = take & np.isfinite(found)
    error = (found - truth)[measured]
    if not len(error):
        return {"frames": int(take.sum()), "measured": 0}
    members = [group for group, is_in in zip(groups, measured, strict=True) if is_in]
    return {
        "frames": int(take.sum()),
        "groups": len(set(members)),
        "measured": int(measured.sum()),
        "mean": float(np.abs(error).mean()),
        "interval": mean_interval(np.abs(error), members),
        "median": float(np.median(np.abs(error))),
        "p95": float(np.percentile(np.abs(error), 95)),
        "bias": float(error.mean()),
    }


def parts_table(cases: Sequence[Case], axes: Sequence[Axis | None]) -> dict[str, float]:
    """Mean absolute AoP error, degrees, with parts replaced by the drawn ones."""

    def mean(*columns: float) -> float:
        values = np.abs(np.array(columns) - np.array([case.truth_deg for case in cases]))
        return float(values[np.isfinite(values)].mean())

    pairs = list(zip(cases, axes, strict=True))
    known = [(case, case.drawn_axis if axis is None else axis) for case, axis in pairs]
    return {
        "nothing": mean(*(aop_deg(axis, case.head) for case, axis in pairs)),
        "head": mean(*(aop_deg(axis, case.drawn_head) for case, axis in pairs)),
        "symphysis": mean(*(aop_deg(case.drawn_axis, case.head) for case in cases)),
        "head and direction": mean(
            *(aop_deg(Axis(axis.inferior, case.drawn_axis.direction), case.drawn_head) for case, axis in known)
        ),
        "head and inferior end": mean(
            *(aop_deg(Axis(case.drawn_axis.inferior, axis.direction), case.drawn_head) for case, axis in known)
        ),
    }


def mask_table(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Mean Dice, ASD and HD (px of the square) of PS, FH and both, over frames with a drawn mask."""
    values: dict[str, list[tuple[float, float, float]]] = {}
    for drawn, found in zip(predictions.drawn, predictions.found, strict=True):
        if not (drawn == 1).any() or not (drawn == 2).any():
            continue
        for name, score in score_labels(found, drawn).items():
            if score.dice is not None and score.asd_px is not None and score.hd_px is not None:
                values.setdefault(name, []).append((score.dice, score.asd_px, score.hd_px))
    return {
        name: dict(zip(("dice", "asd_px", "hd_px"), map(float, np.mean(rows, axis=0)), strict=True))
        for name, rows in values.items()
    }


def protocol_table(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """AoP errors of the found masks by every protocol against the same protocol on the drawn mask."""
    table = {}
    for protocol in PROTOCOLS:
        pairs = [
            [measure(labels, protocol=protocol, orientation="normal").aop_deg for labels in both]  # type: ignore[arg-type]
            for both in zip(predictions.found, predictions.drawn, strict=True)
        ]
        values = np.array([[math.nan if value is None else value for value in pair] for pair in pairs])
        known = np.isfinite(values[:, 1])
        table[protocol] = error_figures(values[known, 0], values[known, 1], list(predictions.groups[known]))
    return table


def plane_table(predictions: Predictions, scores: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """How well frames of `planes` with a label are told: AUC, sensitivity and specificity at a threshold."""
    chosen = (predictions.planes >= 0) & np.char.startswith(predictions.names, "planes/")
    score, standard = scores[chosen], predictions.planes[chosen] == 1
    called = score >= threshold
    return {
        "frames": int(chosen.sum()),
        "standard": int(standard.sum()),
        "groups": len(set(predictions.groups[chosen])),
        "auc": area_under_roc(score, standard),
        "sensitivity": float(called[standard].mean()) if standard.any() else None,
        "specificity": float((~called[~standard]).mean()) if (~standard).any() else None,
    }


def quality_table(errors: NDArray[np.float64], doubt: NDArray[np.float64]) -> dict[str, float]:
    """Whether a doubt (larger = less sure) sorts absolute errors: means of both halves and of all."""
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


def quality_of(cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """How well each doubt sorts the errors of the joint axis: disagreement, spread of the views, what is expected.

    `all` joins the three by a linear fit of the absolute error on the other folds, their logarithms as columns.
    """
    axes = fused_axes(cases)
    errors = np.array([aop_deg(axis, case.head) - case.truth_deg for case, axis in zip(cases, axes, strict=True)])
    doubts = np.array([_doubts(case) for case in cases])
    folds = np.array([case.fold for case in cases])
    columns = np.column_stack((np.log(doubts + 0.5), np.ones(len(cases))))
    known = np.isfinite(columns).all(axis=1) & np.isfinite(errors)
    joint = np.full(len(cases), np.nan)
    for fold in np.unique(folds):
        rest = known & ((folds != fold) | (len(np.unique(folds)) == 1))
        fit, *_ = np.linalg.lstsq(columns[rest], np.abs(errors[rest]), rcond=None)
        joint[folds == fold] = columns[folds == fold] @ fit
    tables = {name: quality_table(errors, doubts[:, column]) for column, name in enumerate(DOUBTS)}
    return tables | {"all": quality_table(errors, joint)}


DOUBTS = ("disagreement", "spread of views", "expected by the network")


def _doubts(case: Case) -> tuple[float, float, float]:
    if case.mask_axis is None or case.look is None:
        return math.nan, math.nan, math.nan
    apart = abs(turn_deg(case.mask_axis.direction, case.look.axis.direction))
    return apart, case.look.spread_deg, case.look.expected_deg
