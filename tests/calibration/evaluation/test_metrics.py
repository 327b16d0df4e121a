"""The evaluation's numbers: against hand counts, brute force, and the challenge's own library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.evaluation.confidence import mask_confidence
from calibration.evaluation.metrics import (
    boundary,
    boundary_distances,
    dice,
    hausdorff_distance,
    score_labels,
    score_region,
)
from calibration.evaluation.planes import plane_metrics
from calibration.evaluation.statistics.agreement import (
    NORMAL_975,
    bland_altman,
    describe_spread,
    risk_coverage,
    student_t_975,
)
from calibration.evaluation.statistics.ranks import area_under_roc, average_ranks, spearman
from calibration.evaluation.statistics.resampling import mean_interval

Mask = NDArray[np.bool_]


def rectangle(x: int, y: int, width: int, height: int, *, side: int = 12) -> Mask:
    mask = np.zeros((side, side), np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def blobs(seed: int, *, height: int = 40, width: int = 55) -> Mask:
    """Ragged regions with holes and several pieces, some at the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.bool_)
    for _ in range(int(rng.integers(1, 4))):
        centre, radii = rng.uniform((0, 0), (height, width)), rng.uniform(2, 15, 2)
        mask |= ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    mask ^= rng.random(mask.shape) < rng.choice([0.0, 0.02])
    mask[height // 2, width // 2] = True
    return mask


def pairwise(first: Mask, second: Mask) -> NDArray[np.float64]:
    """Distance of every pixel of one region to every pixel of the other."""
    a, b = np.argwhere(first).astype(float), np.argwhere(second).astype(float)
    return np.asarray(np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]))


def challenge_scores(found: Mask, truth: Mask) -> tuple[float, float]:
    """ASD and HD by SimpleITK: the pooled mean over the pixels at distance 0, and its Hausdorff filter."""
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (found, truth)]
    surface: Any = SimpleITK.SignedMaurerDistanceMapImageFilter()  # type: ignore[no-untyped-call]  # it ships no types
    surface.SetSquaredDistance(False)
    distances = [np.abs(SimpleITK.GetArrayFromImage(surface.Execute(image))) for image in images]
    both = np.concatenate([distances[1][distances[0] == 0], distances[0][distances[1] == 0]])
    hausdorff: Any = SimpleITK.HausdorffDistanceImageFilter()  # type: ignore[no-untyped-call]  # likewise
    hausdorff.Execute(*images)
    return float(both.mean()), float(hausdorff.GetHausdorffDistance())


def test_dice_adds_one_pixel_to_both_sides() -> None:
    first, second = rectangle(0, 0, 4, 1), rectangle(1, 0, 6, 1)
    assert dice(first, second) == pytest.approx((2 * 3 + 1) / (4 + 6 + 1))
    assert dice(first, first) == 1.0
    assert dice(first, ~first & False) == pytest.approx(1 / 5)


def test_the_boundary_is_what_touches_the_background_by_side_or_corner() -> None:
    inside = rectangle(3, 3, 5, 5) & ~boundary(rectangle(3, 3, 5, 5))
    assert np.array_equal(inside, rectangle(4, 4, 3, 3))
    notched = rectangle(3, 3, 5, 5)
    notched[3, 3] = False
    assert boundary(notched)[4, 4], "touches the notch by a corner"
    corner = boundary(rectangle(0, 0, 3, 3))
    assert not corner[:2, :2].any(), "the picture's border is no background"
    assert corner.sum() == 5


def test_distances_that_can_be_counted() -> None:
    here, there = rectangle(0, 0, 1, 1), rectangle(3, 4, 1, 1)
    assert hausdorff_distance(here, there) == pytest.approx(5)
    assert list(boundary_distances(here, there)) == pytest.approx([5, 5])
    # Two bars of 10 pixels, 3 apart; one has a single pixel 7 more to the right.
    bar, shifted = rectangle(0, 2, 10, 1, side=20), rectangle(0, 5, 10, 1, side=20)
    assert list(boundary_distances(bar, shifted)) == pytest.approx([3, 3])
    longer = shifted.copy()
    longer[5, 16] = True
    # 20 distances of 3 and one of hypot(7, 3); of the 11 ones towards the bar the 95th percentile is halfway.
    far = math.hypot(7, 3)
    asd, hd95 = boundary_distances(longer, bar)
    assert asd == pytest.approx((20 * 3 + far) / 21, abs=1e-6)
    assert hd95 == pytest.approx(3 + 0.5 * (far - 3), abs=1e-6)
    assert hausdorff_distance(longer, bar) == pytest.approx(far, abs=1e-6)


