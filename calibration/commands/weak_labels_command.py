"""`partum weak-labels`: a teacher writes masks for the frames of a data set that have none."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from calibration.data import LAYOUTS, open_dataset
from calibration.data.base import SPLITS
from stream.app.command import command, out_option
from stream.app.options.shared import options_of
from stream.app.options.values import FilePath, Folder, Number, OneOf

if TYPE_CHECKING:
    from collections.abc import Mapping


@command(
    "weak-labels",
    help="Let teachers write masks for the frames of DATASET that have none.",
    examples=("partum weak-labels DATA/planes --teacher model.onnx -o labels",),
)
@click.argument("dataset", type=Folder(path_type=Path))
@click.option(
    "--teacher",
    "teachers",
    type=FilePath(path_type=Path),
    multiple=True,
    required=True,
    help="ONNX model; given several times, the models' probabilities are averaged.",
)
@out_option("FOLDER", "Folder for masks and weights.csv.", type=Folder(path_type=Path), required=True)
@options_of("weak-labels")
@click.option("--split", type=OneOf(SPLITS), help="Only this part of the data set. Default: all of it.")
@click.option("--layout", type=OneOf(LAYOUTS), help="How the data set lies on disk. Default: found out.")
@click.option(
    "--plane",
    type=OneOf(["possible", "standard"]),
    default="possible",
    show_default=True,
    help="Frames to label: all not known to be other planes, or only those known to be standard planes.",
)
@click.option("--min-confidence", type=Number(0.0, 1.0), help="Least mean probability of PS and FH [0.8].")
def weak_labels_command(
    dataset: Path,
    teachers: tuple[Path, ...],
    out: Path,
    backend: str,
    device: str | None,
    split: str | None,
    layout: str | None,
    plane: str,
    min_confidence: float | None,
) -> None:
    """See the command's help text above."""
    from calibration.evaluation.evaluate import EvaluationOptions, check_split
    from calibration.learning.weak_labels.filters import FilterLimits
    from calibration.learning.weak_labels.run import FACTS_FILE, WEIGHTS_FILE, LabelingSettings, write_weak_labels
    from engines.registry import load_engine
    from stream.outputs.results_folder import check_folder, prepare_folder

    limits = FilterLimits() if min_confidence is None else replace(FilterLimits(), confidence=min_confidence)
    data = open_dataset(dataset, layout)
    count = check_split(EvaluationOptions(dataset=dataset, out=out, split=split), data)
    earlier = [WEIGHTS_FILE, FACTS_FILE, *(path.name for path in out.glob("*.png"))]
    check_folder(out, source=dataset, results=earlier)
    with ExitStack() as stack:
        engines = [stack.enter_context(load_engine(teacher, backend, device=device)) for teacher in teachers]
        folder = prepare_folder(out, source=dataset, results=earlier)
        about = {"layout": data.layout, "split": split}
        teaching = LabelingSettings(teachers=engines, limits=limits, only_standard=plane == "standard")
        facts = write_weak_labels(data.frames(split), teaching, folder, dataset=str(dataset), count=count, about=about)
    _say(facts, folder)


def _say(facts: Mapping[str, object], folder: Path) -> None:
    """A few lines on stderr."""
    console = Console(stderr=True)
    refused = facts["refused"]
    reasons = ", ".join(f"{name} {count}" for name, count in refused.items()) if isinstance(refused, dict) else ""
    console.print(f"{facts['kept']} of {facts['frames']} frames got a mask, mean weight {facts['mean_weight_of_kept']}")
    if reasons:
        console.print(f"refused: {reasons}")
    console.print(f"results: {escape(str(folder))}")
    console.print(str(facts["notice"]))
