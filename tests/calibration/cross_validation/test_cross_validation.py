"""Out-of-fold figures: angles from parts, weights of two axes, the gate's regression, and tables that add up."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration.cross_validation.angles import aop_deg, axis_of
from calibration.cross_validation.evidence import fit_logistic
from calibration.cross_validation.frame_table import FrameTable
from calibration.cross_validation.fusion import inverse_variance_share
from calibration.cross_validation.predictions import Predictions, check_same_frames
from calibration.cross_validation.quality import DOUBTS, fit_errors, quality_table
from calibration.cross_validation.score import (
    cases_of,
    corrections,
    error_figures,
    error_table,
    parts_table,
    protocol_angles,
    protocol_table,
)
from calibration.data.bands import BANDS, axis_deg, band_of
from calibration.errors import ConfigError, TrainingError
from calibration.learning.folds import ALL, find_runs, held_out, with_fold
from calibration.learning.settings.training import SourceSettings, load_config
from engines.network.gate import mask_evidence
from stream.measurement.expected_error import FEATURES, ErrorModel
from stream.measurement.geometry import Ellipse
from stream.measurement.protocols import measure
from stream.measurement.symphysis_axis import Axis, ellipse_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread")

UNIT = Ellipse(center=(0.0, 0.0), semi_major=1.0, semi_minor=1.0, theta_rad=0.0)


def drawn(turn: float = 0.0) -> NDArray[np.uint8]:
    """A normal picture: a slanted PS at the upper left, turned by degrees, and a head below it."""
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(labels, (110, 185), (62, 46), 20, 0, 360, 2, -1)
    cv2.ellipse(labels, (90, 70), (34, 13), 25 + turn, 0, 360, 1, -1)
    return labels


def predictions(found: list[NDArray[np.uint8]], *, folds: list[int] | None = None) -> Predictions:
    count = len(found)
    return Predictions(
        names=np.array([f"psfhs/{number}" for number in range(count)]),
        groups=np.array([f"group {number // 2}" for number in range(count)]),
        looks=np.array(["A", "B"] * count)[:count],
        folds=np.array(folds or [number % 2 for number in range(count)]),
        planes=np.ones(count, np.int64),
        drawn=np.stack([drawn()] * count),
        found=np.stack(found),
        features=np.tile(np.array([3.0, 2.0, 2.0, 6.0, 8.0]), (count, 1)) + np.arange(count)[:, None] / 10,
        normal_logits=np.ones(count),
        views=np.full((count, 4, 7), np.nan),
    )


def test_the_angle_of_a_worked_case() -> None:
    assert aop_deg(Axis(np.array([0.0, -2.0]), np.array([0.0, 1.0])), UNIT) == pytest.approx(150)
    assert math.isnan(aop_deg(Axis(np.array([0.0, 0.5]), np.array([0.0, 1.0])), UNIT))
    assert math.isnan(aop_deg(None, UNIT))


@given(st.floats(-20, 20))
def test_the_angle_from_parts_is_that_of_the_scorer(turn: float) -> None:
    labels = drawn(turn)
    expected = measure(labels, protocol="fhps2023").aop_deg
    assert expected == pytest.approx(aop_deg(axis_of(labels == 1), ellipse_of(labels == 2)), abs=0.05)


def test_an_axis_runs_from_x_towards_y() -> None:
    slanted = np.eye(40, dtype=bool)
    assert axis_deg(slanted) == pytest.approx(45)
    assert math.isnan(axis_deg(np.zeros((4, 4), bool)))


def test_bands_hold_every_angle_once() -> None:
    assert [band_of(value) for value in (0.0, 99.9, 100.0, 120.0, 139.9, 140.0, 179.0)] == [
        BANDS[place][0] for place in (0, 0, 1, 2, 2, 3, 3)
    ]
    assert band_of(None) == ""


def test_weights_of_two_estimates_by_hand() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, np.sqrt(3), 20000), rng.normal(0, 1, 20000)
    assert inverse_variance_share(first, second) == pytest.approx(0.75, abs=0.02)
    assert inverse_variance_share(first, first) == 0.5
    assert inverse_variance_share(second, second * 3) == 0.0  # the worse one adds nothing where errors are one


def test_the_joint_axis_is_what_protocols_measure_by() -> None:
    """The mask's PS is 10 degrees off, the second look right: the joint axis is right."""
    off = axis_of(drawn(10) == 1)
    right = axis_of(drawn() == 1)
    assert off is not None
    assert right is not None
    table = predictions([drawn(10)] * 4)
    views = np.concatenate((right.direction, right.inferior, right.inferior - 68 * right.direction, [0.0]))
    cases = cases_of(replace(table, views=np.tile(views, (4, 1, 1))))
    moved = corrections(cases)
    assert set(moved) == {0, 1, 2, 3}
    by_mask, by_both = (protocol_table(table, protocol_angles(table, by)) for by in (None, moved))
    for protocol in ("robust", "iugc2024", "fhps2023"):
        assert by_mask[protocol]["mean"] > 6
        assert by_both[protocol]["mean"] < 2.5


