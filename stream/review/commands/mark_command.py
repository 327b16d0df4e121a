"""The command line of `partum mark`."""

from __future__ import annotations

from pathlib import Path

import click

from stream.app.command import command
from stream.app.options.values import FilePath, Folder, Number, OneOf, Text
from stream.outputs.marks import MarkKind


@command(
    "mark",
    help="Mark moments of RUN, the folder of a finished run: start and end of a push, a note.",
    examples=(
        "partum mark results --at 81.5 --kind push_start",
        'partum mark results --at 95 --kind note --note "changed position"',
        "partum mark results --file marks.csv",
    ),
)
@click.argument("run", type=Folder(path_type=Path))
@click.option("--at", "time_s", type=Number(min=0), metavar="SECONDS", help="When, from the first frame.")
@click.option("--kind", type=OneOf(MarkKind), default=MarkKind.MARK.value, show_default=True, help="What is marked.")
@click.option("--note", type=Text(), default=None, help="Words to it, 200 letters at most.")
@click.option(
    "--file", type=FilePath(path_type=Path), help="CSV file with the columns time_s, kind, note; in the place of --at."
)
@click.option("--by", type=Text(), default="command line", show_default=True, help="Who sets it.")
@click.option("--unfinished", is_flag=True, help="Take a run that never ended as far as it came.")
def mark_command(
    run: Path, time_s: float | None, kind: MarkKind, note: str | None, file: Path | None, by: str, unfinished: bool
) -> None:
    """See the command's help text above."""
    from stream.labour.recorded_run import RecordedRun
    from stream.labour.run_marks import TypedMark, add_marks, marked_pushes, read_marks
    from stream.labour.time_axis import time_axis

    if (file is None) == (time_s is None):
        raise click.UsageError("give either --at SECONDS or --file FILE")
    if file is not None:
        marks = read_marks(file)
    else:
        assert time_s is not None
        marks = [TypedMark(time_s=time_s, kind=kind, note=note or "")]
    recorded = RecordedRun(run, unfinished=unfinished)
    axis = time_axis(recorded.table.numbers("pts_s"), recorded.table.counts("segment"))
    lines = add_marks(recorded, axis, marks, by=by)
    click.echo(f"{len(lines)} {'mark' if len(lines) == 1 else 'marks'} added to {run / 'marks.jsonl'}")
    there = recorded.read_marks()
    lone = marked_pushes(there).lone
    for mark in (mark for mark in there if mark["mark"] in lone):
        time_s = axis.of(mark["pts_s"], mark["segment"])
        click.echo(f"{mark['kind']} at {time_s:.1f} s makes no push: {lone[mark['mark']]}")
