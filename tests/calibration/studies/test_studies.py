"""What the studies compare: one thing at a time, on frames that nothing was learned from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration.learning.settings.training import TrainConfig
from calibration.studies.common import Run, Scale, small_config
from calibration.studies.generalisation import CHOICES, FOLDS, HOLDOUTS, held_out, values_of


def psfhs_of(config: TrainConfig) -> tuple[object, object]:
    (learned,) = (source for source in config.train if source.path == "psfhs")
    (judged,) = config.validation
    return learned, judged


def test_studies_run_at_the_size_they_say() -> None:
    for scale in (Scale(), Scale(size=64, epochs=2)):
        config = small_config(scale, seed=0)
        assert (config.size, config.early_epochs) == (scale.size, 0)


def test_a_look_or_a_fold_is_on_one_side_only() -> None:
    config = small_config(Scale(), seed=0)
    parts = [part for of_one in HOLDOUTS.values() for part in of_one]
    assert len(parts) == 2 + FOLDS
    for part in parts:
        learned, judged = psfhs_of(held_out(config, part))
        assert learned.split == judged.split == ""  # type: ignore[attr-defined]
        if part.startswith("fold"):
            assert (learned.folds, learned.fold, learned.take) == (judged.folds, judged.fold, "rest")  # type: ignore[attr-defined]
            assert judged.take == "held_out"  # type: ignore[attr-defined]
        else:
            assert {learned.look, judged.look} == {"A", "B"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("choice", [name for name in CHOICES if name != "default"])
def test_each_choice_undoes_one_thing(choice: str) -> None:
    config = small_config(Scale(), seed=0)
    changed = CHOICES[choice](config)
    assert CHOICES["default"](config) == config
    differs = [name for name in TrainConfig.__dataclass_fields__ if getattr(changed, name) != getattr(config, name)]
    assert len(differs) == 1


def test_augmenting_half_as_often_halves_probabilities_and_keeps_sizes() -> None:
    config = small_config(Scale(), seed=0)
    before, after = config.augmentation, CHOICES["augmented half as often"](config).augmentation
    assert after.rotate == replace(before.rotate, p=before.rotate.p / 2)
    assert (after.cut_away, after.no_signal, after.kept_ps) == (before.cut_away, before.no_signal, before.kept_ps)


def test_an_error_that_no_frame_gave_is_left_out() -> None:
    found: tuple[dict[str, float], ...] = ({"aop": 4.0}, {})
    runs = [Run(condition="any", seed=0, scores=scores, weights=(), seconds=1.0) for scores in found]
    assert values_of(runs, "aop") == [4.0]
