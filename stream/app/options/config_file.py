"""`partum.toml`: what the command line does not say, from files of the user and of the folder one works in.

A table is shared, `[source]`, `[analysis]`, `[outputs]` or `[web]`, and then for every command that has such an
option; or it is of one command, `[replay]`, `[bench.stream]`, and goes before the shared ones of its file. A key is the
option's long name without its dashes; `tick_mm` is `tick-mm`. Paths are relative to the file. Of several values holds
the first of: command line, `--config`, `./partum.toml`, the user's, default.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.app.options.config_option import CONFIG, NO_CONFIG
from stream.app.options.declare import key_of
from stream.app.options.shared import shared_options
from stream.app.options.values import Spacing, resolve_path
from stream.common.errors import OptionError
from stream.common.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "partum.toml"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration file that was read."""

    path: Path
    text: str
    tables: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, *, mend: str = "mend that, or give --no-config") -> ConfigFile:
        """Reads it; what its keys mean is looked at by `check`.

        Args:
            path: of the file.
            mend: what is said to who gave one that cannot be read.

        Raises:
            OptionError: it cannot be read, or is no TOML.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # editors of some systems begin a file with a mark
            return cls(path, text, tomllib.loads(text))
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise OptionError(f"{path}:{line}: is no text in UTF-8, as TOML is; save it as UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise OptionError(f"{path}: is no TOML ({error})") from error

    def place(self, table: str, key: str = "") -> str:
        """Where a table or a key of it stands: `partum.toml:3`.

        Of one that has no line of its own (`analysis = {protocol = "robust"}`), the line of what it is in.
        """
        wanted = (*_parts(table), *([key] if key else ()))
        lines = list(_named_lines(self.text))
        below = (number for number, names in lines if names[: len(wanted)] == wanted)
        above = ((len(names), -number) for number, names in lines if names == wanted[: len(names)])
        number = next(below, None) or -max(above, default=(0, 0))[1]
        return f"{self.path}:{number}" if number else str(self.path)


_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_NAMES = rf"({_NAME}(?:\s*\.\s*{_NAME})*)"


def _named_lines(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The lines of a TOML file that begin a table or give a key, and the full names of those."""
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(rf"\s*\[\[?\s*{_NAMES}\s*\]", line):
            header = _parts(match[1])
            yield number, header
        elif match := re.match(rf"\s*{_NAMES}\s*=", line):
            yield number, (*header, *_parts(match[1]))


def _parts(dotted: str) -> tuple[str, ...]:
    """`bench.stream` as ("bench", "stream")."""
    return tuple(name.strip("\"'") for name in re.findall(_NAME, dotted))


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a file: as Click takes it, and where it is from."""

    value: Any
    place: str


def user_file() -> Path | None:
    """The user's own file, whether or not it is there; None where the user has no home."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        named = os.environ.get("XDG_CONFIG_HOME", "")
        folder = Path(named) if os.path.isabs(named) else home / ".config"
    return folder / "partum" / NAME if folder.is_absolute() else None


def places(named: Path | None = None) -> Sequence[Path]:
    """Where files are looked for, the first goes before the next: `--config`, the folder's, the user's."""
    mine = user_file()
    return [path for path in (named, Path(NAME), mine) if path is not None]


def read_files(named: Path | None = None) -> Sequence[ConfigFile]:
    """The files that are there, in the order of `places`.

    Raises:
        OptionError: one of them cannot be read; the one that was named is not there.
    """
    there = [path for path in places() if os.path.isfile(path)]
    files = [ConfigFile.read(named)] if named else []
    for path in there:
        if not any(os.path.samefile(path, other.path) for other in files):
            files.append(ConfigFile.read(path))
    return files


def check(file: ConfigFile, program: click.Group) -> None:
    """Looks at every table and key, those of other commands too.

    Raises:
        OptionError: one is unknown, or a value is none that its option takes; names file, line and key.
    """
    shared = shared_options()
    for name, content in file.tables.items():
        if not isinstance(content, dict):
            place = file.place("", name)
            if name in shared or name in _names(program):
                if isinstance(content, list):
                    raise OptionError(f"{place}: [[{name}]] is a list of tables; write it once, as [{name}]")
                raise OptionError(f"{place}: {name!r} is a table, no value; write [{name}] and its options below")
            raise OptionError(f"{place}: {name!r} stands in no table; put it below [{_table_of(name) or 'analysis'}]")
        if name in shared:
            _check_table(file, name, content, shared[name])
            continue
        for table, inner, command in _command_tables(file, name, content, program, [*shared, *_names(program)]):
            _check_table(file, table, inner, {key_of(each): each for each in configurable(command)})


def configurable(command: click.Command) -> Iterator[click.Parameter]:
    """The parameters of a command that a file may hold: all but help and those that name files.

    None of a command that reads no files, so that none is accepted in vain.
    """
    if getattr(command, "reads_config", True):
        yield from (each for each in command.params if each.name not in (CONFIG, NO_CONFIG))


def settings_of(command: click.Command, names: Sequence[str], files: Sequence[ConfigFile]) -> dict[str, Setting]:
    """What files say for a command, by the names of its parameters.

    Args:
        command: the sub-command.
        names: of it: `("replay",)`, `("bench", "stream")`.
        files: read and checked, the first goes before the next.
    """
    found: dict[str, Setting] = {}
    for file in reversed(files):
        for each in configurable(command):
            for table in (getattr(each, "table", None), ".".join(names)):  # its own table goes before the shared one
                key = _spelled(_table(file, table), key_of(each)) if table else None
                if table and key:
                    value = _value(file, table, key, _table(file, table)[key], each)
                    found[str(each.name)] = Setting(value, file.place(table, key))
    return found


