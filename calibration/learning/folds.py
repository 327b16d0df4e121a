"""Grouped cross-validation: one training after the other, each resumable, so that the whole is too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from calibration.errors import ConfigError
from calibration.learning.refinement.config import load_refinement_config
from calibration.learning.refinement.train import train_refinement
from calibration.learning.settings.training import load_config
from calibration.learning.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calibration.learning.settings.training import SourceSettings

FOLDS = 5
KINDS: tuple[Literal["mask", "refinement"], ...] = ("mask", "refinement")


@dataclass(frozen=True, slots=True)
class FoldRun:
    """One training of the cross-validation: `mask-0` learns from all but fold 0."""

    kind: Literal["mask", "refinement"]
    fold: int

    @property
    def name(self) -> str:
        """Of its folder and for the command line."""
        return f"{self.kind}-{self.fold}"


ALL = tuple(FoldRun(kind, fold) for fold in range(FOLDS) for kind in KINDS)
"""In the order in which they are trained: both of a fold, so that it can be judged."""


def runs_named(names: Sequence[str]) -> tuple[FoldRun, ...]:
    """The runs of some names, in the order given; all without any.

    Raises:
        ConfigError: there is no such run.
    """
    known = {run.name: run for run in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such run; the runs are {', '.join(known)}")
    return tuple(known[name] for name in names) or ALL


def train_folds(runs: Sequence[FoldRun], *, data: Path, out: Path, network: Path | str, refinement: Path | str) -> None:
    """Trains what is not yet trained to its end, each run in its own folder below `out`.

    Args:
        runs: in the order wanted.
        data: folder below which the configurations' sources lie.
        out: folder of all runs.
        network: configuration of the mask network's training.
        refinement: configuration of the second look's.

    Raises:
        DataSetError, ConfigError, TrainingError: as the trainings.
    """
    console = Console(stderr=True)
    for run in runs:
        console.print(f"{run.name}: begins")
        if run.kind == "mask":
            config = load_config(network)
            train(
                replace(
                    config,
                    train=with_fold(config.train, run.fold),
                    validation=with_fold(config.validation, run.fold),
                ),
                data=data,
                out=out / run.name,
            )
        else:
            settings = load_refinement_config(refinement)
            train_refinement(
                replace(
                    settings,
                    train=with_fold(settings.train, run.fold),
                    validation=with_fold(settings.validation, run.fold),
                ),
                data=data,
                out=out / run.name,
            )


def with_fold(sources: Sequence[SourceSettings], fold: int) -> tuple[SourceSettings, ...]:
    """The sources with another fold held out; one with fewer folds begins again after its last."""
    return tuple(replace(source, fold=fold % source.folds) if source.folds else source for source in sources)
