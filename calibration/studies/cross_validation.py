"""Grouped 5-fold cross-validation: how right the networks are on frames of groups that they did not learn from.

    partum folds --data DATA --out RUNS
    python -m calibration.studies.cross_validation DATA RUNS OUT

Takes what folds are trained in RUNS, keeps their out-of-fold predictions there (`predictions-N.npz`, `negatives-N.npz`,
made anew where a checkpoint has changed), and writes `cross_validation.json` and `cross_validation.md` to OUT.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from calibration.cross_validation.gate import Negatives, ask_negatives, gate_table, out_of_fold
from calibration.cross_validation.predictions import Predictions, check_same_frames, predict_fold
from calibration.cross_validation.score import (
    cases_of,
    error_table,
    fitted_fusion,
    fused_axes,
    mask_table,
    parts_table,
    plane_table,
    protocol_table,
    quality_of,
)
from calibration.errors import TrainingError
from calibration.evaluation.report import rounded, write_whole
from calibration.studies.common import markdown_table
from calibration.training import checkpoint
from calibration.training.folds import ALL, FOLDS
from engines.errors import PartumError
from stream.cli import Folder
from stream.sinks.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.cross_validation.score import Case

NAME = "cross_validation"
ONE_FOLD = "With one fold, weights of fusion, gate and doubts are fitted on the frames that they are judged on.\n"


def study(data: Path, runs: Path, out: Path) -> dict[str, Any]:
    """Judges all folds whose mask network has a checkpoint; returns what is written to `cross_validation.json`.

    Raises:
        TrainingError: there is none.
    """
    console = Console(stderr=True)
    folds = [fold for fold in range(FOLDS) if (runs / f"mask-{fold}" / checkpoint.CHECKPOINT).exists()]
    if not folds:
        raise TrainingError(f"{runs}: no mask-N/{checkpoint.CHECKPOINT} in it; run partum folds --out {runs} first")
    kept = []
    for fold in folds:
        console.print(f"fold {fold}")
        kept.append(_kept(fold, data=data, runs=runs))
    predictions = Predictions.joined([each for each, _ in kept])
    negatives = Negatives.joined([each for _, each in kept])
    check_same_frames(predictions)
    cases = cases_of(predictions)
    own, others = out_of_fold(predictions, negatives)
    content: dict[str, Any] = {
        "folds": folds,
        "epochs": {run.name: _epochs(runs / run.name) for run in ALL},
        "frames": len(predictions),
        "groups": len(set(predictions.groups.tolist())),
        "axis of the mask": _axes(cases, [case.mask_axis for case in cases]),
        "masks": mask_table(predictions),
        "protocols, masks": protocol_table(predictions),
        "planes": {
            "plane head": plane_table(predictions, predictions.features[:, 0], 0.0),
            "gate": plane_table(predictions, own, 0.0),
        },
        "gate": gate_table(predictions, negatives, own, others),
        "orientation": _orientation(predictions),
    }
    if any(case.look is not None for case in cases):
        fusion = fitted_fusion(cases)
        content |= {
            "axis of the second look": _axes(cases, [case.look.axis if case.look else None for case in cases]),
            "axis of both": _axes(cases, fused_axes(cases)),
            "fusion": {"direction": fusion.direction, "inferior end": fusion.inferior},
            "quality": quality_of(cases),
        }
    facts = {
        "schema": f"partum.{NAME}/1",
        "notice": NOTICE,
        "finished_utc": now_utc(),
        **content,
        **environment_facts(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{NAME}.json", {key: rounded(value) for key, value in facts.items()})
    write_whole(out / f"{NAME}.md", f"{_as_text(content)}\n{NOTICE}\n".encode())
    return content


def _kept(fold: int, *, data: Path, runs: Path) -> tuple[Predictions, Negatives]:
    """A fold's predictions, from disk where its checkpoints are still those that made them."""
    key = _key([runs / f"{kind}-{fold}" / checkpoint.CHECKPOINT for kind in ("mask", "refinement")])
    paths = [runs / f"{name}-{fold}.npz" for name in ("predictions", "negatives")]
    mark = runs / f"predictions-{fold}.key"
    if mark.exists() and mark.read_text() == key and all(path.exists() for path in paths):
        return Predictions.load(paths[0]), Negatives.load(paths[1])
    made = predict_fold(fold, data=data, runs=runs), ask_negatives(fold, data=data, runs=runs)
    for each, path in zip(made, paths, strict=True):
        each.save(path)
    mark.write_text(key)
    return made


def _key(paths: Sequence[Path]) -> str:
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none" for path in paths)