def test_hausdorff_looks_at_all_pixels_not_at_outlines() -> None:
    ring, disc = rectangle(0, 0, 11, 11, side=11), rectangle(1, 1, 9, 9, side=11)
    ring &= ~disc
    # The outline of the disc lies beside the ring, its centre five pixels away.
    assert hausdorff_distance(disc, ring) == pytest.approx(5)


@pytest.mark.parametrize("seed", range(40))
def test_asd_and_hd_are_those_of_the_challenge_s_library(seed: int) -> None:
    found, truth = blobs(seed), blobs(seed + 1000)
    asd, hd = challenge_scores(found, truth)
    assert boundary_distances(found, truth)[0] == pytest.approx(asd, abs=1e-5)
    assert hausdorff_distance(found, truth) == pytest.approx(hd, abs=1e-5)


@pytest.mark.parametrize("seed", range(15))
def test_distances_are_exact(seed: int) -> None:
    found, truth = blobs(seed), blobs(seed + 500)
    every = pairwise(found, truth)
    assert hausdorff_distance(found, truth) == pytest.approx(
        max(every.min(axis=1).max(), every.min(axis=0).max()), rel=1e-12
    )
    edges = pairwise(boundary(found), boundary(truth))
    there, back = edges.min(axis=1), edges.min(axis=0)
    asd, hd95 = boundary_distances(found, truth)
    assert asd == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-12)
    assert hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-12)


