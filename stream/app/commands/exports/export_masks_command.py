"""The command line of `partum export-masks`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command, out_option
from stream.app.options.values import FilePath, Folder


@command(
    "export-masks",
    help="Write the frames of RUN that were corrected in review, as a data set to train on.",
    examples=("partum export-masks results -o corrected",),
    reads_config=False,
)
@click.argument("run", type=FilePath(path_type=Path))
@out_option("FOLDER", "New folder for images and masks.", required=True, type=Folder(path_type=Path))
@click.option("--source", metavar="SOURCE", help="Where the recording is now, if it has moved.")
def export_masks_command(run: Path, out: Path, source: str | None) -> None:
    """See the command's help text above."""
    from stream.exports.training_masks import export_masks
    from stream.exports.verification import changes_of, said_of_changes
    from stream.labour.recorded_run import RecordedRun

    if said := said_of_changes(changes_of(run)):
        click.echo(said, err=True)
    written = export_masks(RecordedRun(run), out, source=source)
    for note in written.notes:
        click.echo(note)
    click.echo(f"written: {written.masks} pictures with masks, {written.points} with points, in {out}")
