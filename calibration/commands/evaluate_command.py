"""`partum evaluate`: how right a model is on a data set whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from calibration.data import LAYOUTS, open_dataset
from stream.app.command import command, out_option
from stream.app.options.shared import options_of
from stream.app.options.values import Folder, OneOf, Text

if TYPE_CHECKING:
    from stream.measurement.biometry import Orientation


@command(
    "evaluate",
    help="Run a model on DATASET, a folder with annotated frames, and say how right it is.",
    examples=("partum evaluate DATA/psfhs --split val -o results",),
)
@click.argument("dataset", type=Folder(path_type=Path))
@out_option("FOLDER", "Folder for the results.", type=Folder(path_type=Path), required=True)
@options_of("evaluate")
@click.option("--split", type=Text(), help="Only this part of the data set: train, val or test. Default: all of it.")
@click.option("--layout", type=OneOf(LAYOUTS), help="How the data set lies on disk. Default: found out.")
def evaluate_command(
    dataset: Path,
    out: Path,
    backend: str,
    device: str | None,
    precision: str | None,
    model: str | None,
    split: str | None,
    layout: str | None,
    orientation: Orientation,
) -> None:
    """See the command's help text above."""
    from calibration.evaluation.evaluate import EvaluationOptions, check_split, run_evaluation
    from calibration.evaluation.report import FILES
    from stream.inference.engine_trial import load_judged_engine
    from stream.outputs.results_folder import check_folder

    options = EvaluationOptions(
        dataset=dataset,
        out=out,
        layout=layout,
        split=split,
        backend=backend,
        model=model,
        orientation=orientation,
    )
    data = open_dataset(dataset, layout)
    check_split(options, data)
    check_folder(out, source=dataset, results=FILES)
    with load_judged_engine(model, backend, device=device, precision=precision) as engine:
        run_evaluation(options, data, engine)
