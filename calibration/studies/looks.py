"""What carries over to a scanner the network has never seen: trained on one look of PSFHS, judged on the other.

    python -m calibration.studies.looks DATA OUT

`psfhs/val` holds other patients but the same scanners; what is chosen by it alone may fail on another. Writes
`looks.json` and `looks.md`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
from calibration.training.config import SourceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from calibration.training.config import TrainConfig

DIRECTIONS = (("A", "B"), ("B", "A"))
"""Learned from, judged on."""


CHOICES: Mapping[str, Callable[[TrainConfig], TrainConfig]] = {
    "default": lambda config: config,
    "without shape loss": lambda config: replace(config, shape_weight=0.0),
}
SCORES = {
    "psfhs/labelled/dice_ps": "PS",
    "psfhs/labelled/dice_fh": "FH",
    "psfhs/labelled/aop_error_deg": "AoP error",
    "psfhs/labelled/aop_measured": "measured",
}


def main(data: Path, out: Path, scale: Scale) -> None:
    """Runs the study, or what is left of it."""
    runs = [
        run_once(
            change(across_looks(small_config(scale, seed=seed), learned, judged)),
            condition=condition_name(choice, learned, judged),
            data=data,
            out=out,
        )
        for seed in scale.seeds
        for choice, change in CHOICES.items()
        for learned, judged in DIRECTIONS
    ]
    found = {
        choice: {
            f"{learned} to {judged}": [run for run in runs if run.condition == condition_name(choice, learned, judged)]
            for learned, judged in DIRECTIONS
        }
        for choice in CHOICES
    }
    content = {
        "choices": {
            choice: {
                direction: {score: spread([run.scores[score] for run in of_one]) for score in SCORES}
                for direction, of_one in directions.items()
            }
            for choice, directions in found.items()
        }
    }
    write_study(out, "looks", scale=scale, content=content, text=_text(scale, found))


def across_looks(config: TrainConfig, learned: str, judged: str) -> TrainConfig:
    """Trains on all PSFHS frames of one look and the other sources, judges on all of the other look."""
    psfhs = next(source for source in config.train if source.path == "psfhs")
    others = tuple(source for source in config.train if source.path != "psfhs")
    return replace(
        config,
        train=(replace(psfhs, split="", look=learned), *others),
        validation=(SourceSettings(path="psfhs", orientation="normal", plane="standard", look=judged, labelled=1.0),),
    )


def condition_name(choice: str, learned: str, judged: str) -> str:
    """A sound file name."""
    return f"{choice.replace(', ', '_').replace(' ', '_')}-{learned}-{judged}"


def _text(scale: Scale, found: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    header = ["choice", *(f"{a} to {b}, {name}" for a, b in DIRECTIONS for name in SCORES.values())]
    rows = [
        [
            choice,
            *(in_words([run.scores[score] for run in of_one]) for of_one in directions.values() for score in SCORES),
        ]
        for choice, directions in found.items()
    ]
    return (
        "# Carried over to the other look\n\n"
        f"Trained on one look of PSFHS (A or B, train and val together) and the other sources of default.toml at"
        f" {scale.size} x {scale.size}, {scale.epochs * scale.steps_per_epoch} steps with {scale.batch} frames each."
        " Dice and absolute AoP error (degrees, fhps2023, of the share measured) on all frames of the other look after"
        " the last step;"
        f" seeds: {len(scale.seeds)}.\n\n{markdown_table(header, rows)}"
    )


if __name__ == "__main__":
    run_as_script(main, usage="DATA holds the sources of default.toml; results go to OUT.", seeds=2)
