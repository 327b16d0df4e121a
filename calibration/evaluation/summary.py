"""Summarises evaluated frames into the numbers of `metrics.json`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from calibration.evaluation.landmarks import POINTS, angle_error, found_landmarks, radial_errors
from calibration.evaluation.metrics import REGIONS
from calibration.evaluation.planes import plane_metrics
from calibration.evaluation.statistics.agreement import bland_altman, describe_spread, risk_coverage
from calibration.evaluation.statistics.resampling import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from calibration.evaluation.frames import FrameResult
    from calibration.evaluation.statistics.agreement import RiskCoverage
    from stream.measurement.biometry import Biometry

    Value = Callable[[FrameResult], float | None]
    Choice = Callable[[FrameResult], Biometry]

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
DISTANCES = ("asd_px", "hd_px", "hd95_px")
NO_MASK = "no frame has an annotated mask"
NO_PLANE = "no frame has a plane label"
NO_LANDMARKS = "no frame has the three published landmarks"

Section = dict[str, object]


def summarise(results: Sequence[FrameResult], *, plane_threshold: float) -> Section:
    """Every number about a set of frames, ready for JSON. What cannot be computed is replaced by its reason."""
    with_mask = [result for result in results if result.scores]
    protocols = list(results[0].found) if results else []
    return {
        "frames": len(results),
        "groups": len({result.group for result in results}),
        "frames_with_mask": len(with_mask),
        "planes": _planes(results, plane_threshold),
        "segmentation": _segmentation(with_mask) if with_mask else {"reason": NO_MASK},
        "landmarks": _landmarks(results, protocols),
        "protocols": {name: _protocol(results, with_mask, name) for name in protocols},
    }


def _landmarks(results: Sequence[FrameResult], protocols: Sequence[str]) -> Section:
    """Radial errors of the three published points and the error of their angle, whatever the plane gate says."""
    drawn = [result for result in results if result.drawn.keys() >= set(POINTS)]
    section: Section = {"frames": len(drawn)}
    if not drawn:
        return section | {"reason": NO_LANDMARKS}
    for name in protocols:
        errors = [(result, radial_errors(found_landmarks(result.found[name]), result.drawn)) for result in drawn]
        measured = [(result.group, each) for result, each in errors if each]
        angles = [(result.group, angle_error(result.found[name], result.drawn)) for result in drawn]
        section[name] = {
            "measured": len(measured),
            "radial_error_px": _spread((group, sum(each.values()) / len(each)) for group, each in measured),
            **{point: _spread((group, each[point]) for group, each in measured) for point in POINTS},
            "aop_deg": _spread((group, abs(angle)) for group, angle in angles if angle is not None),
        }
    return section


def _planes(results: Sequence[FrameResult], threshold: float) -> Section:
    known = [result for result in results if result.plane is not None]
    counts: Section = {"frames": len(known), "frames_without_label": len(results) - len(known)}
    if not known:
        return counts | {"reason": NO_PLANE}
    metrics = plane_metrics(
        np.array([result.plane_logit for result in known]),
        np.array([result.is_called_standard for result in known]),
        np.array([bool(result.plane) for result in known]),
        threshold=threshold,
    )
    return counts | asdict(metrics)


def _segmentation(results: Sequence[FrameResult]) -> Section:
    """Each region's scores over the frames whose annotation shows it, and what was drawn on the others."""
    section: Section = {}
    for region in REGIONS:
        scores = [result.scores[region] for result in results]
        section[region] = {
            "frames": sum(score.true_px > 0 for score in scores),
            "missed": sum(score.true_px > 0 and not score.found_px for score in scores),
            "frames_without": sum(not score.true_px for score in scores),
            "drawn_without": sum(not score.true_px and score.found_px > 0 for score in scores),
            **{name: _spread(_scored(results, region, name)) for name in ("dice", *DISTANCES)},
        }
    both = [(result.group, result.mean_dice) for result in results]
    section["mean_dice_ps_fh"] = _spread((group, value) for group, value in both if value is not None)
    return section


