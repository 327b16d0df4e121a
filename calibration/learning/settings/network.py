"""Checks the network table of a configuration against the network's constructor."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Annotated, Any, Literal

import torch

from calibration.errors import ConfigError
from calibration.learning.settings.ranges import Positive, PositiveCount, Range
from calibration.learning.settings.toml_file import build_value

Grey = Annotated[float, Range(0, 255)]
Widths = tuple[Annotated[int, Range(0, 4096, above=True)], ...]

TYPES: Mapping[str, Any] = {
    "widths": Widths,
    "block": Literal["plain", "residual"],
    "stem_stride": Literal[1, 2],
    "up_kernel": Literal[1, 3, 5, 7],
    "plane_hidden": Widths,
    "normalise": Literal["fixed", "per_frame"],
    "grey_mean": Grey,
    "grey_std": Positive,
    "initialise": Literal["default", "xavier"],
    "orientation_head": bool,
    "encoder": Literal["efficientnet_lite0"],
    "decoder": Literal["light"],
    "decoder_widths": Widths,
    "side": PositiveCount,
    "channels": Annotated[int, Range(0, 4096, above=True)],
    "hidden": Annotated[int, Range(0, 4096, above=True)],
    "levels": Annotated[int, Range(1, 5)],
    "dropout": Annotated[float, Range(0, 1, below=True)],
}


def check_network(kind: Any, table: Mapping[str, Any]) -> None:
    """Checks that a network can be made of a table.

    Args:
        kind: the network's class, or what makes one of these keywords.
        table: of the configuration.

    Raises:
        ConfigError: a key is unknown, missing, of another type or out of range; or they contradict each other.
    """
    known = signature(kind).parameters
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ConfigError(f"network.{unknown[0]}: unknown; known are {', '.join(known)}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in table:
            raise ConfigError(f"network.{name}: missing")
    for key, value in table.items():
        build_value(TYPES[key], value, f"network.{key}")
    for key in ("widths", "decoder_widths"):
        if key in table and not table[key]:
            raise ConfigError(f"network.{key} is empty, and must name at least one level")
    try:
        with torch.device("meta"):  # shapes alone: no memory, no random numbers
            kind(**table)
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise ConfigError(f"network: {error}") from error