def test_error_tables_say_bias_and_what_the_drawn_parts_leave() -> None:
    """The PS is drawn 10 degrees off in every second frame, the head right: all the error is the axis'."""
    table = predictions([drawn(), drawn(10), drawn(), drawn(10)])
    cases = cases_of(table)
    axes = [case.mask_axis for case in cases]
    figures = error_table(cases, axes)
    assert figures["all"]["frames"] == figures["all"]["measured"] == 4
    assert figures["all"]["mean"] == pytest.approx(abs(figures["all"]["bias"]))
    assert figures["look A"]["mean"] == pytest.approx(0, abs=1e-6)
    assert figures["look B"]["mean"] == pytest.approx(2 * figures["all"]["mean"])
    parts = parts_table(cases, axes)
    assert parts["symphysis"] == pytest.approx(0, abs=1e-6)
    assert parts["head"] == pytest.approx(parts["nothing"])
    assert parts["head and direction"] < parts["head and inferior end"]


def test_what_is_not_measured_is_counted_and_not_averaged() -> None:
    found, truth = np.array([100.0, math.nan, 92.0]), np.array([98.0, 90.0, 90.0])
    figures = error_figures(found, truth, ["a", "b", "c"])
    assert (figures["frames"], figures["measured"], figures["mean"]) == (3, 2, 2.0)
    assert error_figures(found, truth, ["a", "b", "c"], np.array([False, True, False])) == {"frames": 1, "measured": 0}


def test_a_doubt_that_sorts_errors_has_a_low_ratio() -> None:
    errors = np.array([1.0, 1, 9, 9])
    assert quality_table(errors, errors)["ratio"] == pytest.approx(0.2)
    assert quality_table(errors, -errors)["ratio"] == pytest.approx(1.8)


def test_errors_are_foretold_by_what_made_them() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(3000, len(FEATURES)))
    size = np.exp(1.2 + 0.8 * features[:, :4].mean(axis=1))
    model = fit_errors(features, size * rng.exponential(size=3000) * rng.choice([-1, 1], 3000))
    assert set(model.weights) == set(DOUBTS)
    assert sum(model.weights.values()) == pytest.approx(0.8, abs=0.15)
    assert model.constant == pytest.approx(1.2, abs=0.08)
    foretold = np.array([model.expected_deg(row) for row in features])
    assert float(np.mean(foretold <= model.surest_deg + 1e-9)) == pytest.approx(0.05, abs=0.01)
    assert ErrorModel.of(json.loads(json.dumps(asdict(model)))) == model


def test_quality_never_rises_with_a_doubt() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(500, len(FEATURES)))
    model = fit_errors(features, 5 * np.exp(-0.5 * features[:, 0]))  # these frames say the contrary
    assert all(weight > 0 for weight in model.weights.values())
    assert np.mean([model.expected_deg(row) for row in features]) == pytest.approx(
        np.mean(5 * np.exp(-0.5 * features[:, 0])), rel=0.05
    )


def test_evidence_is_strong_where_a_structure_is_seen_and_weak_where_it_is_not() -> None:
    logits = torch.zeros(2, 3, 32, 32)
    logits[:, 0] = 4.0
    logits[0, 1, 5:15, 5:15] = 10.0
    logits[:, 2, 20:30, 10:30] = 9.0
    seen, missing = mask_evidence(logits)
    assert seen[0] == pytest.approx(6.0)
    assert missing[0] == pytest.approx(-4.0)
    assert seen[1] == missing[1] == pytest.approx(5.0)
    assert seen[2] > missing[2]


def test_a_logistic_regression_finds_what_made_its_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2)) * (1, 3)
    y = rng.random(4000) < 1 / (1 + np.exp(-(2 * x[:, 0] - 0.5 * x[:, 1] + 0.3)))
    assert fit_logistic(x, y, np.ones(4000), ridge=1e-3) == pytest.approx([2, -0.5, 0.3], abs=0.2)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Two(FrameTable):
    names: NDArray[np.str_]
    values: NDArray[np.float64]


def test_what_is_kept_comes_back_and_joins(tmp_path: Path) -> None:
    first = Two(names=np.array(["a", "b"]), values=np.array([1.0, 2.0]))
    first.save(tmp_path / "two.npz")
    both = Two.concatenate([Two.load(tmp_path / "two.npz"), first.where(np.array([False, True]))])
    assert (both.names.tolist(), both.values.tolist()) == (["a", "b", "b"], [1.0, 2.0, 2.0])
    assert [path.name for path in tmp_path.iterdir()] == ["two.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_damaged_file_of_predictions_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "two.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"two\.npz: cannot be read .*take it away, and it is made anew"):
        Two.load(path)


def test_a_frame_held_out_twice_is_an_error() -> None:
    table = predictions([drawn()] * 2)
    check_same_frames(table)
    with pytest.raises(TrainingError, match="psfhs/0 was held out in two folds"):
        check_same_frames(Predictions.concatenate([table, table]))


def test_runs_are_named_and_hold_out_their_fold() -> None:
    assert [run.name for run in ALL[:3]] == ["mask-0", "refinement-0", "mask-1"]
    assert find_runs(["refinement-4"])[0].fold == 4
    assert find_runs([]) == ALL
    with pytest.raises(ConfigError, match="mask-9: no such run; the runs are mask-0, refinement-0"):
        find_runs(["mask-9"])
    sources = [SourceSettings(path="a", folds=5), SourceSettings(path="b", folds=4), SourceSettings(path="c")]
    assert [source.fold for source in with_fold(sources, 4)] == [4, 0, 0]


def test_what_ships_learns_from_all_frames_by_the_same_recipe() -> None:
    assert [run.name for run in find_runs(["mask-all", "refinement-all"])] == ["mask-all", "refinement-all"]
    recipe = load_config("default.toml")
    config = held_out(recipe, None)
    assert not any(source.folds for source in config.train)
    assert [source.path for source in config.validation] == ["phantom:"]
    assert replace(config, train=recipe.train, validation=recipe.validation) == recipe
