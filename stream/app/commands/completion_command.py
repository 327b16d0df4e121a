"""The command line of `partum completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from stream.app.command import command
from stream.app.command_line import COMPLETE
from stream.app.options.values import OneOf

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    help="Print what makes SHELL complete partum's commands, options and choices.",
    examples=(
        'eval "$(partum completion bash)"    # in ~/.bashrc',
        'eval "$(partum completion zsh)"    # in ~/.zshrc',
        "partum completion fish > ~/.config/fish/completions/partum.fish",
    ),
    reads_config=False,
)
@click.argument("shell", type=OneOf(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """See the command's help text above."""
    made = get_completion_class(shell)
    assert made is not None  # Click knows all three
    click.echo(made(context.find_root().command, {}, "partum", COMPLETE).source().rstrip())
