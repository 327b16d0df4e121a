"""Checkpoints: a run's state on disk, written atomically and restored bit for bit."""

from __future__ import annotations

import json
import platform
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from calibration.data.training_frames import join_signatures, pack_signatures, unpack_signatures
from calibration.errors import ConfigError, TrainingError
from calibration.learning.settings.toml_file import build_config
from engines.atomic_file import atomic_path
from engines.base import ModelSpec
from engines.onnx.export import CHECKPOINT_SCHEMA
from stream.common.folder_lock import locked_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from calibration.data.groups import KnownFrames
    from calibration.learning.refinement.config import RefinementConfig
    from calibration.learning.settings.training import TrainConfig
    from engines.network.build import MaskNetwork

CHECKPOINT, BEST, HISTORY = "checkpoint.pt", "best.pt", "history.jsonl"


def facts_of(network: MaskNetwork, config: TrainConfig, *, fingerprint: str, seen: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's facts beside its state; `engines.onnx.export` needs schema, spec, weights and seen."""
    stride = network.output_stride
    spec = ModelSpec(
        name=config.name,
        height=config.size,
        width=config.size,
        output_height=config.size // stride,
        output_width=config.size // stride,
        classes=("background", "PS", "FH"),
        plane_threshold=0.5,
        architecture=config.network,
        training_data=config.training_data,
        licence=config.licence,
    )
    return {
        "schema": CHECKPOINT_SCHEMA,
        "spec": spec.to_metadata(),
        "config": config_text(config),
        "data_fingerprint": fingerprint,
        "seen": dict(seen),
        "versions": {name: version(name) for name in ("torch", "numpy", "opencv-python-headless")}
        | {"python": platform.python_version()},
        "weights": network.state_dict(),
    }


def known_frames(learned: KnownFrames, start: Path | None) -> dict[str, Any]:
    """Signatures of the frames that a run learns from, those of the run it started from too, and their number.

    Raises:
        TrainingError: `start` is no checkpoint.
    """
    signatures = pack_signatures(learned.thumbnails)
    before = read_checkpoint(start).get("seen") if start else None
    if before:
        signatures = join_signatures(signatures, before["signatures"])
    return {"signatures": signatures, "frames": len(unpack_signatures(signatures))}


def config_text(config: TrainConfig | RefinementConfig) -> str:
    """A configuration as JSON; two runs with the same text and data are the same run."""
    return json.dumps(asdict(config), sort_keys=True)


def save_checkpoint(stored: Mapping[str, Any], path: Path) -> None:
    """Writes beside `path` and renames: at every moment the file there is a whole one.

    Raises:
        TrainingError: it cannot be written; what was there is still there.
    """
    try:
        with atomic_path(path) as partial:
            torch.save(dict(stored), partial)
    except (OSError, RuntimeError) as error:  # torch's writer tells a full disk by a RuntimeError
        raise TrainingError(
            f"{path}: cannot be written ({_brief(error)}); free space and start again: it goes on from the last whole"
            " checkpoint"
        ) from error


@contextmanager
def only_training_in(folder: Path) -> Iterator[None]:
    """Makes the folder of a run, and keeps other processes from training in it until the block ends.

    Raises:
        TrainingError: another process trains there, or the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(folder))
        except BlockingIOError as error:
            raise TrainingError(
                f"{folder}: another process trains there; wait for its end, or give --out another folder"
            ) from error
        except OSError as error:
            raise TrainingError(f"{folder}: cannot be used ({error.strerror}); give --out another folder") from error
        yield


def load_checkpoint(path: Path, config: TrainConfig | RefinementConfig, *, fingerprint: str) -> dict[str, Any] | None:
    """The state to go on from; None where there is none.

    Raises:
        TrainingError: the folder holds a run with another configuration or other data, or a file that is no checkpoint.
    """
    if not path.exists():
        return None
    stored = read_checkpoint(path)
    if not _is_same(stored.get("config"), config):
        raise TrainingError(f"{path}: made with another configuration; give --out another folder")
    if stored.get("data_fingerprint") != fingerprint:
        raise TrainingError(f"{path}: made with other data; give --out another folder")
    return stored


def _is_same(text: object, config: Any) -> bool:
    """Whether a stored configuration says the same; keys that are newer than it count as their defaults."""
    try:
        return bool(build_config(type(config), json.loads(str(text))) == config)
    except (ConfigError, ValueError):
        return False


def load_weights(network: MaskNetwork, path: Path) -> None:
    """Takes over the weights of another run's checkpoint.

    Raises:
        TrainingError: there is none, or it is of another network.
    """
    weights: dict[str, Any] = read_checkpoint(path).get("weights", {})
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(
            f"{path}: its weights are not those of this network ({_brief(error)}); give another --start"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint into main memory. Only a file whose content is wrong is called damaged.

    Raises:
        TrainingError: there is no such file, it may not be read, or it is no checkpoint.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    except (UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path}: not a checkpoint ({_brief(error)}); take it away to start anew") from error


def config_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a checkpoint holds, as a table."""
    table: dict[str, Any] = json.loads(stored["config"])
    return table


def _brief(error: Exception) -> str:
    """The first line: torch's messages go on with advice and lists of keys."""
    return str(error).partition("\n")[0]
