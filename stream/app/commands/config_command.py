"""The command line of `partum config`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from engines.redaction import looks_like_address, redact
from stream.app.command import command, json_option
from stream.app.options.config_file import configurable, settings_of
from stream.app.options.config_option import read_by, searched_paths
from stream.app.options.declare import key_of
from stream.app.options.shared import RUNS
from stream.common.errors import OptionError
from stream.common.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream.app.options.config_file import ConfigFile

SECRET = "***"


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """Effective value of an option.

    Attributes:
        table: that it shares with other commands; empty for one of its command alone.
        key: in a configuration file.
        value: as it may be shown.
        origin: `partum.toml:3`, or `default`.
    """

    table: str
    key: str
    value: Any
    origin: str


def _complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of commands, and behind the name of a group those of its own."""
    at = context.find_root().command
    for name in context.params.get("names") or ():
        found = at.get_command(context, name) if isinstance(at, click.Group) else None
        if found is None:
            return []
        at = found
    known = at.list_commands(context) if isinstance(at, click.Group) else []
    return [name for name in known if name.startswith(incomplete)]


@command(
    "config",
    help="Show what holds for COMMAND (default: replay and attach), and where each value comes from.",
    examples=("partum config", "partum config bench stream", "partum config replay --config clinic.toml --json"),
)
@click.argument("names", metavar="[COMMAND]", nargs=-1, shell_complete=_complete_names)
@json_option
@click.pass_context
def config_command(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """See the command's help text above."""
    files = read_by(context)
    chosen = [names] if names else [(each,) for each in RUNS]
    held = {" ".join(each): list(_held(_find(context, each), each, files)) for each in chosen}
    looked = [(str(path), os.path.isfile(path)) for path in searched_paths(context)]
    if as_json:
        commands = {
            name: {each.key: {"value": each.value, "from": each.origin, "table": each.table or name} for each in rows}
            for name, rows in held.items()
        }
        there = [{"path": path, "found": found} for path, found in looked]
        click.echo(json.dumps({"files": there, "commands": commands}, indent=2))
        return
    click.echo("Configuration files; what the first says goes before what the next says:")
    for path, found in looked:
        click.echo(f"  {path}{'' if found else '  (is not there)'}")
    for name, rows in held.items():
        _print(name, rows)


def _find(context: click.Context, names: Sequence[str]) -> click.Command:
    """The sub-command of these names.

    Raises:
        OptionError: there is none.
    """
    at: click.Command = context.find_root().command
    for number, name in enumerate(names):
        known = at.list_commands(context) if isinstance(at, click.Group) else []
        if not isinstance(at, click.Group) or name not in known:
            said = " ".join(names[: number + 1])
            raise OptionError(f"there is no command {said!r}.{did_you_mean(name, known)}")
        found = at.get_command(context, name)
        assert found is not None
        at = found
    if isinstance(at, click.Group):
        raise OptionError(f"{' '.join(names)}: name one of its commands too: {', '.join(at.list_commands(context))}")
    return at


def _held(command: click.Command, names: Sequence[str], files: Sequence[ConfigFile]) -> Iterator[EffectiveValue]:
    settings = settings_of(command, names, files)
    context = click.Context(command)
    for each in configurable(command):
        setting = settings.get(str(each.name))
        value = setting.value if setting else each.get_default(context)
        shown = getattr(each, "show_default", None)
        if isinstance(shown, str) and not setting:
            value = shown
        is_secret = getattr(each, "is_secret", False) and setting is not None
        yield EffectiveValue(
            table=getattr(each, "table", None) or "",
            key=key_of(each),
            value=SECRET if is_secret else _shown(value),
            origin=setting.place if setting else "default",
        )


def _shown(value: Any) -> Any:
    """A value as JSON has it, and without passwords."""
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str):
        return None if not isinstance(value, os.PathLike) else os.fspath(value)
    return redact(value) if looks_like_address(value) else str(value)


def _print(name: str, rows: Sequence[EffectiveValue]) -> None:
    click.echo(f"\npartum {name}")
    keys = max((len(each.key) for each in rows), default=0)
    texts = [_text(each.value) for each in rows]
    width = min(max(map(len, texts), default=0), 40)
    for table in dict.fromkeys(each.table for each in rows):
        click.echo(f"  [{table or name.replace(' ', '.')}]")
        for each, text in zip(rows, texts, strict=True):
            if each.table == table:
                click.echo(f"    {each.key:{keys}}  {text:{width}}  {each.origin}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    return "-" if value is None else str(value)