def _scored(results: Iterable[FrameResult], region: str, name: str) -> Iterator[tuple[str, float]]:
    """Group and score of the frames that have one."""
    for result in results:
        value = getattr(result.scores[region], name)
        if value is not None:
            yield result.group, value


def _spread(pairs: Iterable[tuple[str, float]]) -> Section | None:
    """The spread of (group, value) pairs with the 95 % interval of the mean; None where there is none."""
    listed = list(pairs)
    values = np.array([value for _, value in listed], dtype=np.float64)
    found = describe_spread(values)
    return asdict(found) | {"mean_ci95": mean_interval(values, [group for group, _ in listed])} if found else None


def _protocol(results: Sequence[FrameResult], with_mask: Sequence[FrameResult], name: str) -> Section:
    """One protocol: the truth it was compared with, and the two ways of choosing which frames to measure."""
    others = [result for result in results if result.plane is False]
    section: Section = {
        "not_standard_planes": {
            "frames": len(others),
            "measured": sum(result.gated(name).reason is None for result in others),
        }
    }
    if not with_mask:
        return section | {"reason": NO_MASK}
    measurable = [result for result in with_mask if result.truth[name].reason is None]
    both = [result for result in measurable if result.found[name].reason is None]
    return section | {
        "truth_measured": len(measurable),
        "truth_refused": _reasons(result.truth[name] for result in with_mask),
        "read_the_other_way_round": sum(r.truth[name].mirrored != r.found[name].mirrored for r in both),
        "ungated": _errors(with_mask, name, lambda result: result.found[name]),
        "gated": _errors(with_mask, name, lambda result: result.gated(name)),
    }


def _errors(with_mask: Sequence[FrameResult], name: str, choose: Choice) -> Section:
    """Share of frames measured, why not the others, and the errors on those that were."""
    measurable = [result for result in with_mask if result.truth[name].reason is None]
    measured = [result for result in measurable if choose(result).reason is None]
    without_truth = [result for result in with_mask if result.truth[name].reason is not None]

    def agreement(quantity: str) -> Section:
        return _agreement(
            measured,
            lambda result: difference(result.truth[name], choose(result), quantity),
            frames=len(measurable),
        )

    return {
        "measured": len(measured),
        "share_measured": len(measured) / len(measurable) if measurable else None,
        "refused": _reasons(choose(result) for result in measurable),
        "measured_without_truth": sum(choose(result).reason is None for result in without_truth),
        "aop_deg": agreement("aop_deg"),
        "hsd_min": agreement("hsd_min"),
    }


def difference(truth: Biometry, found: Biometry, quantity: str) -> float | None:
    """Measured minus true `aop_deg` or `hsd_min`; None where either has none."""
    values = getattr(truth, quantity), getattr(found, quantity)
    return None if None in values else float(values[1] - values[0])


def _agreement(measured: Sequence[FrameResult], value: Value, *, frames: int) -> Section:
    """Absolute error, limits of agreement and error against coverage of one quantity."""
    pairs = [(result, found) for result in measured if (found := value(result)) is not None]
    if not pairs:
        return {"reason": "no frame has both the true and the measured value"}
    differences = np.array([found for _, found in pairs])
    limits = bland_altman(differences)
    curve = risk_coverage(np.array([result.confidence for result, _ in pairs]), np.abs(differences), frames=frames)
    return {
        "absolute_error": _spread((result.group, abs(found)) for result, found in pairs),
        "bland_altman": asdict(limits) if limits else {"reason": "a spread takes two frames or more"},
        "risk_coverage": _curve(curve) if curve else None,
    }


def _curve(curve: RiskCoverage) -> Section:
    return {
        "coverage": list(COVERAGES),
        "mean_absolute_error": [curve.at(share) for share in COVERAGES],
        "area": curve.area,
        "best_area": curve.best_area,
        "spearman_of_confidence_and_error": curve.spearman,
    }


def _reasons(biometries: Iterable[Biometry]) -> dict[str, int]:
    return dict(Counter(str(biometry.reason) for biometry in biometries if biometry.reason).most_common())
