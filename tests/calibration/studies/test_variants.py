"""The study of variants: how they are named, averaged and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.cross_validation.predictions import merge_predictions
from calibration.errors import ConfigError, TrainingError
from calibration.studies.variants import Variant, as_text, study_variants


def test_a_variant_names_its_trainings() -> None:
    assert Variant.read("two seeds=a,b:c,d") == Variant("two seeds", (Path("a"), Path("b")), (Path("c"), Path("d")))
    assert Variant.read("mask=a:") == Variant.read("mask=a") == Variant("mask", (Path("a"),), ())


@pytest.mark.parametrize("text", ["", "name", "name=", "=a:b", "name=:b"])
def test_what_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=MASKS:REFINEMENTS"):
        Variant.read(text)


def test_a_folder_without_a_training_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.studies.variants.fold_frames", lambda data, fold: [])
    monkeypatch.setattr("calibration.cross_validation.predictions.np.stack", lambda parts: np.zeros(0))
    with pytest.raises(TrainingError, match="nowhere"):
        study_variants(tmp_path, tmp_path / "out", [Variant.read(f"a={tmp_path}/nowhere")], fold=1)
    assert not (tmp_path / "out").exists()


def test_answers_are_averaged_as_probabilities() -> None:
    sure, other = np.zeros((1, 3, 1, 1), np.float32), np.zeros((1, 3, 1, 1), np.float32)
    sure[0, 1], other[0, 2] = 20.0, 0.0
    plane, normal = np.array([1.0]), np.array([np.nan])
    logits, joined_plane, joined_normal = merge_predictions([(sure, plane, normal), (other, plane + 2, normal)])
    np.testing.assert_allclose(np.exp(logits[0, :, 0, 0]), [1 / 6, 2 / 3, 1 / 6], atol=1e-5)
    assert joined_plane == [2.0]
    assert np.isnan(joined_normal).all()


def test_the_table_says_what_was_measured_and_what_was_not() -> None:
    measured = {"measured": 3, "mean": 6.0, "bias": -1.0}
    found = {"AoP": measured, "AoP, >=140": {"measured": 0}, "Dice": {"ps": 0.9, "fh": 0.94}}
    gain = {"more than the first": {"mean": -0.5, "interval": (-1.0, 0.25)}}
    text = as_text({"fold": 1, "frames": 3, "variants": {"all": found, "less": found | gain}})
    assert "| all | 6.00 (-1.0) | none measured | 0.900 | 0.940 |  |" in text
    assert "-0.50 (-1.00 to +0.25)" in text
