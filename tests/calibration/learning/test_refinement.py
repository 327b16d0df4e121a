"""The second look: crops whose targets stay on the symphysis, and a training that goes on where it was killed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from calibration.cross_validation.views import run_second_look
from calibration.errors import ConfigError, TrainingError
from calibration.learning import checkpoint
from calibration.learning.augmentation import AugmentationSettings, Effect
from calibration.learning.refinement import train as refinement
from calibration.learning.refinement.config import RefinementConfig, load_refinement_config
from calibration.learning.refinement.crops import CropStore, DrawnSymphysis
from calibration.learning.settings.training import SourceSettings
from engines.network.encoders import EfficientNetLite0
from engines.network.second_look import FIELD_SHARE, VIEWS
from tests.samples.training_data import SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread")

SQUARE = 128


def slanted(deg: float, reach: int = 22) -> NDArray[np.uint8]:
    mask = np.zeros((SQUARE, SQUARE), np.uint8)
    cv2.ellipse(mask, (60, 50), (reach, 8), deg, 0, 360, 1, -1)
    return mask


def store_of(*masks: NDArray[np.uint8]) -> CropStore:
    images = torch.from_numpy(np.stack(masks))[:, None] * 200
    found = [DrawnSymphysis.of(mask) for mask in masks]
    assert all(found)
    reach = torch.arange(1, len(masks) + 1, dtype=torch.float64) / len(masks)
    return CropStore(images, torch.from_numpy(np.stack(masks)), [each for each in found if each is not None], reach)


def test_a_symphysis_has_its_inferior_end_on_the_right() -> None:
    found = DrawnSymphysis.of(slanted(30))
    assert found is not None
    assert found.centre == pytest.approx((60, 50), abs=0.3)
    assert found.inferior == pytest.approx((60 + 22 * math.cos(math.pi / 6), 50 + 11), abs=1.2)
    assert DrawnSymphysis.of(np.zeros((SQUARE, SQUARE), np.uint8)) is None


def test_an_unmoved_crop_has_the_drawn_axis() -> None:
    images, targets = store_of(slanted(30)).crops([0], torch.eye(2)[None], torch.zeros(1, 2), side=64)
    cos, sin, *ends = targets[0].tolist()
    assert math.degrees(math.atan2(sin, cos)) == pytest.approx(30, abs=1.5)
    half = FIELD_SHARE * SQUARE / 2
    assert np.hypot(ends[0] - ends[2], ends[1] - ends[3]) * half == pytest.approx(44, abs=1.5)
    assert images[0, 0, 32, 32] > 0.7


@pytest.mark.parametrize("seed", range(6))
def test_moved_crops_show_the_symphysis_where_their_targets_say(seed: int) -> None:
    """Both ends lie on its border: bright just inside, dark just outside; the inferior end stays the inferior one."""
    settings = AugmentationSettings(
        rotate=Effect(1.0, -30.0, 30.0),
        scale=Effect(1.0, 0.8, 1.25),
        stretch=Effect(1.0, 0.8, 1.25),
        shear=Effect(1.0, -0.15, 0.15),
        shift=Effect(1.0, -0.03, 0.03),
    )
    side = 96
    generator = torch.Generator().manual_seed(seed)
    images, targets, covered = store_of(slanted(20, 15), slanted(-20, 15)).draw(8, settings, generator, side=side)
    assert not covered.any()
    for image, target in zip(images[:, 0].numpy(), targets.numpy(), strict=True):
        direction, inferior, superior = target[:2], target[2:4], target[4:6]
        assert direction[0] > 0.3
        assert (inferior - superior) @ direction > 0
        for end, outwards in ((inferior, direction), (superior, -direction)):
            inside, outside = (((end + step * outwards) + 1) * side / 2 - 0.5 for step in (-0.12, 0.12))
            assert image[round(float(inside[1])), round(float(inside[0]))] > 0.5
            assert image[round(float(outside[1])), round(float(outside[0]))] < 0.3


def test_a_covered_symphysis_is_gone_from_the_crop() -> None:
    store = store_of(*[slanted(20)] * 4)
    images, _, covered = store.draw(64, AugmentationSettings(), torch.Generator().manual_seed(0), side=64, covered=0.5)
    assert 16 < covered.sum() < 48
    assert not covered[0]
    middle = images[:, 0, 32, 32]
    assert middle[~covered].min() > 0.7
    assert middle[covered].max() < 0.2  # as its surroundings: black


def test_losses_by_hand() -> None:
    shown, half = torch.tensor([False, False]), torch.tensor([False, True])
    target = torch.tensor([[1.0, 0, 0.5, 0, -0.5, 0], [math.nan] * 6])
    right = torch.tensor([[1.0, 0, 0.5, 0, -0.5, 0, -6.0], [0.0] * 7])
    assert refinement.losses_of(right, target, shown)["direction"] == pytest.approx(0)
    assert refinement.losses_of(right, target, shown)["ends"] == pytest.approx(0)
    square = torch.tensor([[0.0, 1, 0.5, 0.1, -0.5, 0, 0.0], [0.0] * 7])
    wrong = refinement.losses_of(square, target, shown)
    assert wrong["direction"] == pytest.approx(math.pi / 2 - refinement.LARGE_TURN / 2)
    assert wrong["ends"] == pytest.approx(0.1 / 4)
    assert wrong["spread"] == pytest.approx(math.pi / 2)
    assert wrong["covered"] == 0
    both = refinement.losses_of(square, target.nan_to_num(0.3), half)  # what a covered crop says of the axis is let be
    assert {name: both[name] for name in ("direction", "ends", "spread")} == {
        name: wrong[name] for name in ("direction", "ends", "spread")
    }
    assert both["covered"] == pytest.approx(refinement.LOST_TURN)


class Answers(torch.nn.Module):
    """Says for every crop that the PS runs level through its middle."""

    side = 64

    def forward(self, crop: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0, 0.5, 0, -0.5, 0, -2.0]]).expand(len(crop), -1)


def test_the_study_looks_as_the_network_does() -> None:
    mask = slanted(0)
    logits = np.where(mask[None, None] == 1, 5.0, -5.0) * np.array([0, 1, 0])[None, :, None, None]
    answers = run_second_look(Answers(), mask[None] * 200, logits.astype(np.float32))  # type: ignore[arg-type]
    assert answers.shape == (1, len(VIEWS), 7)
    half = FIELD_SHARE * SQUARE / 2
    for (magnification, _, _), answer in zip(VIEWS, answers[0], strict=True):
        assert answer[:4] == pytest.approx((1, 0, 60 + 0.5 * half / magnification, 50), abs=0.6)
    assert not run_second_look(Answers(), mask[None], np.zeros((1, 3, 64, 64), np.float32)).any()  # type: ignore[arg-type]


def small(**changes: object) -> RefinementConfig:
    drawn = SourceSettings(path="drawn", split="train", plane="standard", labelled=1.0)
    base = load_refinement_config("refinement.toml")
    return replace(
        base,
        network={"side": 32, "channels": 4, "hidden": 8},
        size=SIDE,
        pretrained=False,
        epochs=2,
        steps_per_epoch=1,
        batch=2,
        device="cpu",
        train=(drawn,),
        validation=(replace(drawn, split="val"),),
        **changes,  # type: ignore[arg-type]
    )


@pytest.mark.slow
def test_a_training_that_was_killed_ends_as_an_unbroken_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = refinement.train_refinement(small(), data=data, out=tmp_path / "whole")
    assert whole["epoch"] == 2
    learn, calls = refinement.train_refinement_epoch, []

    def killed(*arguments: object) -> dict[str, float]:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(refinement, "train_refinement_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        refinement.train_refinement(small(), data=data, out=tmp_path / "killed")
    monkeypatch.setattr(refinement, "train_refinement_epoch", learn)
    refinement.train_refinement(small(), data=data, out=tmp_path / "killed")
    first, second = (
        checkpoint.read_checkpoint(tmp_path / name / "checkpoint.pt")["weights"] for name in ("whole", "killed")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(TrainingError, match="made with another configuration"):
        refinement.train_refinement(small(seed=5), data=data, out=tmp_path / "killed")


def test_a_training_that_goes_on_needs_no_pretrained_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(encoder: EfficientNetLite0) -> None:
        loaded.append(encoder)

    monkeypatch.setattr(EfficientNetLite0, "load_pretrained", load)
    config = replace(small(), epochs=1, pretrained=True)
    for _ in range(2):
        refinement.train_refinement(config, data=data, out=tmp_path / "out")
    assert len(loaded) == 1


def test_a_set_without_a_symphysis_is_refused(data: Path, tmp_path: Path) -> None:
    bare = SourceSettings(path="other", plane="other", negative=1.0)
    with pytest.raises(ConfigError, match="no frame of these sources shows a symphysis"):
        refinement.train_refinement(replace(small(), train=(bare,)), data=data, out=tmp_path / "out")
