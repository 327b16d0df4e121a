"""`partum folds`: the grouped cross-validation's trainings, resumable."""

from __future__ import annotations

from pathlib import Path

import click

from engines.errors import EngineUnavailable
from stream.app.command import command, out_option
from stream.app.options.values import FileOrName, Folder


@command(
    "folds",
    help="Train the networks of the grouped 5-fold cross-validation; goes on where it was.",
    examples=(
        "partum folds --data DATA -o runs",
        "partum folds mask-1 refinement-1 --data DATA -o runs",
        "partum folds mask-all refinement-all --data DATA -o runs",
    ),
)
@click.argument("runs", nargs=-1)
@click.option(
    "--data",
    required=True,
    type=Folder(path_type=Path, file_okay=False, exists=True),
    help="Folder below which the data sets lie.",
)
@out_option("FOLDER", "Folder of all runs.", type=Folder(path_type=Path, file_okay=False), required=True)
@click.option(
    "--network",
    type=FileOrName("calibration/learning/configs"),
    default="default.toml",
    show_default=True,
    help="Configuration of the mask network.",
)
@click.option(
    "--refinement",
    type=FileOrName("calibration/learning/refinement"),
    default="refinement.toml",
    show_default=True,
    help="Configuration of the second look.",
)
def folds_command(runs: tuple[str, ...], data: Path, out: Path, network: str, refinement: str) -> None:
    """See the command's help text above."""
    try:
        from calibration.learning.folds import find_runs, train_folds
    except ImportError as error:
        raise EngineUnavailable(f"training needs {error.name}; pip install 'partum[train]'") from error
    train_folds(find_runs(runs), data=data, out=out, network=network, refinement=refinement)
