"""What a training draws, and how its steps go: small frames first, planes late, learning rates, batch norm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from calibration.errors import DataSetError
from calibration.learning import train
from calibration.learning.frames import load_store
from calibration.learning.optimisation import learning_rate
from calibration.learning.settings.training import LateClassification
from engines.network.unet import MultiTaskUNet
from tests.samples.training_data import SIDE, small_config
from tests.samples.training_runs import killed_at, stored

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


def test_a_group_is_never_on_both_sides(data: Path, tmp_path: Path) -> None:
    both = [{"path": "drawn", "plane": "standard", "labelled": 1.0}]
    with pytest.raises(DataSetError, match=r"in training and validation alike: 2 \(drawn/video4, drawn/video5\)"):
        train.train(small_config(train=both), data=data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_draws_the_same_whenever_it_is_drawn(data: Path) -> None:
    config = small_config()
    store = load_store(config.train, data, size=SIDE, seed=1)
    first, again, other = (train.draw_batch(store, config, step, CPU).images for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_early_epochs_see_small_frames(data: Path) -> None:
    config = small_config(early_size=32, early_epochs=1)
    store = load_store(config.train, data, size=SIDE, seed=1)
    sides = [train.draw_batch(store, config, step, CPU).images.shape[-1] for step in (0, 1, 2, 3)]
    assert sides == [32, 32, SIDE, SIDE]
    masks = train.draw_batch(store, config, 0, CPU).masks
    assert masks.shape[-1] == 32
    assert set(masks.flatten().tolist()) == {0, 1, 2}
    assert train.draw_batch(store, config, -1, CPU).images.shape[-1] == SIDE  # what refreshes statistics at the end


@pytest.mark.slow
def test_early_epochs_are_judged_on_small_frames_and_nothing_is_chosen_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    forward = MultiTaskUNet.forward

    def watched(network: MultiTaskUNet, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not network.training:
            sides.append(image.shape[-1])
        return forward(network, image)

    monkeypatch.setattr(MultiTaskUNet, "forward", watched)
    config = small_config(early_size=32, early_epochs=1)
    killed_at(2, monkeypatch, config, data=data, out=tmp_path)
    assert set(sides) == {32}
    assert not (tmp_path / "best.pt").exists()
    train.train(config, data=data, out=tmp_path)
    assert set(sides) == {32, SIDE}
    assert (tmp_path / "best.pt").exists()


def test_classification_turns_on_late_and_stays_on() -> None:
    config = replace(small_config(), late_classification=LateClassification(epoch=3, dice=0.8))
    run = train.new_training_run(config, CPU, None)
    on = []
    for epoch, dice in enumerate((0.9, 0.9, 0.7, 0.7, 0.85, 0.5, 0.5)):
        run.epoch = epoch
        on.append((train.planes_are_on(run, config), train.is_settled(run, config)))
        run.history.append({"train_dice": dice})
    assert [planes for planes, _ in on] == [False] * 5 + [True] * 2
    assert run.planes_since == 5
    assert [planes and settled for planes, settled in on] == [False] * 7
    run.epoch = 7
    assert train.is_settled(run, config)


def test_both_tasks_are_learned_from_the_start_unless_told_otherwise() -> None:
    config = small_config()
    run = train.new_training_run(config, CPU, None)
    assert train.planes_are_on(run, config)
    assert train.is_settled(run, config)


@pytest.mark.slow
def test_before_classification_is_on_the_plane_head_learns_nothing(data: Path, tmp_path: Path) -> None:
    config = small_config(late_classification={"epoch": 1, "dice": 0.0}, epochs=2)
    start = {
        name: value.clone() for name, value in train.new_training_run(config, CPU, None).network.state_dict().items()
    }
    train.train(replace(config, epochs=1), data=data, out=tmp_path / "1")
    first = stored(tmp_path / "1" / "checkpoint.pt")["weights"]
    head = [name for name in start if name.startswith("plane_head")]
    assert all(torch.equal(first[name], start[name]) for name in head)
    assert not torch.equal(first["segmentation_head.weight"], start["segmentation_head.weight"])
    assert not (tmp_path / "1" / "best.pt").exists()  # nothing is chosen yet
    last = train.train(config, data=data, out=tmp_path / "2")
    assert last["w_plane"] > 0
    second = stored(tmp_path / "2" / "checkpoint.pt")["weights"]
    assert not all(torch.equal(second[name], start[name]) for name in head)


def test_learning_rates_by_hand() -> None:
    config = replace(small_config(), learning_rate=1.0, warm_up_steps=4, epochs=2, steps_per_epoch=6)
    assert [learning_rate(step, config) for step in (0, 1, 3, 4, 8)] == pytest.approx([0.25, 0.5, 1, 1, 0.5])
    assert learning_rate(11, config) == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))
    assert learning_rate(11, replace(config, decay="none")) == 1.0
    assert learning_rate(0, replace(config, optimiser="schedule_free")) == 1.0


def test_refreshed_statistics_are_those_of_the_weights(data: Path) -> None:
    config = small_config(refresh_batches=3)
    store = load_store(config.train, data, size=SIDE, seed=1)
    network = MultiTaskUNet(**config.network)
    renewed = train.refresh_batch_norm(network, store, config, CPU)
    assert not renewed.training
    stem, before = renewed.encoder[0][0][1], network.encoder[0][0][1]  # type: ignore[index]
    assert stem.momentum == before.momentum
    assert torch.equal(before.running_mean, torch.zeros(4))  # the network itself is left alone
    with torch.no_grad():
        means = []
        for index in range(3):
            images = train.draw_batch(store, config, -1 - index, CPU).images * 255
            means.append(network.encoder[0][0][0]((images - 45.0) / 45.0).mean(dim=(0, 2, 3)))  # type: ignore[index]
    assert torch.allclose(stem.running_mean, torch.stack(means).mean(dim=0), atol=1e-4)
