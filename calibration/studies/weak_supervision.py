"""What weak supervision is worth: PSFHS with a fifth of its training masks, with and without synthetic ones.

    python -m calibration.studies.weak_supervision DATA OUT

For each seed three trainings with equally many steps: on 20 % of the frames of psfhs/train, drawn by whole groups; on
the same 20 % and the rest with masks by the first network; on all of them. Each is judged on psfhs/val after its last
epoch. Stopped and started again, the study goes on. Writes `weak_supervision.json` and `weak_supervision.md`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.data.split import grouped_holdout
from calibration.evaluation.metrics import dice
from calibration.learning import checkpoint
from calibration.learning.frames import frames_of
from calibration.learning.settings.training import SourceSettings
from calibration.learning.weak_labels.run import FACTS_FILE, WEIGHTS_FILE, Teaching, write_weak_labels
from calibration.studies.common import (
    Run,
    Scale,
    in_words,
    markdown_table,
    run_as_script,
    run_folder,
    run_once,
    small_config,
    spread,
    write_study,
)
from engines.onnx.export import export_checkpoint
from engines.registry import load_engine
from stream.outputs.results_folder import prepare_folder
from stream.sources.files.masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calibration.data.base import LabelledFrame
    from calibration.learning.settings.training import TrainConfig

SHARE = 0.2
ALONE, WEAK, FULL = "labelled20", "labelled20_weak", "labelled100"
TITLES = {
    ALONE: "20 % labelled, the rest unused",
    WEAK: "20 % labelled, synthetic masks for the rest",
    FULL: "100 % labelled",
}
SCORES = ("dice_ps", "dice_fh")
LABELLED = SourceSettings(path="psfhs", folds=5, plane="standard", labelled=1.0)
HELD_OUT = replace(LABELLED, take="held_out")


def main(data: Path, out: Path, scale: Scale) -> None:
    """Runs the study, or what is left of it."""
    runs: list[Run] = []
    masks = []
    for seed in scale.seeds:
        runs.append(run_once(_config(scale, seed, share_of(seed)), condition=ALONE, data=data, out=out))
        folder = out / f"masks-seed{seed}"
        made = teach_rest(data, folder, teacher=teacher_of(out, seed), seed=seed)
        masks.append(made)
        source = replace(share_of(seed), rest_unlabelled=True, synthetic=str(folder))
        if made["kept"]:  # with nothing to trust, the rest stays unused
            source = replace(source, labelled=0.5, unlabelled=0.5)
        runs.append(run_once(_config(scale, seed, source), condition=WEAK, data=data, out=out))
        runs.append(run_once(_config(scale, seed, LABELLED), condition=FULL, data=data, out=out))
    _report(out, scale, runs, masks)


def share_of(seed: int) -> SourceSettings:
    """The labelled fifth that a seed draws."""
    return replace(LABELLED, share=SHARE, share_seed=seed)


def teacher_of(out: Path, seed: int) -> Path:
    """The network trained on the labelled fifth, as a model file."""
    folder = run_folder(out, ALONE, seed)
    path = folder / "teacher.onnx"
    if not path.exists():
        export_checkpoint(folder / checkpoint.CHECKPOINT, path)
    return path


def teach_rest(data: Path, folder: Path, *, teacher: Path, seed: int) -> dict[str, object]:
    """Synthetic masks for the frames outside the labelled fifth, and how near they come to the true ones.

    Masks that this very teacher wrote before are kept.
    """
    rest = _rest(data, seed)
    with load_engine(teacher) as engine:
        if not _is_made_by(engine.spec.sha256, folder):
            names = [WEIGHTS_FILE, FACTS_FILE, *(path.name for path in folder.glob("*.png"))]
            prepare_folder(folder, source=data / LABELLED.path, results=names)
            frames = (replace(frame, mask=None) for frame in rest)
            teaching = Teaching(teachers=[engine])
            write_weak_labels(frames, teaching, folder, dataset="psfhs", count=len(rest))
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    kept = {name: facts[name] for name in ("frames", "kept", "refused", "mean_weight_of_kept")}
    return {"seed": seed, **kept, **_against_truth(rest, folder)}


def _rest(data: Path, seed: int) -> list[LabelledFrame]:
    """The frames to learn from that the seed leaves unlabelled, with their true masks."""
    frames = list(frames_of(LABELLED, data, size=0, seed=0))
    labelled = grouped_holdout([frame.group for frame in frames], SHARE, seed=seed)
    return [frame for place, frame in enumerate(frames) if place not in labelled]


def _is_made_by(sha256: str, folder: Path) -> bool:
    path = folder / FACTS_FILE
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["teachers"][0]["sha256"] == sha256


def _against_truth(rest: Sequence[LabelledFrame], folder: Path) -> dict[str, float | None]:
    """Mean Dice of the masks that were kept; None where none was."""
    with (folder / WEIGHTS_FILE).open(newline="", encoding="utf-8") as file:
        kept = {row["name"] for row in csv.DictReader(file) if float(row["weight"]) > 0}
    sums = {"mask_dice_ps": 0.0, "mask_dice_fh": 0.0}
    for frame in rest:
        if frame.name in kept and frame.mask is not None:
            found = read_mask(folder / f"{frame.name}.png")
            for code, name in enumerate(sums, start=1):
                sums[name] += dice(found == code, frame.mask == code)
    return {name: total / len(kept) if kept else None for name, total in sums.items()}


def _config(scale: Scale, seed: int, source: SourceSettings) -> TrainConfig:
    # There are no other planes in PSFHS: the plane head has nothing to learn.
    return small_config(scale, seed=seed, train=(source,), validation=(HELD_OUT,), weighting="fixed", plane_weight=0.0)


def _report(out: Path, scale: Scale, runs: Sequence[Run], masks: Sequence[dict[str, object]]) -> None:
    found = {
        condition: {score: [run.scores[score] for run in runs if run.condition == condition] for score in SCORES}
        for condition in TITLES
    }
    gains = {
        condition: {
            score: [value - alone for value, alone in zip(values[score], found[ALONE][score], strict=True)]
            for score in SCORES
        }
        for condition, values in found.items()
        if condition != ALONE
    }
    content = {
        "share_labelled": SHARE,
        "conditions": {name: {score: spread(v) for score, v in values.items()} for name, values in found.items()},
        "gain_over_labelled20": {
            name: {score: spread(v) for score, v in values.items()} for name, values in gains.items()
        },
        "synthetic_masks": list(masks),
        "runs": [
            {
                "condition": run.condition,
                "seed": run.seed,
                **{score: run.scores[score] for score in SCORES},
                "seconds": run.seconds,
            }
            for run in runs
        ],
    }
    write_study(out, "weak_supervision", scale=scale, content=content, text=_text(scale, found, gains, masks))


def _text(
    scale: Scale,
    found: dict[str, dict[str, list[float]]],
    gains: dict[str, dict[str, list[float]]],
    masks: Sequence[dict[str, object]],
) -> str:
    header = ["trained on psfhs/train", "Dice PS", "Dice FH", "gain PS", "gain FH"]
    rows = [
        [
            TITLES[name],
            *(in_words(values[score]) for score in SCORES),
            *(in_words(gains[name][score]) if name in gains else "" for score in SCORES),
        ]
        for name, values in found.items()
    ]
    taught = "; ".join(f"seed {made['seed']}: {made['kept']} of {made['frames']} frames kept" for made in masks)
    return (
        "# What synthetic masks are worth\n\n"
        f"PSFHS (CC BY 4.0), Dice on psfhs/val at {scale.size} x {scale.size} after the last of"
        f" {scale.epochs * scale.steps_per_epoch} steps with {scale.batch} frames each, the same for all. Mean ±"
        f" standard deviation over {len(scale.seeds)} seeds; a seed draws the labelled 20 %, by whole groups,"
        " and the weights. Gain: over 20 % alone with the same seed.\n\n"
        f"{markdown_table(header, rows)}\nSynthetic masks: {taught}.\n"
    )


if __name__ == "__main__":
    run_as_script(main, usage="DATA holds psfhs; results go to OUT.", seeds=3)
