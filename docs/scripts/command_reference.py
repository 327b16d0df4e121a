"""Writes what the documents say of options and exit codes, from their declarations.

    python docs/scripts/command_reference.py            # write
    python docs/scripts/command_reference.py --check    # exit code 1 if a document is not current

A document says where a block goes by `<!-- reference: NAME -->` and `<!-- /reference -->`, each in a line of its own.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from partum import COMMANDS
from stream.app.command_line import program
from stream.app.exit_codes import MEANINGS
from stream.app.options.declare import as_option, declared_fields, key_of
from stream.app.options.shared import SHARED
from stream.ward.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.app.options.declare import Declaration, Option

DOCUMENTS = tuple(REPOSITORY / "docs" / name for name in ("command-line.md", "configuration.md", "ward.md"))
BLOCK = re.compile(r"(<!-- reference: ([a-z-]+) -->\n).*?(<!-- /reference -->)", flags=re.DOTALL)
WIDTH = 100
"""Of the help, in letters."""


def helps() -> str:
    """The help of every command, under a heading each."""
    return "\n\n".join(f"### partum {name}\n\n```text\n{text}\n```" for name, text in _helps(program(COMMANDS), ""))


def _helps(group: click.Group, above: str) -> Iterator[tuple[str, str]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _helps(command, f"{above}{name} ")
        else:
            context = click.Context(
                command, info_name=f"partum {above}{name}", terminal_width=WIDTH, **command.context_settings
            )
            yield f"{above}{name}", command.get_help(context)


def exit_codes() -> str:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def keys() -> str:
    """The tables that commands share, with every key."""
    parts = []
    for kind in SHARED:
        rows = [_key_row(as_option(each, kind, what.on[0]), what) for each, what in declared_fields(kind)]
        head = ["| key | value | default | of | meaning |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"### `[{kind.TABLE}]`", "", *head, *rows]))
    return "\n\n".join(parts)


def ward_keys() -> str:
    """The tables of `ward.toml` that are its own, with every key."""
    parts = []
    for kind in TABLES:
        cells = [_cells(as_option(each, kind, what.on[0]), what) for each, what in declared_fields(kind)]
        rows = [f"| {' | '.join([key.replace('-', '_'), *rest])} |" for key, *rest in cells]
        head = ["| key | value | default | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([f"### `[{kind.TABLE}]`", "", *head, *rows]))
    return "\n\n".join(parts)


def _key_row(option: Option, what: Declaration) -> str:
    *cells, meaning = _cells(option, what)
    return f"| {' | '.join([*cells, ', '.join(what.on), meaning])} |"


def _cells(option: Option, what: Declaration) -> list[str]:
    """Key, value, default and meaning."""
    context = click.Context(click.Command("partum"))
    value = "true, false" if option.is_flag else option.make_metavar(context).strip("[]").replace("|", ", ")
    value = f"list of {value}" if option.multiple else value
    default = what.shown_default or _toml(option.get_default(context))
    others = [f"{_toml(other)} of {name}" for name, other in what.defaults.items()]
    return [f"`{key_of(option)}`", value, ", ".join([default, *others]), what.help]


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value or "")


BLOCKS = {"helps": helps, "exit-codes": exit_codes, "keys": keys, "ward-keys": ward_keys}


def filled(document: Path) -> str:
    """The document's text with every block written anew."""
    return BLOCK.sub(
        lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n\n{match[3]}", document.read_text(encoding="utf-8")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is not current")
    checked = parser.parse_args().check
    stale = [path for path in DOCUMENTS if filled(path) != path.read_text(encoding="utf-8")]
    if checked and stale:
        names = ", ".join(path.relative_to(REPOSITORY).as_posix() for path in stale)
        sys.exit(f"not current: {names}; run python docs/scripts/command_reference.py")
    for path in stale:
        path.write_text(filled(path), encoding="utf-8")


if __name__ == "__main__":
    main()
