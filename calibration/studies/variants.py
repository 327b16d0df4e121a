"""What each part of the recipe brings: networks trained with and without it, on one held-out fold, beside each other.

    python -m calibration.studies.variants DATA OUT --fold 1 "all=v2/mask-1:v2/refinement-1" "no ImageNet=plain/mask-1:"

A variant is a name, the folder of its mask network's training and, after a colon, that of its second look; several
folders with a comma between are averaged. The first variant is the one that the others are compared with. Writes
`variants.json` and `variants.md` to OUT, or under the name of `--name`: trainings of another length need a first of
their own.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from calibration.cross_validation.angles import aop_deg
from calibration.cross_validation.predictions import fold_frames, predict
from calibration.cross_validation.score import cases_of, error_figures, fused_axes, mask_table
from calibration.data.bands import BANDS, band_of
from calibration.errors import ConfigError
from calibration.evaluation.report import round_values
from calibration.evaluation.statistics.resampling import mean_interval
from calibration.learning.folds import FOLDS
from calibration.studies.common import markdown_table
from engines.errors import PartumError
from stream.common.atomic_file import write_atomic
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.cross_validation.predictions import Predictions
    from calibration.data.base import LabelledFrame

NAME = "variants"
LATE = BANDS[-1][0]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train.

    Attributes:
        masks: folders of trainings of mask networks.
        refinements: folders of trainings of the second look; none measures by the mask alone.
    """

    name: str
    masks: tuple[Path, ...]
    refinements: tuple[Path, ...]

    @classmethod
    def read(cls, text: str) -> Variant:
        """Reads `NAME=MASKS:REFINEMENTS`.

        Raises:
            ConfigError: it is written otherwise.
        """
        name, equals, runs = text.partition("=")
        masks, refinements = (tuple(Path(run) for run in part.split(",") if run) for part in runs.partition(":")[::2])
        if not name or not equals or not masks:
            raise ConfigError(f"{text!r} is no variant; write NAME=MASKS:REFINEMENTS, folders with a comma between")
        return cls(name, masks, refinements)


def study_variants(
    data: Path, out: Path, variants: Sequence[Variant], *, fold: int, name: str = NAME
) -> dict[str, Any]:
    """Judges all variants on the frames of one fold; returns what is written to `NAME.json` and `NAME.md` in OUT.

    Raises:
        TrainingError: a folder holds no checkpoint.
    """
    console = Console(stderr=True)
    frames = fold_frames(data, fold)
    rows: dict[str, dict[str, Any]] = {}
    base: np.ndarray[Any, np.dtype[np.float64]] | None = None
    for variant in variants:
        console.print(variant.name)
        found, errors = judge_variant(variant, frames, fold=fold)
        if base is not None:
            known = np.isfinite(errors) & np.isfinite(base)
            gain = (np.abs(errors) - np.abs(base))[known]
            groups = [group for group, is_in in zip(found.pop("groups"), known, strict=True) if is_in]
            found["more than the first"] = {"mean": float(gain.mean()), "interval": mean_interval(gain, groups)}
        else:
            base = errors
            found.pop("groups")
        rows[variant.name] = found
    content = {"fold": fold, "frames": len(frames), "variants": rows}
    facts = {
        "schema": f"partum.{NAME}/1",
        "notice": NOTICE,
        "finished_utc": now_utc(),
        **content,
        **environment_facts(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", {key: round_values(value) for key, value in facts.items()})
    write_atomic(out / f"{name}.md", f"{as_text(content)}\n{NOTICE}\n".encode())
    return content


def judge_variant(
    variant: Variant, frames: Sequence[tuple[str, LabelledFrame]], *, fold: int
) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.float64]]]:
    """A variant's figures, and its AoP errors (found - drawn) by `fhps2023`, degrees; NaN where not measured."""
    predictions: Predictions = predict(frames, fold=fold, masks=variant.masks, refinements=variant.refinements)
    cases = cases_of(predictions)
    axes = fused_axes(cases) if variant.refinements else [case.mask_axis for case in cases]
    found = np.array([aop_deg(axis, case.head) for axis, case in zip(axes, cases, strict=True)])
    truth = np.array([case.truth_deg for case in cases])
    groups = [case.group for case in cases]
    late = np.array([band_of(value) == LATE for value in truth])
    figures = {
        "AoP": error_figures(found, truth, groups),
        f"AoP, {LATE}": error_figures(found, truth, groups, late),
        "Dice": {name: scores["dice"] for name, scores in mask_table(predictions).items()},
        "groups": groups,
    }
    return figures, found - truth


def as_text(content: Mapping[str, Any]) -> str:
    """The figures as a table for people."""
    rows = []
    for name, found in content["variants"].items():
        late = found[f"AoP, {LATE}"]
        gain = found.get("more than the first")
        rows.append(
            [
                name,
                _degrees(found["AoP"]),
                _degrees(late),
                f"{found['Dice'].get('ps', math.nan):.3f}",
                f"{found['Dice'].get('fh', math.nan):.3f}",
                _gain(gain) if gain else "",
            ]
        )
    head = (
        "variant",
        "AoP error, degrees (bias)",
        f"drawn AoP {LATE}",
        "Dice PS",
        "Dice FH",
        "more than the first (95 %)",
    )
    title = (
        f"Fold {content['fold']} of {FOLDS}, {content['frames']} frames of groups that no network learned from; AoP by"
        " `fhps2023`. Weights of the second look beside the mask are fitted on these frames. Intervals are 95 %.\n"
    )
    return f"{title}\n{markdown_table(head, rows)}"


def _degrees(figures: Mapping[str, Any]) -> str:
    return f"{figures['mean']:.2f} ({figures['bias']:+.1f})" if figures.get("measured") else "none measured"


def _gain(gain: Mapping[str, Any]) -> str:
    low, high = gain["interval"] or (math.nan, math.nan)
    return f"{gain['mean']:+.2f} ({low:+.2f} to {high:+.2f})"


@click.command(help="Judge VARIANTS (NAME=MASKS:REFINEMENTS, folders of trainings) on a fold of the sets in DATA.")
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.argument("variants", nargs=-1, required=True)
@click.option("--fold", type=click.IntRange(0, FOLDS - 1), default=1, show_default=True, help="That was held out.")
@click.option("--name", default=NAME, show_default=True, help="Of the files that are written.")
def main(data: Path, out: Path, variants: tuple[str, ...], fold: int, name: str) -> None:
    """See the command's help text above."""
    study_variants(data, out, [Variant.read(text) for text in variants], fold=fold, name=name)


if __name__ == "__main__":
    try:
        main()
    except PartumError as error:
        sys.exit(f"{NAME}: {error}")
