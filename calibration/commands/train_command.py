"""`partum train`: one configuration file, one run, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from calibration.errors import ConfigError
from engines.errors import EngineUnavailable
from stream.app.command import command, out_option
from stream.app.options.values import FileOrName, FilePath, Folder

if TYPE_CHECKING:
    from collections.abc import Mapping


@command(
    "train",
    help="Train the network that CONFIG describes: a TOML file, or the name of one that ships, as default.toml.",
    examples=("partum train default.toml --data DATA", "partum train mine.toml --data DATA -o runs/mine"),
)
@click.argument("config", type=FileOrName("calibration/learning/configs"))
@click.option(
    "--data",
    type=Folder(path_type=Path, file_okay=False),
    required=True,
    help="Folder below which the data sets named in CONFIG lie.",
)
@out_option("FOLDER", "Folder of the run. Default: runs/NAME.", type=Folder(path_type=Path, file_okay=False))
@click.option("--start", type=FilePath(path_type=Path, dir_okay=False), help="Checkpoint to start from.")
def train_command(config: str, data: Path, out: Path | None, start: Path | None) -> None:
    """See the command's help text above."""
    try:
        from calibration.learning.settings.training import load_config
        from calibration.learning.train import train
    except ImportError as error:
        raise EngineUnavailable(f"training needs {error.name}; pip install 'partum[train]'") from error
    settings = load_config(config)
    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder; give --data the folder that holds the data sets")
    folder = out or Path("runs") / Path(config).stem
    scores = train(settings, data=data, out=folder, start=start)
    Console(stderr=True).print(f"{folder}: done{last_scores(scores)}. Make a model of it: partum export")


def last_scores(scores: Mapping[str, float | None]) -> str:
    """What the validation could say: frames of one kind have no AUC, frames without masks no Dice."""
    found = {name: scores.get(name) for name in ("dice_ps", "dice_fh", "plane_auc")}
    shown = "  ".join(f"{name} {value:.3f}" for name, value in found.items() if value is not None)
    return f"; last epoch {shown}" if shown else ""