def _epochs(run: Path) -> dict[str, Any]:
    path = run / checkpoint.HISTORY
    if not path.exists():
        return {"done": 0}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    planned = checkpoint.config_of(checkpoint.read(run / checkpoint.CHECKPOINT))["epochs"]
    return {"done": len(lines), "planned": planned, "seconds": sum(line["seconds"] for line in lines)}


def _axes(cases: Sequence[Case], axes: Sequence[Any]) -> dict[str, Any]:
    return {"errors": error_table(cases, axes), "drawn instead": parts_table(cases, axes)}


def _orientation(predictions: Predictions) -> dict[str, float]:
    """PSFHS shows normal pictures: how often the network says so."""
    logits = predictions.normal_logits[np.char.startswith(predictions.names, "psfhs/")]
    known = logits[np.isfinite(logits)]
    return {"frames": len(known), "right": float((known > 0).mean())} if len(known) else {"frames": 0}


def _as_text(content: Mapping[str, Any]) -> str:
    """The tables for people."""
    runs = content["epochs"].items()
    done = ", ".join(f"{name} {each['done']} of {each['planned']}" for name, each in runs if each["done"])
    parts = [
        f"Out-of-fold figures of folds {', '.join(map(str, content['folds']))} of {FOLDS}: {content['frames']} frames"
        f" in {content['groups']} groups. Epochs trained: {done}.\n",
        ONE_FOLD if len(content["folds"]) == 1 else "",
        "AoP error by `fhps2023`, degrees: mean (95 % interval over groups) / median / p95, bias.\n",
    ]
    kinds = [name for name in ("axis of the mask", "axis of the second look", "axis of both") if name in content]
    rows = [
        [part, *(_error_cell(content[kind]["errors"][part]) for kind in kinds)] for part in content[kinds[0]]["errors"]
    ]
    parts.append(markdown_table(["frames", *kinds], rows))
    parts.append("\nMean AoP error left where parts are replaced by the drawn ones, degrees:\n")
    rows = [
        [part, *(f"{content[kind]['drawn instead'][part]:.1f}" for kind in kinds)]
        for part in content[kinds[0]]["drawn instead"]
    ]
    parts.append(markdown_table(["drawn instead", *kinds], rows))
    parts.append("\n")
    rows = [
        [name, *(f"{value[key]:.3f}" for key in ("dice", "asd_px", "hd_px"))]
        for name, value in content["masks"].items()
    ]
    parts.append(markdown_table(["masks at 256 x 256", "Dice", "ASD, px", "HD, px"], rows))
    parts.append("\n")
    rows = [[name, _error_cell(value)] for name, value in content["protocols, masks"].items()]
    parts.append(markdown_table(["AoP of the masks alone by", "error"], rows))
    parts.append("\n")
    gate = content["gate"]
    rows = [
        [name, str(value["frames"]), f"{100 * value['pass']:.1f} %", f"{100 * value['pass and measured']:.1f} %"]
        for name, value in gate.items()
        if isinstance(value, dict)
    ]
    parts.append(markdown_table(["gate: frames", "", "pass", "pass and are measured"], rows))
    areas = [f"{name} {value:.3f}" for name, value in gate.items() if isinstance(value, float)]
    parts.append(f"\n{'; '.join(areas)}.\n")
    if "quality" in content:
        rows = [[name, *(f"{number:.2f}" for number in value.values())] for name, value in content["quality"].items()]
        header = list(next(iter(content["quality"].values())))
        parts.append("\nAoP error of the joint axis, degrees, of frames sorted by a doubt:\n")
        parts.append(markdown_table(["doubt", *header], rows))
        parts.append(f"\nShare of the second look: {json.dumps(rounded(content['fusion']))}.\n")
    return "\n".join(parts)


def _error_cell(figures: Mapping[str, Any]) -> str:
    if not figures.get("measured"):
        return f"none of {figures['frames']}"
    interval = figures["interval"]
    around = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    return (
        f"{figures['mean']:.1f}{around} / {figures['median']:.1f} / {figures['p95']:.1f}, {figures['bias']:+.1f};"
        f" {figures['measured']} of {figures['frames']}"
    )


@click.command(help="Judge the folds trained in RUNS on the sets in DATA; the tables go to OUT.")
@click.argument("data", type=Folder(path_type=Path))
@click.argument("runs", type=Folder(path_type=Path))
@click.argument("out", type=Folder(path_type=Path))
def main(data: Path, runs: Path, out: Path) -> None:
    """See the command's help text above."""
    study(data, runs, out)


if __name__ == "__main__":
    try:
        main()
    except PartumError as error:
        sys.exit(f"{NAME}: {error}")
