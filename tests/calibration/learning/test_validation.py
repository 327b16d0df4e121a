"""What a network is judged by while it learns: scores of frames with and without labels, and what is chosen by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from calibration.learning import train
from calibration.learning.frames import phantoms
from calibration.learning.validation import aop_errors, checkpoint_score
from stream.measurement.protocols import measure
from tests.samples.training_data import small_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_validation_of_one_class_has_no_auc_and_trains_all_the_same(data: Path, tmp_path: Path) -> None:
    validation = [{"path": "drawn", "split": "val", "plane": "standard", "labelled": 1.0}]
    last = train.train(small_config(epochs=1, validation=validation), data=data, out=tmp_path)
    assert last["plane_auc"] is None
    assert last["plane_accuracy"] is not None
    assert last["score"] == pytest.approx(0.35 * (last["dice_ps"] + last["dice_fh"]))
    assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_validation_without_any_plane_label_or_mask(data: Path, tmp_path: Path) -> None:
    blank = [{"path": "drawn", "split": "val", "labelled": 1.0}]
    assert (
        train.train(small_config(epochs=1, validation=blank), data=data, out=tmp_path / "1")["plane_accuracy"] is None
    )
    others = [{"path": "phantom:", "count": 2, "negative": 1.0}]
    last = train.train(small_config(epochs=1, validation=others), data=data, out=tmp_path / "2")
    assert (last["dice_ps"], last["plane_auc"], last["score"]) == (None, None, 0.0)


def test_what_a_checkpoint_is_chosen_by() -> None:
    assert checkpoint_score({"dice_ps": 0.9, "dice_fh": 0.7, "plane_auc": 0.5}) == pytest.approx(0.7 * 0.8 + 0.3 * 0.5)


def test_aop_errors_by_hand() -> None:
    drawn = torch.from_numpy(np.stack([frame.mask for frame in phantoms(3, 256, seed=4) if frame.mask is not None]))
    expected = measure(drawn[1].numpy(), protocol="fhps2023").aop_deg
    assert expected is not None
    found = drawn.clone()
    found[0] = 0  # nothing to measure
    found[1] = drawn[2]
    other = measure(drawn[2].numpy(), protocol="fhps2023").aop_deg
    assert other is not None
    errors = aop_errors(found, drawn, torch.tensor([True, True, True]))
    assert errors.isnan().tolist() == [True, False, False]
    assert errors[1:].tolist() == pytest.approx([abs(expected - other), 0.0], abs=1e-4)
    assert len(aop_errors(found, drawn, torch.tensor([False, False, True]))) == 1
