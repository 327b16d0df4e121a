"""The command line of `partum report`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from stream.app.command import command, out_option
from stream.app.options.declare import Option
from stream.app.options.values import Folder, PathOrAddress


@command(
    "report",
    help="Make a report of RUN, the folder of a finished run; of several: their progress over the day, then each.",
    examples=(
        "partum report results -o report.html --pdf",
        "partum report 08h 11h 14h --at 08:10 --at 11:05 --at 14:20 -o day.html",
    ),
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=Folder(path_type=Path))
@out_option("FILE", "HTML file to write, self-contained.", default="report.html", show_default=True)
@click.option("--pdf", is_flag=True, cls=Option, section="Outputs", help="Print it as PDF too, beside the HTML file.")
@click.option(
    "--at",
    "times",
    multiple=True,
    metavar="TIME",
    help="When a RUN was scanned, as 08:10 or 2026-11-26T08:10; once for each RUN, in their order. Live runs know it.",
)
@click.option(
    "--source", type=PathOrAddress(), help="Where the pictures of a single RUN are now, if its source was moved."
)
@click.option("--unfinished", is_flag=True, help="Take runs that never ended as far as they came.")
def report_command(
    runs: tuple[Path, ...], out: Path, pdf: bool, times: tuple[str, ...], source: str | None, unfinished: bool
) -> None:
    """See the command's help text above."""
    from stream.report.write import write_report

    made = datetime.now().astimezone()
    for path in write_report(runs, out, made=made, pdf=pdf, times=times, source=source, unfinished=unfinished):
        click.echo(f"written: {path}")
