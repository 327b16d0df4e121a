"""Every sub-command of `partum`, for tests that hold of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import partum
from stream.app.command_line import program

if TYPE_CHECKING:
    from collections.abc import Iterator

Names = tuple[str, ...]
"""`("replay",)`, `("bench", "stream")`."""


def commands(group: click.Group, above: Names = ()) -> Iterator[tuple[Names, click.Command]]:
    """All below a group, by their names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


PROGRAM = program(partum.COMMANDS)
COMMANDS = dict(commands(PROGRAM))
