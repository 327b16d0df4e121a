"""Scores of out-of-fold predictions: AoP by bands, scanners and parts, masks, planes, orientation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.cross_validation.angles import aop_deg, axis_of
from calibration.cross_validation.fusion import inverse_variance_share
from calibration.data.bands import BANDS, band_of
from calibration.evaluation.metrics import score_labels
from calibration.evaluation.statistics.ranks import area_under_roc
from calibration.evaluation.statistics.resampling import mean_interval
from stream.measurement.biometry import Orientation
from stream.measurement.expected_error import FEATURES, error_features
from stream.measurement.protocols import PROTOCOLS, measure
from stream.measurement.symphysis_axis import Axis, Fusion, Symphysis, ellipse_of, turn_deg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from calibration.cross_validation.predictions import Predictions
    from stream.measurement.biometry import MoveEnds
    from stream.measurement.geometry import Ellipse
    from stream.measurement.symphysis_axis import ViewedAxis


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFrame:
    """One labelled frame, the `row` of its table: what is drawn, what is found; `features` of its expected error."""

    row: int
    drawn_axis: Axis
    drawn_head: Ellipse
    head: Ellipse | None
    symphysis: Symphysis | None
    fold: int
    group: str
    scanner: str
    truth_deg: float
    features: NDArray[np.float64]

    @property
    def mask_axis(self) -> Axis | None:
        """By the found mask."""
        return None if self.symphysis is None else self.symphysis.mask

    @property
    def look(self) -> ViewedAxis | None:
        """The axis by the second look."""
        return None if self.symphysis is None else self.symphysis.look


def cases_of(predictions: Predictions) -> list[ScoredFrame]:
    """The frames with a drawn mask that can be measured."""
    cases = []
    for row in range(len(predictions)):
        drawn, found = predictions.drawn[row], predictions.found[row]
        axis, head = axis_of(drawn == 1), ellipse_of(drawn == 2)
        truth = aop_deg(axis, head)
        if axis is None or head is None or not math.isfinite(truth):
            continue
        symphysis = Symphysis.read(found, predictions.views[row])
        cases.append(
            ScoredFrame(
                row,
                axis,
                head,
                ellipse_of(found == 2),
                symphysis,
                int(predictions.folds[row]),
                str(predictions.groups[row]),
                str(predictions.looks[row]),
                truth,
                _features(symphysis, found, predictions.features[row]),
            )
        )
    return cases


def _features(symphysis: Symphysis | None, found: NDArray[np.uint8], gate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features of a frame's expected error, as the stream has them, of its labels and the gate's features."""
    if symphysis is None:
        return np.full(len(FEATURES), math.nan)
    plane_head, peak = gate[:2]
    return error_features(
        symphysis, side=found.shape[1], area=float(np.mean(found == 1)), peak=float(peak), plane_head=float(plane_head)
    )


def fitted_fusion(cases: Sequence[ScoredFrame]) -> Fusion:
    """The shares by which the fused axis errs least in square on these cases, and the bias of its direction.

    The bias is one number for all frames: no frame is pulled to the mean, late ones keep their spread.
    """
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
        return Fusion(direction=0.0, inferior=0.0)
    bias = turns.mean(axis=0)
    share = inverse_variance_share(*(turns - bias).T)
    return Fusion(
        direction=share,
        turn_deg=-float(bias @ (1 - share, share)),
        inferior=inverse_variance_share(ends[:, 0].ravel(), ends[:, 1].ravel()),
    )


def fusions(cases: Sequence[ScoredFrame]) -> dict[int, Fusion]:
    """The weights for each fold, fitted on the others; with one fold, on itself."""
    folds = {case.fold for case in cases}
    return {fold: fitted_fusion([case for case in cases if case.fold != fold or len(folds) == 1]) for fold in folds}


def fused_axes(cases: Sequence[ScoredFrame]) -> list[Axis | None]:
    """Each frame's fused axis."""
    fits = fusions(cases)
    return [fits[case.fold].join(case.mask_axis, case.look) for case in cases]


def corrections(cases: Sequence[ScoredFrame]) -> dict[int, MoveEnds]:
    """How the second look moves the ends of an axis, by the row of each case that has one."""
    fits = fusions(cases)
    return {
        case.row: partial(fits[case.fold].correct, found=case.symphysis)
        for case in cases
        if case.symphysis is not None and case.symphysis.look is not None
    }


def error_table(cases: Sequence[ScoredFrame], axes: Sequence[Axis | None]) -> dict[str, Any]:
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


def parts_table(cases: Sequence[ScoredFrame], axes: Sequence[Axis | None]) -> dict[str, float]:
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


def protocol_angles(
    predictions: Predictions, corrected: Mapping[int, MoveEnds] | None = None
) -> dict[str, NDArray[np.float64]]:
    """AoP of the found and of the drawn masks (n, 2) by every protocol, degrees; NaN where there is none.

    Args:
        predictions: of all frames.
        corrected: what moves the ends of the found PS' axis, by row.
    """
    pairs = list(enumerate(zip(predictions.found, predictions.drawn, strict=True)))
    return {
        protocol: np.array(
            [
                (_aop(found, protocol, (corrected or {}).get(row)), _aop(drawn, protocol))
                for row, (found, drawn) in pairs
            ]
        )
        for protocol in PROTOCOLS
    }


def protocol_table(predictions: Predictions, angles: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, Any]]:
    """AoP errors of the found masks by every protocol (`protocol_angles`) against the same on the drawn mask."""
    table = {}
    for protocol, values in angles.items():
        known = np.isfinite(values[:, 1])
        table[protocol] = error_figures(values[known, 0], values[known, 1], list(predictions.groups[known]))
    return table


def _aop(labels: NDArray[np.uint8], protocol: str, move_ends: MoveEnds | None = None) -> float:
    """AoP in degrees of a normal picture's labels; NaN where it is not measured."""
    found = measure(labels, protocol=protocol, orientation=Orientation.NORMAL, move_ends=move_ends).aop_deg
    return math.nan if found is None else found


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