def test_distances_stay_exact_on_large_pictures() -> None:
    here, there = np.zeros((2, 1100, 1300), np.bool_)
    here[3, 5], there[1090, 1290] = True, True
    assert hausdorff_distance(here, there) == pytest.approx(math.hypot(1087, 1285), rel=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_scores_know_no_order_and_no_place(seed: int) -> None:
    found, truth = blobs(seed), blobs(seed + 77)
    wide = [np.pad(mask, 9)[4:, 2:] for mask in (found, truth)]
    # Where a region is cut by the picture's border it has no boundary there; padded on all sides first, both have.
    framed = [np.pad(mask, 1) for mask in (found, truth)]
    forth = numbers(*framed)
    assert numbers(*reversed(framed)) == pytest.approx(forth, rel=1e-12)
    assert numbers(*wide) == pytest.approx(forth, rel=1e-12)
    assert numbers(*(mask[:, ::-1] for mask in framed)) == pytest.approx(forth, rel=1e-12)


def numbers(found: Mask, truth: Mask) -> list[float]:
    score = score_region(found, truth)
    return [value for value in (score.dice, score.asd_px, score.hd_px, score.hd95_px) if value is not None]


def test_an_empty_prediction_gets_what_the_challenge_gives() -> None:
    score = score_region(rectangle(0, 0, 0, 0), rectangle(2, 2, 3, 3))
    assert (score.dice, score.asd_px, score.hd_px, score.hd95_px) == (0.0, 100.0, 100.0, 100.0)
    assert (score.true_px, score.found_px) == (9, 0)


def test_an_annotation_without_the_region_gives_no_score() -> None:
    score = score_region(rectangle(2, 2, 3, 3), rectangle(0, 0, 0, 0))
    assert (score.dice, score.asd_px, score.hd_px, score.hd95_px) == (None, None, None, None)
    assert (score.true_px, score.found_px) == (0, 9)


def test_a_region_that_fills_the_picture_has_no_outline_to_measure() -> None:
    score = score_region(rectangle(0, 0, 12, 12), rectangle(2, 2, 3, 3))
    assert (score.asd_px, score.hd95_px) == (100.0, 100.0)
    assert score.hd_px == pytest.approx(math.hypot(7, 7), abs=1e-6)


def test_all_is_ps_and_fh_as_one_class() -> None:
    truth = (rectangle(0, 0, 4, 2) + 2 * rectangle(0, 2, 4, 6)).astype(np.uint8)
    swapped = np.where(truth == 0, 0, 3 - truth).astype(np.uint8)
    scores = score_labels(swapped, truth)
    assert scores["all"].dice == 1.0
    assert scores["all"].hd_px == 0.0
    assert scores["ps"].dice == pytest.approx(1 / (8 + 24 + 1))


def test_ranks_share_ties() -> None:
    assert average_ranks(np.array([5.0, 2.0, 5.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_auc_counts_ties_half() -> None:
    score, positive = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert area_under_roc(score, positive) == pytest.approx(2.5 / 4)
    assert area_under_roc(score, ~positive) == pytest.approx(1.5 / 4)
    assert area_under_roc(score, np.ones(4, np.bool_)) is None


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_auc_is_the_share_of_pairs_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, 25).astype(np.float64)
    positive = rng.random(25) < 0.4
    positive[:2] = True, False
    pairs = [(p > n) + 0.5 * (p == n) for p in score[positive] for n in score[~positive]]
    assert area_under_roc(score, positive) == pytest.approx(np.mean(pairs))


def test_spearman_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    assert spearman(np.array([1.0, 2, 3]), np.array([9.0, 4, 1])) == pytest.approx(-1)
    assert spearman(np.array([1.0, 2, 3]), np.array([5.0, 5, 5])) is None
    assert spearman(np.array([1.0, 2]), np.array([1.0, 2])) is None


def test_plane_metrics_by_hand() -> None:
    logit = np.array([2.0, 1.0, 0.5, -1.0, -2.0, -3.0])
    standard = np.array([True, True, False, False, False, False])
    metrics = plane_metrics(logit, logit > 0, standard, threshold=0.5)
    assert (metrics.true_positive, metrics.false_positive) == (2, 1)
    assert (metrics.true_negative, metrics.false_negative) == (3, 0)
    assert metrics.accuracy == pytest.approx(5 / 6)
    assert metrics.f1 == pytest.approx(0.8)
    assert metrics.mcc == pytest.approx(6 / math.sqrt(72))
    assert metrics.sensitivity == 1.0
    assert metrics.specificity == pytest.approx(0.75)
    assert metrics.auc == 1.0
    assert metrics.reasons == {}


def test_one_class_gives_no_number_but_the_reason() -> None:
    logit = np.array([1.0, 2.0])
    metrics = plane_metrics(logit, np.array([True, True]), np.array([False, False]), threshold=0.5)
    assert (metrics.accuracy, metrics.specificity, metrics.f1) == (0.0, 0.0, 0.0)
    assert (metrics.auc, metrics.mcc, metrics.sensitivity) == (None, None, None)
    assert set(metrics.reasons) == {"auc", "mcc", "sensitivity"}
    assert set(metrics.reasons.values()) == {"all labelled frames are other planes"}
    blunt = plane_metrics(logit, np.array([True, True]), np.array([True, False]), threshold=0.5)
    assert blunt.auc == 0.0
    assert blunt.reasons == {"mcc": "all labelled frames were called standard planes"}


def test_spread_by_hand() -> None:
    found = describe_spread(np.array([1.0, 2.0, 3.0, 10.0]))
    assert found is not None
    assert (found.n, found.mean, found.median) == (4, 4.0, 2.5)
    assert found.sd == pytest.approx(math.sqrt((9 + 4 + 1 + 36) / 3))
    assert found.p95 == pytest.approx(3 + 0.85 * 7)
    single = describe_spread(np.array([7.0]))
    assert single is not None
    assert single.sd is None
    assert describe_spread(np.empty(0)) is None


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (132, 1.9781), (100_000, 1.96)]
)
def test_student_t_as_in_the_tables(degrees: int, value: float) -> None:
    assert student_t_975(degrees) == pytest.approx(value, rel=1e-4)


def test_bland_altman_by_hand() -> None:
    found = bland_altman(np.array([1.0, 2.0, 3.0]))
    assert found is not None
    assert (found.bias, found.sd) == (2.0, 1.0)
    assert [found.lower, found.upper] == pytest.approx([2 - NORMAL_975, 2 + NORMAL_975])
    reach = 4.30265 / math.sqrt(3)
    assert list(found.bias_ci95) == pytest.approx([2 - reach, 2 + reach], rel=1e-4)
    reach = 4.30265 * math.sqrt(1 / 3 + NORMAL_975**2 / 4)
    assert list(found.upper_ci95) == pytest.approx([found.upper - reach, found.upper + reach], rel=1e-4)
    assert list(found.lower_ci95) == pytest.approx([found.lower - reach, found.lower + reach], rel=1e-4)
    assert bland_altman(np.array([1.0])) is None


def test_risk_coverage_by_hand() -> None:
    curve = risk_coverage(np.array([0.7, 0.9, 0.8]), np.array([2.0, 1.0, 3.0]), frames=4)
    assert curve is not None
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75]
    assert curve.risk.tolist() == [1.0, 2.0, 2.0]
    assert curve.area == pytest.approx(5 / 3)
    assert curve.best_area == pytest.approx(4.5 / 3)
    assert curve.spearman == pytest.approx(-0.5)
    assert (curve.at(0.25), curve.at(0.3), curve.at(0.75), curve.at(0.8)) == (1.0, 2.0, 2.0, None)
    assert risk_coverage(np.empty(0), np.empty(0), frames=4) is None


