"""Reads TOML tables into dataclasses; every error names its key's path."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from calibration.errors import ConfigError
from calibration.learning.settings.ranges import Range, Sizes

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Config = TypeVar("Config")


def read_config(name: Path | str, kind: type[Config], shipped: Traversable) -> Config:
    """Reads a configuration of a kind from a file, or a shipped one by its name.

    Args:
        name: of the file.
        kind: the dataclass it fills.
        shipped: the folder of those that come with us.

    Raises:
        ConfigError: there is no such file, it is no TOML, or a key or value cannot be meant; names which.
    """
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
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep to be a configuration") from error


def _extended(table: dict[str, Any], shipped: Traversable) -> dict[str, Any]:
    """The table over the shipped configuration its key `extends` names; its own keys replace the other's whole."""
    base = table.pop("extends", None)
    if base is None:
        return table
    names = sorted(entry.name for entry in shipped.iterdir() if entry.name.endswith(".toml"))
    if base not in names:
        raise ConfigError(f"extends: {base!r} is none of {', '.join(names)}")
    return _extended(tomllib.loads((shipped / base).read_text(encoding="utf-8")), shipped) | table


def build_config(kind: type[Config], table: Mapping[str, Any]) -> Config:
    """Builds a configuration of a kind from a table.

    Raises:
        ConfigError: a key or value cannot be meant; names which.
    """
    config: Config = build_value(kind, table, "")
    return config


def build_value(kind: Any, value: Any, where: str) -> Any:
    """Turns a TOML value into a type, `Annotated` with the range it must lie in or not.

    Raises:
        ConfigError: it is of another type, out of range, or no number; `where`, the key's path, leads the message.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        plain, *limits = get_args(kind)
        return _within(limits, build_value(plain, value, where), where)
    if is_dataclass(kind):
        return _build_table(kind, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        return tuple(build_value(get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, got {value!r}")
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in get_args(kind)):
            raise ConfigError(f"{where}: {value!r} is none of {', '.join(map(repr, get_args(kind)))}")
        return value
    return _build_plain(kind, value, where)


def _build_plain(kind: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and is_number:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}, and must be a finite number")
        return value
    if kind in (bool, int, float, str) and (not isinstance(value, kind) or (kind is int and not is_number)):
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _within(limits: list[Any], value: Any, where: str) -> Any:
    """The value, checked against what its type is annotated with."""
    for limit in limits:
        if isinstance(limit, Sizes):
            for name in ("low", "high"):
                if value.p > 0:
                    _within([limit.range], getattr(value, name), f"{where}.{name}")
        elif isinstance(limit, Range) and not limit.holds(len(value) if isinstance(value, str) else value):
            wanted = "some text" if isinstance(value, str) else limit
            raise ConfigError(f"{where} is {value!r}, and must be {wanted}")
    return value


def _build_table(kind: Any, value: Any, where: str) -> Any:
    if not hasattr(value, "keys"):
        raise ConfigError(f"{where}: expected a table, got {value!r}")
    types = get_type_hints(kind, include_extras=True)
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
    built = {key: build_value(types[key], item, _at(where, key)) for key, item in value.items()}
    try:
        return kind(**built)
    except ValueError as error:  # what keys say of each other; the message begins with one of them
        raise ConfigError(_at(where, str(error))) from error


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
