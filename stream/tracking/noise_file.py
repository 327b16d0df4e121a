"""The filter's constants of AoP in a file, as `partum calibrate noise` writes them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

from stream.common.errors import OptionError
from stream.tracking.kalman import FilterNoise
from stream.tracking.tracker import AOP_NOISE_DEG

if TYPE_CHECKING:
    from pathlib import Path

NOISE_SCHEMA = "partum.noise/1"
SECTION = "aop_deg"
FITTED = ("white_sd", "correlated_sd", "correlation_s")
"""The constants that are fitted, each with its place in a `FilterNoise`."""
MOST_FACTOR = 16.0
"""A constant lies within this factor of the default: what is further off was not fitted to AoP in degrees."""


def read_noise(path: Path) -> FilterNoise:
    """Reads the constants.

    Raises:
        OptionError: there is no such file, or it holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise OptionError(
            f"{path}: cannot be read ({error.strerror}); name a file of `partum calibrate noise`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path}: not JSON ({error}); name a file of `partum calibrate noise`") from error
    if not isinstance(content, dict) or content.get("schema") != NOISE_SCHEMA:
        raise OptionError(f"{path}: its schema is not {NOISE_SCHEMA}; name a file of `partum calibrate noise`")
    try:
        given = {name: float(value) for name, value in content[SECTION].items()}
        noise = FilterNoise(**given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"{path}: {SECTION} cannot be used ({error}); fit it again") from error
    for name in (*FITTED, "velocity_sd"):
        value, usual = getattr(noise, name), getattr(AOP_NOISE_DEG, name)
        if not usual / MOST_FACTOR <= value <= usual * MOST_FACTOR:
            raise OptionError(f"{path}: {name} is {value:g}, and {usual:g} is usual; fit it again to AoP in degrees")
    return noise


def noise_facts(noise: FilterNoise) -> dict[str, float]:
    """The constants as the file has them."""
    return {each.name: getattr(noise, each.name) for each in fields(noise)}