def _names(program: click.Group) -> Sequence[str]:
    return program.list_commands(click.Context(program))


def _table(file: ConfigFile, name: str) -> Mapping[str, Any]:
    """A table by its dotted name; empty where there is none."""
    found: Any = file.tables
    for part in name.split("."):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _spelled(table: Mapping[str, Any], key: str) -> str | None:
    """The key as it is spelled in a table: `tick-mm` or `tick_mm`."""
    return next((each for each in table if each.replace("_", "-") == key.replace("_", "-")), None)


def _command_tables(
    file: ConfigFile, name: str, content: dict[str, Any], program: click.Group, known: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any], click.Command]]:
    command = program.get_command(click.Context(program), name)
    if command is None:
        raise OptionError(f"{file.place(name)}: there is no command and no table [{name}].{did_you_mean(name, known)}")
    if not isinstance(command, click.Group):
        yield name, content, command
        return
    for inner, values in content.items():
        found = command.get_command(click.Context(command), inner)
        if found is None or not isinstance(values, dict):
            names = [f"{name}.{each}" for each in _names(command)]
            raise OptionError(
                f"{file.place(name, inner)}: [{name}] has the tables {', '.join(names)}, and no {inner!r}."
                f"{did_you_mean(f'{name}.{inner}', names)}"
            )
        yield f"{name}.{inner}", values, found


def _check_table(
    file: ConfigFile, table: str, content: Mapping[str, Any], known: Mapping[str, click.Parameter]
) -> None:
    seen: dict[str, str] = {}
    for key, value in content.items():
        place = file.place(table, key)
        parameter = known.get(key) or known.get(key.replace("_", "-")) or known.get(key.replace("-", "_"))
        if parameter is None:
            other = _table_of(key)
            nearest = f" It belongs in [{other}]." if other and other != table else did_you_mean(key, known)
            nearest = nearest or f" It has: {', '.join(known) or 'none'}."
            raise OptionError(f"{place}: [{table}] has no option {key!r}.{nearest}")
        if key_of(parameter) in seen:
            raise OptionError(f"{place}: [{table}] {key} is {seen[key_of(parameter)]} again; leave one out")
        seen[key_of(parameter)] = key
        _value(file, table, key, value, parameter)


def table_values(
    file: ConfigFile, table: str, content: Mapping[str, Any], known: Mapping[str, click.Parameter]
) -> dict[str, Any]:
    """What a table says, checked and as the types of its options make it, by the names of their parameters.

    Raises:
        OptionError: a key is unknown, or a value is none that its option takes; names file, line and key.
    """
    _check_table(file, table, content, known)
    found: dict[str, Any] = {}
    for parameter in known.values():
        if key := _spelled(content, key_of(parameter)):
            given = _value(file, table, key, content[key], parameter)
            found[str(parameter.name)] = parameter.type_cast_value(click.Context(click.Command(table)), given)
    return found


def _table_of(key: str) -> str:
    """The shared table that a key belongs in; empty where there is none."""
    return next((table for table, known in shared_options().items() if key.replace("_", "-") in known), "")


def _value(file: ConfigFile, table: str, key: str, value: Any, parameter: click.Parameter) -> Any:
    """A value as Click takes it, tried by the type that the command line has.

    Raises:
        OptionError: it is none that the option takes.
    """
    where = f"{file.place(table, key)}: [{table}] {key}"
    is_many = getattr(parameter, "multiple", False) or parameter.nargs == -1
    try:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            return _of(bool, value, "give true or false, without quotes")
        if is_many:
            items = _of(list, value, 'give a list, as ["first", "second"]')
            given: Any = [_single(parameter.type, item, file.path.parent) for item in items]
        else:
            given = _single(parameter.type, value, file.path.parent)
        parameter.type_cast_value(click.Context(click.Command(table)), given)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error
    except (click.UsageError, OptionError) as error:
        said = error.message if isinstance(error, click.UsageError) else str(error)
        raise OptionError(f"{where}: {said}") from error
    return given


def _single(kind: click.ParamType[Any], value: Any, folder: Path) -> Any:
    """One value, as Click takes it.

    Raises:
        TypeError: TOML has another type for it; says which.
    """
    if isinstance(kind, click.types.IntParamType):
        return _of(int, value, "give a whole number, without quotes")
    if isinstance(kind, click.types.FloatParamType):
        return _of((int, float), value, "give a number, without quotes")
    if isinstance(kind, Spacing) and isinstance(value, list):
        return ",".join(str(_of((int, float), side, "give two numbers, as [0.36, 0.36]")) for side in value)
    if getattr(kind, "takes_whole_numbers", False) and isinstance(value, int):
        return str(_of(int, value, "give a number or a text"))
    text: str = _of(str, value, "give a text in quotes")
    if any(
        sign < " " or sign == "\x7f" for sign in text
    ):  # no path, address or name has one, and a log takes it for a line
        raise TypeError("give a text without line breaks and other control characters")
    return resolve_path(kind, text, folder)


def _of(kind: Any, value: Any, wanted: str) -> Any:
    """The value, if it is of this type: TOML's true is 1 in Python, and no number here."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(wanted)
    return value
