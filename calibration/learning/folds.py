"""Grouped cross-validation: one training after the other, each resumable, so that the whole is too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from rich.console import Console

from calibration.errors import ConfigError, TrainingError
from calibration.learning.frames import PHANTOM
from calibration.learning.refinement.config import RefinementConfig, load_refinement_config
from calibration.learning.refinement.train import train_refinement
from calibration.learning.settings.training import SourceSettings, TrainConfig, load_config
from calibration.learning.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDS = 5
KINDS: tuple[Literal["mask", "refinement"], ...] = ("mask", "refinement")
SIMULATED = 40
"""Frames of each kind in the validation of a training on all frames."""
Config = TypeVar("Config", TrainConfig, RefinementConfig)


@dataclass(frozen=True, slots=True)
class FoldRun:
    """One training of the cross-validation: `mask-0` learns from all but fold 0, `mask-all` from all frames.

    Attributes:
        fold: that is held out; None holds nothing out, for the network that ships.
    """

    kind: Literal["mask", "refinement"]
    fold: int | None

    @property
    def name(self) -> str:
        """Of its folder and for the command line."""
        return f"{self.kind}-{'all' if self.fold is None else self.fold}"


SHIPPING = tuple(FoldRun(kind, None) for kind in KINDS)
"""What ships: the same recipe on all frames, so that the folds' figures are those of its making."""
ALL = tuple(FoldRun(kind, fold) for fold in range(FOLDS) for kind in KINDS)
"""In the order in which they are trained: both of a fold, so that it can be judged."""


def find_runs(names: Sequence[str]) -> tuple[FoldRun, ...]:
    """The runs of some names, in the order given; without any the cross-validation's, not those that ship.

    Raises:
        ConfigError: there is no such run.
    """
    known = {run.name: run for run in (*ALL, *SHIPPING)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such run; the runs are {', '.join(known)}")
    return tuple(known[name] for name in names) or ALL


def train_folds(runs: Sequence[FoldRun], *, data: Path, out: Path, network: Path | str, refinement: Path | str) -> None:
    """Trains what is not yet trained to its end, each run in its own folder below `out`.

    A run that cannot go on (its loss is no number, its folder holds another run or is in use) is told, and the next
    begins; the error comes at the end.

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
    failed: dict[str, TrainingError] = {}
    for run in runs:
        console.print(f"{run.name}: begins")
        try:
            if run.kind == "mask":
                train(held_out(load_config(network), run.fold), data=data, out=out / run.name)
            else:
                train_refinement(held_out(load_refinement_config(refinement), run.fold), data=data, out=out / run.name)
        except TrainingError as error:
            failed[run.name] = error
            console.print(f"{run.name}: {error}", markup=False)
    if failed:
        name, first = next(iter(failed.items()))
        others = f" (and so {', '.join(list(failed)[1:])})" if len(failed) > 1 else ""
        raise TrainingError(f"{name} did not end{others}: {first}") from first


def held_out(config: Config, fold: int | None) -> Config:
    """The configuration with another fold held out.

    With None nothing is held out; simulated frames alone, drawn by another seed than those learned from, take the place
    of the validation, whose figures then say nothing of people.
    """
    simulated = (SourceSettings(path=PHANTOM, count=SIMULATED, labelled=1.0),)
    validation = simulated if fold is None else with_fold(config.validation, fold)
    return replace(config, train=with_fold(config.train, fold), validation=validation)


def with_fold(sources: Sequence[SourceSettings], fold: int | None) -> tuple[SourceSettings, ...]:
    """The sources with another fold held out, or none; one with fewer folds begins again after its last."""
    if fold is None:
        return tuple(replace(source, folds=0, fold=0) for source in sources)
    return tuple(replace(source, fold=fold % source.folds) if source.folds else source for source in sources)
