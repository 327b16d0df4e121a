"""The configuration of a refinement training."""

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
from calibration.learning.settings.toml_file import read_config
from calibration.learning.settings.training import Decay, Rate, Seed, Side, SourceSettings
from engines.network.refinement import RefinementNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementConfig:
    """Every setting of a run; other fields as in `calibration.learning.settings.training.TrainConfig`."""

    name: Text
    network: Mapping[str, Any]  # keyword arguments of `engines.network.refinement.RefinementNetwork`
    pretrained: bool = True
    size: Side = 256  # side of the square from which crops are taken: that of the mask network's input
    epochs: PositiveCount
    steps_per_epoch: PositiveCount
    batch: PositiveCount
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    optimiser: Literal["adamw", "schedule_free"] = "adamw"
    learning_rate: Rate
    encoder_rate: Annotated[float, Range(0, 100)] = 1.0
    warm_up_steps: Count
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    clip_norm: Amount = 0.0
    average: Decay = 0.0
    direction_weight: Amount = 1.0  # of the error of the direction, in radians
    ends_weight: Amount = 1.0  # of the error of the ends, in half sides of the crop
    spread_weight: Amount = 0.05  # of the likelihood of the direction's error under the answer's own spread
    covered: Share = 0.0  # of the crops, in which the PS is covered by other tissue: their spread is to be large
    covered_weight: Amount = 0.05  # of that
    training_data: Text
    licence: Text
    train: tuple[SourceSettings, ...]
    validation: tuple[SourceSettings, ...]
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        check_network(RefinementNetwork, self.network)
        if not self.train or not self.validation:
            raise ConfigError(f"{'validation' if self.train else 'train'}: no source; name at least one")


def load_refinement_config(name: Path | str) -> RefinementConfig:
    """Reads a configuration file, or the shipped one, `refinement.toml`.

    Raises:
        ConfigError: as `calibration.learning.settings.training.load_config`.
    """
    return read_config(name, RefinementConfig, files("calibration.learning.refinement"))
