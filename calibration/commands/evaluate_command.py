"""`partum evaluate`: how right a model is on a data set whose truth is known."""

from __future__ import annotations

from pathlib import Path

import click

from calibration.data import LAYOUTS, open_dataset
from engines.registry import AUTO, BACKENDS
from stream.app.options import orientation_option, verbose_option
from stream.app.parameters import Folder, Text
from stream.measurement.biometry import Orientation


@click.command("evaluate", help="Run a model on DATASET, a folder with annotated frames, and say how right it is.")
@click.argument("dataset", type=Folder(path_type=Path))
@click.option("--out", type=Folder(path_type=Path), required=True, help="Folder for the results.")
@click.option("--backend", type=click.Choice(BACKENDS), default=AUTO, show_default=True, help="What runs the network.")
@click.option("--model", type=Text(), help="ONNX model, or triton://host/model; default: the one that ships.")
@click.option("--split", help="Only this part of the data set: train, val or test. Default: all of it.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="How the data set lies on disk. Default: found out.")
@orientation_option
@verbose_option
def evaluate_command(
    dataset: Path,
    out: Path,
    backend: str,
    model: str | None,
    split: str | None,
    layout: str | None,
    orientation: str,
) -> None:
    """See the command's help text above."""
    from calibration.evaluation.evaluate import EvaluationOptions, check_split, run_evaluation
    from engines.registry import load_engine

    options = EvaluationOptions(
        dataset=dataset,
        out=out,
        layout=layout,
        split=split,
        backend=backend,
        model=model,
        orientation=Orientation(orientation),
    )
    data = open_dataset(dataset, layout)
    check_split(options, data)
    with load_engine(model, backend) as engine:
        run_evaluation(options, data, engine)
