"""Which way round a picture or a folder of masks is: the weights, the band in which it is not read, the decision."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calibration.fitting.orientation import (
    PHANTOMS,
    RIDGE,
    cues_of,
    fit_weights,
    frames_with_masks,
    out_of_fold_log_odds,
    phantom_masks,
)
from stream.frames.reason import Reason
from stream.measurement.biometry import Orientation
from stream.measurement.folder_orientation import FolderOrientation
from stream.measurement.orientation_cues import (
    MIRRORED_TO,
    NORMAL_FROM,
    OFFSET_LIMIT,
    OFFSET_WEIGHT,
    SKEWNESS_LIMIT,
    SKEWNESS_WEIGHT,
    TILT_LIMIT,
    TILT_WEIGHT,
    orientation_from_log_odds,
)
from tests.conftest import REPOSITORY
from tests.samples.anatomy import at_aop

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    cues = rng.normal([0.1, 0.02], [0.08, 0.05], (300, 2))
    spread = np.sqrt(np.mean(cues**2, axis=0))

    def loss(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float(np.logaddexp(0, -(cues @ weights)).mean() + RIDGE * ((weights * spread) ** 2).sum())

    best = fit_weights(cues)
    for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]):
        assert loss(best + np.array(step)) > loss(best)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[NDArray[np.float64], list[str], list[NDArray[np.uint8]]]:
    """Cues, groups and masks of all PSFHS frames at hand."""
    frames = frames_with_masks(shared_data / "psfhs")
    masks = [frame.mask for frame in frames if frame.mask is not None]
    return cues_of(masks), [frame.group for frame in frames], masks


Real = tuple[Any, list[str], list[Any]]


@pytest.mark.slow
def test_the_shipped_weights_are_those_of_the_fit(real: Real) -> None:
    weights = fit_weights(np.concatenate([real[0], cues_of(phantom_masks(PHANTOMS))]))
    assert weights == pytest.approx([SKEWNESS_WEIGHT, OFFSET_WEIGHT, TILT_WEIGHT], abs=0.06)


def test_at_most_one_in_a_hundred_normal_masks_of_unseen_groups_is_read_mirrored(real: Real) -> None:
    cues, groups, _ = real
    phantoms = cues_of(phantom_masks(PHANTOMS))
    for seed in range(3):
        read_as = [
            orientation_from_log_odds(value)
            for value in out_of_fold_log_odds(cues, groups, phantoms, folds=5, seed=seed)
        ]
        assert read_as.count(Orientation.MIRRORED) <= 0.004 * len(cues)
        assert read_as.count(None) <= 0.07 * len(cues)


def test_a_folder_of_many_patients_is_read_right_both_ways_and_one_of_one_patient_never_wrong(real: Real) -> None:
    cues, groups, masks = real
    log_odds = out_of_fold_log_odds(cues, groups, cues_of(phantom_masks(PHANTOMS)), folds=5, seed=0)
    for sign, right in ((1, Orientation.NORMAL), (-1, Orientation.MIRRORED)):
        folder = FolderOrientation()
        for index in range(0, len(masks), 7):
            folder.add_log_odds(masks[index], sign * float(log_odds[index]))
        assert folder.orientation is right
        assert folder.views >= 15
    for group in sorted(set(groups)):
        folder = FolderOrientation()
        for index in (index for index, name in enumerate(groups) if name == group):
            folder.add_log_odds(masks[index], float(log_odds[index]))
        assert folder.orientation is not Orientation.MIRRORED, group


def test_no_cue_is_strong_evidence_by_itself() -> None:
    assert max(SKEWNESS_WEIGHT * SKEWNESS_LIMIT, OFFSET_WEIGHT * OFFSET_LIMIT, TILT_WEIGHT * TILT_LIMIT) < -MIRRORED_TO


@pytest.mark.parametrize(
    ("log_odds", "read_as"),
    [
        (3.0, Orientation.NORMAL),
        (0.0, Orientation.NORMAL),
        (-0.1, None),
        (-4.4, None),
        (-4.5, Orientation.MIRRORED),
        (-9.0, Orientation.MIRRORED),
    ],
)
def test_the_band_in_which_nothing_is_read(log_odds: float, read_as: Orientation | None) -> None:
    assert orientation_from_log_odds(log_odds) is read_as


def views_of(count: int) -> list[NDArray[np.uint8]]:
    """Masks that are unlike each other."""
    return [
        at_aop(120, place_mm=(40.0 + 17 * (number % 6), 25.0 + 23 * (number // 6))).draw() for number in range(count)
    ]


def test_masks_that_are_alike_count_once_and_unlike_ones_add_up() -> None:
    film, sets, few = FolderOrientation(), FolderOrientation(), FolderOrientation()
    for mask in views_of(1) * 100:
        film.add_log_odds(mask, -3.0)
    for mask in views_of(12):
        sets.add_log_odds(mask, -3.0)
    for mask in views_of(4):
        few.add_log_odds(mask, -3.0)
    assert (film.views, few.views, sets.views) == (1, 4, 12)
    assert film.log_odds == few.log_odds == pytest.approx(-3.0)
    assert film.orientation is few.orientation is None
    assert sets.log_odds == pytest.approx(-9.0)
    assert sets.orientation is Orientation.MIRRORED


def test_a_mask_is_read_as_all_are_unless_it_contradicts_them() -> None:
    normal = FolderOrientation()
    for mask in views_of(12):
        normal.add_log_odds(mask, 3.0)
    assert [normal.of_mask(own) for own in (2.0, -4.0, -4.5)] == [Orientation.NORMAL, Orientation.NORMAL, None]
    mixed = FolderOrientation()
    for mask, own in zip(views_of(2), (4.0, -3.9), strict=True):
        mixed.add_log_odds(mask, own)
    assert [mixed.of_mask(own) for own in (4.0, -3.9)] == [Orientation.NORMAL, None]
    assert FolderOrientation().of_mask(-1.0) is None
    labels = at_aop(120, mirrored=True).draw()
    wrong = normal.measured(labels, protocol="robust")
    assert (wrong.reason, wrong.aop_deg) == (Reason.AXIS_AMBIGUOUS, None)
    assert wrong.orientation_log_odds < MIRRORED_TO


def test_the_result_file_is_of_the_weights_and_the_band_that_ship() -> None:
    found = json.loads((REPOSITORY / "benchmarks" / "results" / "orientation.json").read_text())["results"]
    assert list(found["weights"].values()) == [SKEWNESS_WEIGHT, OFFSET_WEIGHT, TILT_WEIGHT]
    assert found["band"] == [MIRRORED_TO, NORMAL_FROM]
    assert found["alone_in_100"]["normal"]["wrong"] <= 1
    folders = found["folders_in_100"]["10 groups"]
    assert (folders["normal"]["wrong"], folders["mirrored"]["wrong"]) == (0, 1)
