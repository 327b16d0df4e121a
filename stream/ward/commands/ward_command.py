"""The command line of `partum ward`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command
from stream.app.options.values import FilePath, Folder


@command(
    "ward",
    help="Run the feeds that FILE, a ward.toml, names: a process for each, one engine for all, a wall of all.",
    examples=("partum ward ward.toml", "partum ward ward.toml --check", "partum ward --write-files files"),
    reads_config=False,
)
@click.argument("file", metavar="FILE", required=False, type=FilePath(path_type=Path))
@click.option("--check", is_flag=True, help="Only say whether the file is right.")
@click.option(
    "--write-files",
    "folder",
    type=Folder(path_type=Path),
    metavar="FOLDER",
    help="Only write a ward.toml to begin with, a unit of systemd, rules for Prometheus and a dashboard of Grafana.",
)
def ward_command(file: Path | None, check: bool, folder: Path | None) -> None:
    """See the command's help text above."""
    if folder is not None:
        from stream.ward.deploy import FILES, write_files

        for path in write_files(folder):
            click.echo(f"{path}: {FILES[path.name]}")
        return
    if file is None:
        raise click.UsageError("give the path of a ward.toml, or --write-files FOLDER for one to begin with")
    if check:
        from stream.ward.config import read_ward_config
        from stream.ward.wall.settings import WallSettings

        config = read_ward_config(file)
        WallSettings.checked(config)
        for notice in config.notices:
            click.echo(notice, err=True)
        click.echo(f"{file}: right; feeds: {', '.join(config.feeds)}")
        return
    from stream.ward.service.signals import WardSignals

    with WardSignals() as signals:
        from stream.ward.run import run_ward

        run_ward(file, signals)
