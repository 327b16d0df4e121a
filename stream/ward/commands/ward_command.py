"""The command line of `partum ward`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command
from stream.app.options.values import FilePath


@command(
    "ward",
    help="Run the feeds that FILE, a ward.toml, names: a process for each, one engine for all, a wall of all.",
    examples=("partum ward ward.toml", "partum ward ward.toml --check"),
    reads_config=False,
)
@click.argument("file", metavar="FILE", type=FilePath(path_type=Path))
@click.option("--check", is_flag=True, help="Only say whether the file is right.")
def ward_command(file: Path, check: bool) -> None:
    """See the command's help text above."""
    if check:
        from stream.ward.config import read_ward_config

        config = read_ward_config(file)
        for notice in config.notices:
            click.echo(notice, err=True)
        click.echo(f"{file}: right; feeds: {', '.join(config.feeds)}")
        return
    from stream.ward.run import run_ward

    run_ward(file)
