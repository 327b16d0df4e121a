"""Classification metrics of standard planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.evaluation.statistics.ranks import area_under_roc

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneMetrics:
    """Verdicts of the plane gate against labels; positive means standard plane.

    Attributes:
        threshold: least probability of a frame that is called standard.
        true_positive, false_positive, true_negative, false_negative: frames.
        accuracy: share of right answers.
        sensitivity, specificity: share of right answers among standard planes and among the others; None without any.
        f1: of the positive class; None where there is no positive, labelled or called.
        mcc: Matthews' correlation; None where a label or an answer occurs only.
        auc: from the logits, without a threshold; None where one class is missing.
        reasons: why a value is None.
    """

    threshold: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    accuracy: float
    sensitivity: float | None
    specificity: float | None
    f1: float | None
    mcc: float | None
    auc: float | None
    reasons: dict[str, str]


def plane_metrics(
    logit: NDArray[np.float64], is_called: NDArray[np.bool_], is_standard: NDArray[np.bool_], *, threshold: float
) -> PlaneMetrics:
    """Scores the answers for (N,) frames with a label, N >= 1.

    Convention: MCC = (tp tn - fp fn) / sqrt((tp + fp) (tp + fn) (tn + fp) (tn + fn)), [-1, 1]; F1 = 2 tp /
    (2 tp + fp + fn), [0, 1]. Worked value: tp 2, fp 1, tn 3, fn 0 give F1 0.8 and MCC 6 / sqrt(72) = 0.7071.
    """
    tp = int(np.count_nonzero(is_called & is_standard))
    fp = int(np.count_nonzero(is_called & ~is_standard))
    fn = int(np.count_nonzero(~is_called & is_standard))
    tn = len(is_standard) - tp - fp - fn
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    values = {
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / math.sqrt(product) if product else None,
        "auc": area_under_roc(logit, is_standard),
    }
    return PlaneMetrics(
        threshold=threshold,
        true_positive=tp,
        false_positive=fp,
        true_negative=tn,
        false_negative=fn,
        accuracy=(tp + tn) / len(is_standard),
        **values,
        reasons={name: _why(is_standard, is_called) for name, value in values.items() if value is None},
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _why(is_standard: NDArray[np.bool_], is_called: NDArray[np.bool_]) -> str:
    if is_standard.all() or not is_standard.any():
        return f"all labelled frames are {'standard planes' if is_standard.all() else 'other planes'}"
    return f"all labelled frames were called {'standard planes' if is_called.all() else 'other planes'}"
