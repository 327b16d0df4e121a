"""A training's configuration: one TOML file, checked to the last key, stored with what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from calibration.errors import ConfigError
from calibration.learning.augmentation.settings import AugmentationSettings
from calibration.learning.settings.network import check_network
from calibration.learning.settings.ranges import Amount, Count, PositiveCount, Range, Share, Text
from calibration.learning.settings.toml_file import build_config, read_config
from engines.network.build import network_kind, size_step

Rate = Annotated[float, Range(0, 10, above=True)]
Side = Annotated[int, Range(0, 8192, above=True)]
Seed = Annotated[int, Range(0, 2**40)]
Decay = Annotated[float, Range(0, 1, below=True)]

SHIPPED = files("calibration.learning") / "configs"
"""`default.toml` is our own recipe, `paper.toml` the paper's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Frames of one data set. What a data set says of its frames goes before what is said here."""

    path: Text  # below the data folder; `phantom:` draws simulated frames
    split: str = ""  # one published split; empty takes all
    layout: str = ""  # empty finds out
    plane: Literal["", "standard", "other"] = ""  # of frames of which the data set does not say
    orientation: Literal["", "normal", "mirrored"] = ""  # of its pictures, where known
    empty: bool = False  # frames known to show neither PS nor FH: their mask is empty
    use_masks: bool = True  # false where the masks are not to be trusted
    exclude: tuple[str, ...] = ()  # names of frames that are left out
    per_group: Count = 0  # at most so many frames of each video, evenly spread; 0 takes all
    folds: Count = 0  # so many grouped folds; 0 takes all frames
    fold: Count = 0  # the fold that is held out
    take: Literal["held_out", "rest"] = "rest"
    # 0 draws all frames alike, 1 all groups; between, a group by its size to the power 1 - balance
    balance: Share = 0.0
    even: Share = 0.0  # 0 draws frames as they are, 1 evenly over AoP and direction of the PS; between, between
    share: Annotated[float, Range(0, 1, above=True)] = (
        1.0  # of the frames, by whole groups, that may be learned from with their masks ...
    )
    share_seed: Seed = 0
    rest_unlabelled: bool = False  # ... and whether the others count as frames without a mask, or not at all
    look: str = ""  # one kind of scanner only, where the data set knows
    count: PositiveCount = 300  # phantoms of each kind, standard planes and others
    synthetic: str = ""  # folder of masks that `partum weak-labels` wrote for frames without one
    labelled: Amount = 0.0  # masses: how often a step draws frames that have a mask,
    unlabelled: Amount = 0.0  # a synthetic mask,
    negative: Amount = 0.0  # or are no standard plane

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds is 1, and must be 0, for all frames, or 2 or more")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ValueError(f"fold is {self.fold}, and must be 0 to {self.folds - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LateClassification:
    """The paper's rule: planes are learned only once segmentation is good. `epoch` 0 learns both from the start."""

    epoch: Count = 0
    dice: Share = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Every setting of a run."""

    name: Text
    network: Mapping[str, Any]  # keyword arguments of the network: `engines.network.build.make_network`
    pretrained: bool = False  # whether the encoder starts from published weights (ImageNet)
    encoder_rate: Annotated[float, Range(0, 100)] = 1.0  # the encoder's learning rate as a share of `learning_rate`
    size: Side  # side of the network's square input, px
    early_size: Count = 0  # side to which frames are shrunk ...
    early_epochs: Count = 0  # ... in so many epochs at the start: coarse learning costs a fraction there
    epochs: PositiveCount
    steps_per_epoch: PositiveCount
    batch: PositiveCount
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    optimiser: Literal["adamw", "schedule_free"] = "adamw"
    learning_rate: Rate
    warm_up_steps: Count
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    clip_norm: Amount = 0.0  # 0 never clips
    average: Annotated[float, Range(0, 1, below=True)] = (
        0.0  # decay of the moving average of weights that is validated and kept; 0 keeps the last
    )
    refresh_batches: Count = 0  # batches that renew the batch-norm statistics before each validation
    segmentation_loss: Literal["dice_focal", "cross_entropy_dice"] = "dice_focal"
    synthetic_weight: Amount = 0.9  # of the loss on synthetic masks
    segment_negatives: bool = True  # false: the decoder learns from standard planes alone, as the paper's
    weighting: Literal["dynamic", "fixed", "uncertainty"] = "dynamic"
    plane_weight: Amount = 0.5  # of the plane loss, where the weighting is fixed
    orientation_weight: Amount = 0.0  # of the orientation loss, beside the two that are weighed
    axis_weight: Amount = 0.0  # of the loss on the direction of the PS, likewise
    shape_weight: Amount = 0.0  # of the loss on where PS and FH lie and lean, likewise
    late_classification: LateClassification = field(default_factory=LateClassification)
    training_data: Text  # for the model's own facts
    licence: Text
    train: tuple[SourceSettings, ...]
    validation: tuple[SourceSettings, ...]
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        if not any(source.labelled > 0 for source in self.train):
            raise ConfigError("no source in [[train]] has a mass 'labelled' above 0: there is nothing to segment by")
        if not any(max(source.labelled, source.unlabelled, source.negative) > 0 for source in self.validation):
            raise ConfigError("no source in [[validation]] has a mass above 0: there is nothing to judge by")

        check_network(network_kind(self.network), self.network)
        _check_size(self.network, self.size, key="size")
        if self.pretrained and "encoder" not in self.network:
            raise ConfigError("pretrained is true, but network names no encoder that has published weights")
        if not 0 <= self.early_epochs < self.epochs:
            raise ConfigError(f"early_epochs is {self.early_epochs}, and must be 0 to {self.epochs - 1}, below epochs")
        if self.early_epochs:
            if self.early_size >= self.size:
                raise ConfigError(f"early_size is {self.early_size}, and must be below size, {self.size}")
            _check_size(self.network, self.early_size, key="early_size")


def _check_size(network: Mapping[str, Any], size: int, *, key: str) -> None:
    step = size_step(network)
    if size <= 0 or size % step:
        raise ConfigError(f"{key} is {size}, and must be a multiple of {step}, which the network's levels ask for")


def load_config(name: Path | str) -> TrainConfig:
    """Reads a configuration file, or a shipped one by its name (`default.toml`, `paper.toml`).

    Raises:
        ConfigError: there is no such file, it is no TOML, or a key or value cannot be meant; names which.
    """
    return read_config(name, TrainConfig, SHIPPED)


def parse_config(table: Mapping[str, Any]) -> TrainConfig:
    """Builds a configuration from a TOML table, or from what `dataclasses.asdict` made of one."""
    return build_config(TrainConfig, table)
