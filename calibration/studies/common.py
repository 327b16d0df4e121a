"""What studies share: a small fast setting, runs that are made once, means with their spread, and the report."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import click

from calibration.errors import ConfigError, TrainingError
from calibration.evaluation.report import rounded, write_whole
from calibration.learning import checkpoint
from calibration.learning.settings.training import load_config
from calibration.learning.train import train
from engines.errors import PartumError
from stream.app.parameters import Folder
from stream.outputs.manifest import NOTICE, environment_facts, now_utc, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from calibration.learning.settings.training import TrainConfig

RESULT_FILE = "result.json"
NETWORK: Mapping[str, object] = {
    "widths": [16, 32, 64, 96, 128],
    "block": "residual",
    "stem_stride": 2,
    "up_kernel": 1,
    "plane_hidden": [32, 16],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a study is. All its runs take the same number of steps.

    Attributes:
        size: side of the network's input, px.
        seeds: of the runs of each condition.
    """

    size: int = 128
    epochs: int = 30
    steps_per_epoch: int = 40
    batch: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training of a study.

    Attributes:
        condition: what is compared.
        seed: of the weights, the frames drawn and their augmentation.
        scores: validation metrics of the last epoch, those that have a value; nothing is chosen on them.
        weights: of the segmentation and the plane loss, mean of each epoch.
        seconds: what the training took, all epochs.
    """

    condition: str
    seed: int
    scores: Mapping[str, float]
    weights: tuple[tuple[float, float], ...]
    seconds: float


def small_config(scale: Scale, *, seed: int, **changes: Any) -> TrainConfig:
    """`default.toml` with a small network on small frames, and `changes`."""
    base = load_config("default.toml")
    return replace(
        base,
        name="study",
        network=NETWORK,
        size=scale.size,
        epochs=scale.epochs,
        steps_per_epoch=scale.steps_per_epoch,
        batch=scale.batch,
        seed=seed,
        warm_up_steps=scale.epochs * scale.steps_per_epoch // 10,
        early_size=0,
        early_epochs=0,
        **changes,
    )


def run_folder(out: Path, condition: str, seed: int) -> Path:
    """Where a run's files lie."""
    return out / "runs" / f"{condition}-seed{seed}"


def run_once(config: TrainConfig, *, condition: str, data: Path, out: Path) -> Run:
    """Trains, or reads the result where this run was made before; one that was killed goes on.

    Raises:
        TrainingError: the result that is there was made with other settings, or the training fails.
        DataSetError, ConfigError: the data are not what the configuration says.
    """
    folder = run_folder(out, condition, config.seed)
    path = folder / RESULT_FILE
    settings = hashlib.sha256(checkpoint.as_text(config).encode()).hexdigest()
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["settings"] != settings:
            raise TrainingError(f"{path}: made with other settings; give the study another folder OUT")
    else:
        scores = train(config, data=data, out=folder)
        lines = (folder / checkpoint.HISTORY).read_text(encoding="utf-8").splitlines()
        history = [json.loads(line) for line in lines]
        stored = {
            "settings": settings,
            "scores": scores,
            "weights": [(line["w_seg"], line["w_plane"]) for line in history],
            "seconds": sum(line["seconds"] for line in history),
        }
        write_json(path, stored)
    return Run(
        condition=condition,
        seed=config.seed,
        scores={name: value for name, value in stored["scores"].items() if value is not None},
        weights=tuple((segmentation, plane) for segmentation, plane in stored["weights"]),
        seconds=stored["seconds"],
    )


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation (n - 1), least and largest; the deviation is None for a single value."""
    return {
        "mean": fmean(values),
        "sd": stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def in_words(values: Sequence[float]) -> str:
    """`0.912 ± 0.004`, or the value alone."""
    deviation = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{deviation}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with a line break at its end."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_study(out: Path, name: str, *, scale: Scale, content: Mapping[str, object], text: str) -> None:
    """Writes `NAME.json` (what was found, how, on what) and `NAME.md` (the same for people)."""
    facts = {
        "schema": f"partum.{name}/1",
        "notice": NOTICE,
        "finished_utc": now_utc(),
        "scale": asdict(scale),
        "network": dict(NETWORK),
        **content,
        **environment_facts(),
    }
    write_json(out / f"{name}.json", {key: rounded(value) for key, value in facts.items()})
    write_whole(out / f"{name}.md", f"{text}\n{NOTICE}\n".encode())


def run_as_script(study: Callable[[Path, Path, Scale], None], *, usage: str, seeds: int) -> None:
    """The command line of a study; ends the process."""
    default = Scale()

    @click.command(help=usage)
    @click.argument("data", type=Folder(path_type=Path))
    @click.argument("out", type=Folder(path_type=Path))
    @click.option("--size", type=click.IntRange(32), default=default.size, show_default=True)
    @click.option("--epochs", type=click.IntRange(1), default=default.epochs, show_default=True)
    @click.option("--steps", type=click.IntRange(1), default=default.steps_per_epoch, show_default=True)
    @click.option("--batch", type=click.IntRange(1), default=default.batch, show_default=True)
    @click.option("--seeds", type=click.IntRange(1), default=seeds, show_default=True, help="How many.")
    def command(data: Path, out: Path, size: int, epochs: int, steps: int, batch: int, seeds: int) -> None:
        if not data.is_dir():
            raise ConfigError(f"{data}: no such folder; give the one that holds the data sets")
        out.mkdir(parents=True, exist_ok=True)
        scale = Scale(size=size, epochs=epochs, steps_per_epoch=steps, batch=batch, seeds=tuple(range(seeds)))
        study(data, out.resolve(), scale)

    try:
        command()
    except PartumError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
