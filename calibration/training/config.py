"""A training's configuration: one TOML file, checked to the last key, stored with what came of it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from calibration.errors import ConfigError
from calibration.training.augmentation.settings import AugmentationSettings
from engines.network.build import size_step

Config = TypeVar("Config")

SHIPPED = files("calibration.training") / "configs"
"""`default.toml` is our own recipe, `paper.toml` the paper's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Frames of one data set. What a data set says of its frames goes before what is said here."""

    path: str  # below the data folder; `phantom:` draws simulated frames
    split: str = ""  # one published split; empty takes all
    layout: str = ""  # empty finds out
    plane: Literal["", "standard", "other"] = ""  # of frames of which the data set does not say
    orientation: Literal["", "normal", "mirrored"] = ""  # of its pictures, where known
    empty: bool = False  # frames known to show neither PS nor FH: their mask is empty
    use_masks: bool = True  # false where the masks are not to be trusted
    exclude: tuple[str, ...] = ()  # names of frames that are left out
    per_group: int = 0  # at most so many frames of each video, evenly spread; 0 takes all
    folds: int = 0  # so many grouped folds; 0 takes all frames
    fold: int = 0  # the fold that is held out
    take: Literal["held_out", "rest"] = "rest"
    balance: float = (
        0.0  # 0 draws all frames alike, 1 all groups; between, a group by its size to the power 1 - balance
    )
    even: float = 0.0  # 0 draws frames as they are, 1 evenly over AoP and direction of the PS; between, between
    share: float = 1.0  # of the frames, by whole groups, that may be learned from with their masks ...
    share_seed: int = 0
    rest_unlabelled: bool = False  # ... and whether the others count as frames without a mask, or not at all
    look: str = ""  # one kind of scanner only, where the data set knows
    count: int = 300  # phantoms of each kind, standard planes and others
    synthetic: str = ""  # folder of masks that `partum weak-labels` wrote for frames without one
    labelled: float = 0.0  # masses: how often a step draws frames that have a mask,
    unlabelled: float = 0.0  # a synthetic mask,
    negative: float = 0.0  # or are no standard plane

    def __post_init__(self) -> None:
        if not 0.0 <= self.balance <= 1.0:
            raise ValueError(f"balance is {self.balance}, and must be 0 to 1")
        if not 0.0 <= self.even <= 1.0:
            raise ValueError(f"even is {self.even}, and must be 0 to 1")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ValueError(f"fold is {self.fold}, and must be 0 to {self.folds - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LateClassification:
    """The paper's rule: planes are learned only once segmentation is good. `epoch` 0 learns both from the start."""

    epoch: int = 0
    dice: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Every setting of a run."""

    name: str
    network: Mapping[str, Any]  # keyword arguments of the network: `engines.network.build.make_network`
    pretrained: bool = False  # whether the encoder starts from published weights (ImageNet)
    encoder_rate: float = 1.0  # the encoder's learning rate as a share of `learning_rate`
    size: int  # side of the network's square input, px
    early_size: int = 0  # side to which frames are shrunk ...
    early_epochs: int = 0  # ... in so many epochs at the start: coarse learning costs a fraction there
    epochs: int
    steps_per_epoch: int
    batch: int
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    optimiser: Literal["adamw", "schedule_free"] = "adamw"
    learning_rate: float
    warm_up_steps: int
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: float = 0.0
    clip_norm: float = 0.0  # 0 never clips
    average: float = 0.0  # decay of the moving average of weights that is validated and kept; 0 keeps the last
    refresh_batches: int = 0  # batches that renew the batch-norm statistics before each validation
    segmentation_loss: Literal["dice_focal", "cross_entropy_dice"] = "dice_focal"
    synthetic_weight: float = 0.9  # of the loss on synthetic masks
    segment_negatives: bool = True  # false: the decoder learns from standard planes alone, as the paper's
    weighting: Literal["dynamic", "fixed", "uncertainty"] = "dynamic"
    plane_weight: float = 0.5  # of the plane loss, where the weighting is fixed
    orientation_weight: float = 0.0  # of the orientation loss, beside the two that are weighed
    axis_weight: float = 0.0  # of the loss on the direction of the PS, likewise
    shape_weight: float = 0.0  # of the loss on where PS and FH lie and lean, likewise
    late_classification: LateClassification = field(default_factory=LateClassification)
    training_data: str  # for the model's own facts
    licence: str
    train: tuple[SourceSettings, ...]
    validation: tuple[SourceSettings, ...]
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        for name in ("size", "epochs", "steps_per_epoch", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, and must be above 0")
        if not any(source.labelled > 0 for source in self.train):
            raise ConfigError("no source in [[train]] has a mass 'labelled' above 0: there is nothing to segment by")
        if not any(max(source.labelled, source.unlabelled, source.negative) > 0 for source in self.validation):
            raise ConfigError("no source in [[validation]] has a mass above 0: there is nothing to judge by")

        _check_network(self.network, self.size)
        if self.pretrained and "encoder" not in self.network:
            raise ConfigError("pretrained is true, but network names no encoder that has published weights")
        if not 0 <= self.early_epochs < self.epochs:
            raise ConfigError(f"early_epochs is {self.early_epochs}, and must be 0 to {self.epochs - 1}, below epochs")
        if self.early_epochs:
            if self.early_size >= self.size:
                raise ConfigError(f"early_size is {self.early_size}, and must be below size, {self.size}")
            _check_network(self.network, self.early_size, key="early_size")


def _check_network(network: Mapping[str, Any], size: int, *, key: str = "size") -> None:
    try:
        step = size_step(network)
    except ValueError as error:
        raise ConfigError(f"network.{error}") from error
    if size <= 0 or size % step:
        raise ConfigError(f"{key} is {size}, and must be a multiple of {step}, which the network's levels ask for")


def load_config(name: Path | str) -> TrainConfig:
    """Reads a configuration file, or a shipped one by its name (`default.toml`, `paper.toml`).

    Raises:
        ConfigError: there is no such file, it is no TOML, or a key or value cannot be meant; names which.
    """
    return read_config(name, TrainConfig, SHIPPED)


def read_config(name: Path | str, kind: type[Config], shipped: Traversable) -> Config:
    """Reads a configuration of a kind, as `load_config` does; `shipped` is the folder of those that come with us."""
    path = Path(name)
    try:
        found = path if path.is_file() or path.name != str(name) else shipped / path.name
        text = found.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(entry.name for entry in shipped.iterdir() if entry.name.endswith(".toml")))
        raise ConfigError(f"{name}: no such file; give a path, or one of the shipped: {known}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not a text file ({error.reason}); give a TOML file") from error
    try:
        return build_config(kind, _extended(tomllib.loads(text), shipped))
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _extended(table: dict[str, Any], shipped: Traversable) -> dict[str, Any]:
    """The table over the shipped configuration its key `extends` names; its own keys replace the other's whole."""
    base = table.pop("extends", None)
    if base is None:
        return table
    names = sorted(entry.name for entry in shipped.iterdir() if entry.name.endswith(".toml"))
    if base not in names:
        raise ConfigError(f"extends: {base!r} is none of {', '.join(names)}")
    return _extended(tomllib.loads((shipped / base).read_text(encoding="utf-8")), shipped) | table


def parse_config(table: Mapping[str, Any]) -> TrainConfig:
    """Builds a configuration from a TOML table, or from what `dataclasses.asdict` made of one."""
    return build_config(TrainConfig, table)


def build_config(kind: type[Config], table: Mapping[str, Any]) -> Config:
    """Builds a configuration of a kind from a table.

    Raises:
        ConfigError: a key or value cannot be meant; names which.
    """
    config: Config = _build(kind, table, "")
    return config


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turns a TOML value into a field's type; every mismatch names the key."""
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _build_table(kind, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        return tuple(_build(get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, got {value!r}")
    if origin is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{where}: {value!r} is none of {', '.join(map(repr, get_args(kind)))}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (bool, int, float, str) and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _build_table(kind: Any, value: Any, where: str) -> Any:
    if not hasattr(value, "keys"):
        raise ConfigError(f"{where}: expected a table, got {value!r}")
    types = get_type_hints(kind)
    unknown = [key for key in value if key not in types]
    if unknown:
        raise ConfigError(f"{_at(where, unknown[0])}: unknown; known are {', '.join(types)}")
    missing = [
        entry.name
        for entry in fields(kind)
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in value
    ]
    if missing:
        raise ConfigError(f"{_at(where, missing[0])}: missing")
    try:
        return kind(**{key: _build(types[key], item, _at(where, key)) for key, item in value.items()})
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
