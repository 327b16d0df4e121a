"""`--config` and `--no-config`: what files say becomes the defaults of the command that runs, and is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from engines.redaction import looks_like_address
from stream.app.options.declare import key_of
from stream.common.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from stream.app.options.config_file import ConfigFile, Setting

CONFIG, NO_CONFIG = "config_file", "no_config"
"""Parameters that no file can hold."""
_FILE, _NONE, _READ, _SETTINGS = (f"partum.config.{name}" for name in ("file", "none", "read", "settings"))


def apply_config(ctx: click.Context, parameter: click.Parameter, named: Path | None) -> None:
    """Callback of `--config`, with or without it: reads the files, and makes what they say the command's defaults."""
    from stream.app.options.config_file import (  # `partum --help` needs no option's declaration
        check,
        read_files,
        settings_of,
    )

    root = ctx.find_root()
    if ctx.resilient_parsing or not isinstance(root.command, click.Group):
        return  # completion; a command run by itself
    named = named or root.meta.get(_FILE)
    if ctx.meta.get(_NONE):
        if named:
            raise OptionError("--config and --no-config: give one of them")
        return
    files = read_files(named)
    for file in files:
        check(file, root.command)
    settings = settings_of(ctx.command, command_names(ctx), files)
    ctx.meta[_FILE], ctx.meta[_READ] = named, files
    ctx.default_map = {name: setting.value for name, setting in settings.items()}
    ctx.meta[_SETTINGS] = settings
    if isinstance(root.obj, list):  # what may hold a password, and is shown nowhere
        root.obj += [text for text in _texts(each.value for each in settings.values()) if looks_like_address(text)]


def forget_config(ctx: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    """Notes that no configuration file is to be read; callback of `--no-config`."""
    if is_given and ctx.meta.get(_SETTINGS) is not None:
        raise OptionError("--config and --no-config: give one of them")
    ctx.meta[_NONE] = is_given


def remember_config(ctx: click.Context, parameter: click.Parameter, named: Path | None) -> None:
    """Notes the file named by a `--config` that stands before the sub-command, as its callback."""
    ctx.meta[_FILE] = named


def read_by(ctx: click.Context) -> Sequence[ConfigFile]:
    """The files that a command has read, the first goes before the next."""
    files: Sequence[ConfigFile] = ctx.meta.get(_READ, ())
    return files


def searched_paths(ctx: click.Context) -> Sequence[Path]:
    """Paths where a command has looked for configuration files."""
    from stream.app.options.config_file import places

    return () if ctx.meta.get(_NONE) else places(ctx.meta.get(_FILE))


def command_names(ctx: click.Context) -> Sequence[str]:
    """`("bench", "stream")`."""
    names: list[str] = []
    at: click.Context | None = ctx
    while at is not None and at.parent is not None:
        names.insert(0, str(at.info_name))
        at = at.parent
    return names


def from_files(ctx: click.Context) -> dict[str, str]:
    """Which of a command's values came from files, and where they stand there."""
    settings: Mapping[str, Setting] = ctx.meta.get(_SETTINGS, {})
    return {
        name: setting.place
        for name, setting in settings.items()
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
    }


def configured_line(ctx: click.Context) -> str:
    """What is said before a command that takes something from files: which options, from where; or nothing."""
    keys = {str(each.name): key_of(each) for each in ctx.command.params}
    said = ", ".join(f"{keys[name]} ({place})" for name, place in from_files(ctx).items())
    return f"from configuration: {said}" if said else ""


def _texts(values: Iterable[object]) -> Iterable[str]:
    for value in values:
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
