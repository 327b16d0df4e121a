"""What carries over to frames unlike those learned from: another scanner, and other patients.

    python -m calibration.studies.generalisation DATA OUT

`psfhs/val` holds other patients but the same scanners, and few of them; what is chosen by it alone may fail elsewhere.
So each choice of the recipe is undone, trained on one look of PSFHS and judged on the other, and trained on all but
one of its grouped folds and judged on that. Writes `generalisation.json` and `generalisation.md`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from calibration.learning.augmentation.settings import AugmentationSettings, Effect
from calibration.learning.settings.training import SourceSettings
from calibration.studies.common import (
    Run,
    Scale,
    in_words,
    markdown_table,
    run_as_script,
    run_once,
    small_config,
    spread,
    write_study,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from calibration.learning.settings.training import TrainConfig

FOLDS = 3
HOLDOUTS: Mapping[str, tuple[str, ...]] = {
    "A to B": ("A-B",),
    "B to A": ("B-A",),
    f"{FOLDS} folds": tuple(f"fold{fold}" for fold in range(FOLDS)),
}
"""Headline: the parts that are held out under it, as `held_out` reads them."""
SCORES = {
    "psfhs/labelled/dice_ps": "PS",
    "psfhs/labelled/dice_fh": "FH",
    "psfhs/labelled/aop_error_deg": "AoP error",
    "psfhs/labelled/aop_measured": "measured",
}


def main(data: Path, out: Path, scale: Scale) -> None:
    """Runs the study, or what is left of it."""
    found = {
        choice: {
            headline: [
                run_once(
                    change(held_out(small_config(scale, seed=seed), part)),
                    condition=f"{choice.replace(' ', '_')}-{part}",
                    data=data,
                    out=out,
                )
                for part in parts
                for seed in scale.seeds
            ]
            for headline, parts in HOLDOUTS.items()
        }
        for choice, change in CHOICES.items()
    }
    content = {
        "choices": {
            choice: {
                headline: {score: spread(values) for score in SCORES if (values := values_of(runs, score))}
                for headline, runs in of_one.items()
            }
            for choice, of_one in found.items()
        }
    }
    write_study(out, "generalisation", scale=scale, content=content, text=_text(scale, found))


def held_out(config: TrainConfig, part: str) -> TrainConfig:
    """Trains on PSFHS (train and val together) but for `part`, and on the other sources; judges on `part`.

    Args:
        config: to be changed.
        part: `A-B` learns from look A and judges on look B; `foldN` holds out a fold of near-duplicate groups.
    """
    psfhs = next(source for source in config.train if source.path == "psfhs")
    others = tuple(source for source in config.train if source.path != "psfhs")
    judged = SourceSettings(path="psfhs", orientation="normal", plane="standard", labelled=1.0)
    if part.startswith("fold"):
        fold = int(part.removeprefix("fold"))
        learned = replace(psfhs, split="", folds=FOLDS, fold=fold)
        judged = replace(judged, folds=FOLDS, fold=fold, take="held_out")
    else:
        look, other = part.split("-")
        learned, judged = replace(psfhs, split="", folds=0, look=look), replace(judged, look=other)
    return replace(config, train=(learned, *others), validation=(judged,))


def drawn_evenly(config: TrainConfig) -> TrainConfig:
    """All frames of PSFHS as often as each other, however many of one group there are."""
    sources = (replace(source, balance=0.0) for source in config.train)
    return replace(config, train=tuple(sources))


def augmented_half_as_often(config: TrainConfig) -> TrainConfig:
    """Each effect of the augmentation with half its probability; the negatives it makes as they were."""
    negatives = {"cut_away", "decoy", "upside_down", "no_signal"}
    effects: dict[str, Any] = {
        entry.name: replace(effect, p=effect.p / 2)
        for entry in fields(AugmentationSettings)
        if entry.name not in negatives and isinstance(effect := getattr(config.augmentation, entry.name), Effect)
    }
    return replace(config, augmentation=replace(config.augmentation, **effects))


CHOICES: Mapping[str, Callable[[TrainConfig], TrainConfig]] = {
    "default": lambda config: config,
    "without shape loss": lambda config: replace(config, shape_weight=0.0),
    "frames drawn evenly": drawn_evenly,
    "augmented half as often": augmented_half_as_often,
}


def values_of(runs: Sequence[Run], score: str) -> list[float]:
    """The score of each run that has it: an AoP error has none where no frame could be measured."""
    return [run.scores[score] for run in runs if score in run.scores]


def _text(scale: Scale, found: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    header = ["choice", *(f"{headline}, {name}" for headline in HOLDOUTS for name in SCORES.values())]
    rows = [
        [
            choice,
            *(
                _cell(values_of(runs, score), digits=1 if "deg" in score else 3)
                for runs in of_one.values()
                for score in SCORES
            ),
        ]
        for choice, of_one in found.items()
    ]
    return (
        "# What carries over\n\n"
        "Trained on one look of PSFHS (A or B, train and val together), or on all but one of"
        f" {FOLDS} grouped folds, and on the other sources of default.toml, at {scale.size} x {scale.size},"
        f" {scale.epochs * scale.steps_per_epoch} steps with {scale.batch} frames each. Dice and absolute AoP error"
        " (degrees, fhps2023, of the share measured) on all frames held out, after the last step; folds: mean ±"
        f" standard deviation; seeds: {len(scale.seeds)}.\n\n{markdown_table(header, rows)}"
    )


def _cell(values: Sequence[float], *, digits: int) -> str:
    if not values:
        return "-"
    return in_words(values) if digits == 3 else f"{fmean(values):.{digits}f}"


if __name__ == "__main__":
    run_as_script(main, usage="DATA holds the sources of default.toml; results go to OUT.", seeds=1)
