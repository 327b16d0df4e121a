"""The configuration of a refinement training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from calibration.errors import ConfigError
from calibration.training.augmentation.settings import AugmentationSettings
from calibration.training.config import SourceSettings, read_config


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementConfig:
    """Every setting of a run; what is not explained here is as in `calibration.training.config.TrainConfig`."""

    name: str
    network: Mapping[str, Any]  # keyword arguments of `engines.network.refinement.RefinementNetwork`
    pretrained: bool = True
    size: int = 256  # side of the square from which crops are taken: that of the mask network's input
    epochs: int
    steps_per_epoch: int
    batch: int
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    optimiser: Literal["adamw", "schedule_free"] = "adamw"
    learning_rate: float
    encoder_rate: float = 1.0
    warm_up_steps: int
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    average: float = 0.0
    direction_weight: float = 1.0  # of the error of the direction, in radians
    ends_weight: float = 1.0  # of the error of the ends, in half sides of the crop
    spread_weight: float = 0.05  # of the likelihood of the direction's error under the answer's own spread
    training_data: str
    licence: str
    train: tuple[SourceSettings, ...]
    validation: tuple[SourceSettings, ...]
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        for name in ("size", "epochs", "steps_per_epoch", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, and must be above 0")


def load_refinement_config(name: Path | str) -> RefinementConfig:
    """Reads a configuration file, or the shipped one, `refinement.toml`.

    Raises:
        ConfigError: as `calibration.training.config.load_config`.
    """
    return read_config(name, RefinementConfig, files("calibration.training.refinement"))