def test_frames_of_equal_confidence_come_in_together() -> None:
    for errors in ([1.0, 3.0, 5.0], [3.0, 1.0, 5.0]):
        curve = risk_coverage(np.array([0.9, 0.9, 0.1]), np.array(errors), frames=3)
        assert curve is not None
        assert curve.risk.tolist() == [2.0, 2.0, 3.0]


def test_no_order_does_better_than_the_best() -> None:
    rng = np.random.default_rng(3)
    error = rng.exponential(5, 200)
    useless = risk_coverage(rng.random(200), error, frames=200)
    best = risk_coverage(-error, error, frames=200)
    assert useless is not None
    assert best is not None
    assert best.area == pytest.approx(best.best_area) == pytest.approx(useless.best_area)
    assert best.area < 0.7 * useless.area


def test_intervals_are_drawn_by_group() -> None:
    rng = np.random.default_rng(11)
    offset = rng.normal(0, 1, 40)
    values = np.repeat(offset, 25) + rng.normal(0, 0.01, 1000)
    groups = [str(index // 25) for index in range(1000)]
    interval = mean_interval(values, groups)
    alone = mean_interval(values, [str(index) for index in range(1000)])
    assert interval is not None
    assert alone is not None
    expected = 2 * 1.96 * offset.std() / math.sqrt(40)
    assert interval[1] - interval[0] == pytest.approx(expected, rel=0.1)
    assert alone[1] - alone[0] == pytest.approx(expected / 5, rel=0.1)
    assert interval[0] < values.mean() < interval[1]
    assert interval == mean_interval(values, groups)
    assert mean_interval(values, ["one"] * 1000) is None


def test_confidence_is_the_less_sure_structure_s_mean_probability() -> None:
    probability = np.array(
        [[[0.05, 0.2, 0.05, 0.9]], [[0.9, 0.1, 0.05, 0.05]], [[0.05, 0.7, 0.9, 0.05]]], dtype=np.float32
    )
    assert mask_confidence(np.log(probability)) == pytest.approx(0.8)
    assert mask_confidence(np.log(probability[:, :, 1:])) == 0.0


def test_an_orderly_head_is_surer_than_a_torn_one() -> None:
    logits = np.zeros((3, 8, 8), np.float32)
    logits[1, :4], logits[2, 4:] = 5, 5
    sure = mask_confidence(logits)
    logits[2, 4:6] = 0.5
    assert 0 < mask_confidence(logits) < sure < 1
