"""The command line of `partum export-table`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command, out_option
from stream.app.options.values import FilePath, OneOf


@command(
    "export-table",
    help="Write RUN, or the runs of a day, as one tidy CSV table for R and pandas.",
    examples=(
        "partum export-table results -o frames.csv",
        "partum export-table partum-runs/001 partum-runs/002 --by push -o day.csv",
    ),
    reads_config=False,
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FilePath(path_type=Path))
@out_option("FILE", "CSV file to write.", required=True)
@click.option("--by", type=OneOf(["frame", "push"]), default="frame", show_default=True, help="What a row is.")
@click.option("--unfinished", is_flag=True, help="Take a run that never ended as far as it came.")
def export_table_command(runs: tuple[Path, ...], out: Path, by: str, unfinished: bool) -> None:
    """See the command's help text above."""
    from stream.exports.summary import check_out
    from stream.exports.tidy_table import write_frames, write_pushes
    from stream.exports.verification import changes_of, said_of_changes
    from stream.labour.recorded_run import open_runs

    read = open_runs(runs, unfinished=unfinished)
    check_out(out, *read)
    count = write_frames(read, out) if by == "frame" else write_pushes(read, out)
    for run in read:
        if said := said_of_changes(changes_of(run.folder)):
            click.echo(f"{run.folder}: {said}", err=True)
    click.echo(f"written: {count} rows in {out}")
