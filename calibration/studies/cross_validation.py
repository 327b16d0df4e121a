"""Grouped 5-fold cross-validation: how right the networks are on frames of groups that they did not learn from.

    partum folds --data DATA --out RUNS
    python -m calibration.studies.cross_validation DATA RUNS OUT

Takes the folds in RUNS whose mask network is trained to its end, keeps their out-of-fold predictions there
(`predictions-N.npz`, `negatives-N.npz`, made anew where a checkpoint has changed), and writes to OUT
`cross_validation.json` and `cross_validation.md`, the figures, and `fitted.json`, what is fitted to the predictions of
all folds for `partum export`: the plane gate, the joint axis, the errors to expect and the absolute interval.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from calibration.cross_validation.absolute import absolute_table, fitted_absolute, readings_of
from calibration.cross_validation.gate import (
    Negatives,
    fit_gate,
    gate_table,
    only_head_names,
    out_of_fold_gate,
    predict_negatives,
)
from calibration.cross_validation.predictions import Predictions, check_same_frames, predict_fold
from calibration.cross_validation.quality import fitted_errors, quality_of
from calibration.cross_validation.score import (
    cases_of,
    corrections,
    error_table,
    fitted_fusion,
    fused_axes,
    mask_table,
    parts_table,
    plane_table,
    protocol_angles,
    protocol_table,
)
from calibration.errors import TrainingError
from calibration.evaluation.report import round_values
from calibration.learning import checkpoint
from calibration.learning.folds import ALL, FOLDS, KINDS
from calibration.studies.cross_validation_tables import cross_validation_markdown
from engines.errors import PartumError
from engines.onnx.fitted import SCHEMA
from stream.common.atomic_file import write_atomic
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.cross_validation.score import ScoredFrame

NAME = "cross_validation"
FITTED = "fitted.json"


def study_cross_validation(data: Path, runs: Path, out: Path) -> dict[str, Any]:
    """Judges all folds whose mask network is trained; returns what is written to `cross_validation.json`.

    Raises:
        TrainingError: there is none.
    """
    console = Console(stderr=True)
    epochs = {run.name: _epochs(runs / run.name) for run in ALL}
    folds = [fold for fold in range(FOLDS) if epochs[f"mask-{fold}"]["done"] == epochs[f"mask-{fold}"].get("planned")]
    if not folds:
        raise TrainingError(f"{runs}: no mask-N in it that is trained to its end; run partum folds --out {runs} first")
    kept = []
    for fold in folds:
        console.print(f"fold {fold}")
        kept.append(_kept(fold, data=data, runs=runs))
    predictions = Predictions.concatenate([each for each, _ in kept])
    negatives = Negatives.concatenate([each for _, each in kept])
    check_same_frames(predictions)
    cases = cases_of(predictions)
    only_head = only_head_names(data)
    own, others = out_of_fold_gate(predictions, negatives, only_head)
    fitted: dict[str, Any] = {"gate": fit_gate(predictions, negatives, only_head).facts}
    content: dict[str, Any] = {
        "folds": folds,
        "epochs": epochs,
        "frames": len(predictions),
        "groups": len(set(predictions.groups.tolist())),
        "axis of the mask": _axes(cases, [case.mask_axis for case in cases]),
        "masks": mask_table(predictions),
        "protocols, masks": protocol_table(predictions, protocol_angles(predictions)),
        "planes": {
            "plane head": plane_table(predictions, predictions.features[:, 0], 0.0),
            "gate": plane_table(predictions, own, 0.0),
        },
        "gate": gate_table(predictions, negatives, own, others, only_head),
        "orientation": _orientation(predictions),
    }
    if any(case.look is not None for case in cases):
        fusion = fitted_fusion(cases)
        angles = protocol_angles(predictions, corrections(cases))
        readings = {name: readings_of(cases, each) for name, each in angles.items()}
        content |= {
            "axis of the second look": _axes(cases, [case.look.axis if case.look else None for case in cases]),
            "axis of both": _axes(cases, fused_axes(cases)),
            "fusion": asdict(fusion),
            "quality": quality_of(cases),
            "protocols, joint axis": protocol_table(predictions, angles),
            "absolute interval": {name: absolute_table(each) for name, each in readings.items()},
        }
        fitted |= {
            "fusion": asdict(fusion),
            "quality": asdict(fitted_errors(cases)),
            "absolute": fitted_absolute(readings),
        }
    _write(out, content, fitted)
    return content


def _write(out: Path, content: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    """Writes the figures, their tables, and what `partum export --fitted` takes."""
    facts = {
        "schema": f"partum.{NAME}/1",
        "notice": NOTICE,
        "finished_utc": now_utc(),
        **content,
        **environment_facts(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{NAME}.json", {key: round_values(value) for key, value in facts.items()})
    write_json(out / FITTED, {"schema": SCHEMA, "notice": NOTICE, **fitted})
    write_atomic(out / f"{NAME}.md", f"{cross_validation_markdown(content)}\n{NOTICE}\n".encode())


def _kept(fold: int, *, data: Path, runs: Path) -> tuple[Predictions, Negatives]:
    """A fold's predictions, from disk where its checkpoints are still those that made them."""
    mask, look = (runs / f"{kind}-{fold}" / checkpoint.CHECKPOINT for kind in KINDS)
    paths = [runs / f"{name}-{fold}.npz" for name in ("predictions", "negatives")]
    if not _is_made_by(paths[0], [mask, look]):
        predict_fold(fold, data=data, runs=runs).save(paths[0])
        _mark(paths[0], [mask, look])
    if not _is_made_by(paths[1], [mask, look]):
        predict_negatives(fold, data=data, runs=runs).save(paths[1])
        _mark(paths[1], [mask, look])
    return Predictions.load(paths[0]), Negatives.load(paths[1])


def _is_made_by(path: Path, checkpoints: Sequence[Path]) -> bool:
    mark = path.with_suffix(".key")
    return path.exists() and mark.exists() and mark.read_text() == _key(checkpoints)


def _mark(path: Path, checkpoints: Sequence[Path]) -> None:
    path.with_suffix(".key").write_text(_key(checkpoints))


def _key(paths: Sequence[Path]) -> str:
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none" for path in paths)


def _epochs(run: Path) -> dict[str, Any]:
    path = run / checkpoint.HISTORY
    if not path.exists():
        return {"done": 0}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    config = checkpoint.config_of(checkpoint.read_checkpoint(run / checkpoint.CHECKPOINT))
    planned = config["epochs"]
    for source in (*config["train"], *config["validation"]):
        source.pop("fold")
    recipe = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    return {"done": len(lines), "planned": planned, "seconds": sum(line["seconds"] for line in lines), "recipe": recipe}


def _axes(cases: Sequence[ScoredFrame], axes: Sequence[Any]) -> dict[str, Any]:
    return {"errors": error_table(cases, axes), "drawn instead": parts_table(cases, axes)}


def _orientation(predictions: Predictions) -> dict[str, float]:
    """PSFHS shows normal pictures: how often the network says so."""
    logits = predictions.normal_logits[np.char.startswith(predictions.names, "psfhs/")]
    known = logits[np.isfinite(logits)]
    return {"frames": len(known), "right": float((known > 0).mean())} if len(known) else {"frames": 0}


@click.command(help="Judge the folds trained in RUNS on the sets in DATA; the tables go to OUT.")
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.argument("runs", type=click.Path(file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(data: Path, runs: Path, out: Path) -> None:
    """See the command's help text above."""
    study_cross_validation(data, runs, out)


if __name__ == "__main__":
    try:
        main()
    except PartumError as error:
        sys.exit(f"{NAME}: {error}")
