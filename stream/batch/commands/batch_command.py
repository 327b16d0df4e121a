"""The command line of `partum batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stream.app.command import command, out_option
from stream.app.options.config_option import from_files
from stream.app.options.declare import build_options
from stream.app.options.shared import options_of
from stream.app.options.values import Number, PathOrAddress, Whole


@command(
    "batch",
    help="Run many recordings through the pipeline: files, folders and what is below them, globs, @list.txt, .zip.",
    examples=(
        "partum batch exams -o results",
        "partum batch exams 'more/*.mp4' @list.txt -o results --tables-only --jobs 4",
        "partum batch exams -o results --resume",
        "partum batch inbox -o results --watch --resume",
    ),
)
@click.argument("inputs", metavar="INPUTS...", nargs=-1, required=True, type=PathOrAddress())
@options_of("batch")
@click.option(
    "--jobs",
    type=Whole(1, 1024),
    metavar="N",
    show_default="one for each core, at most 16",
    help="Recordings measured side by side, each in a process with an engine of its own.",
)
@click.option("--resume", is_flag=True, help="Go on with the results that are in the folder; nothing is done twice.")
@click.option(
    "--watch", is_flag=True, help="Go on watching the inputs: a recording that has stopped growing is measured, once."
)
@click.option(
    "--settle",
    "settle_s",
    type=Number(min=0.1, max=86_400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="While watching, a recording has stopped growing when its files have not changed for so long.",
)
@click.option("--named", is_flag=True, help="Name folders of results after the recordings too, which may name people.")
@out_option("FOLDER", "Folder for the results.", required=True)
@click.pass_context
def batch_command(
    context: click.Context,
    /,
    inputs: tuple[str, ...],
    out: Path,
    jobs: int | None,
    resume: bool,
    watch: bool,
    settle_s: float,
    named: bool,
    **values: Any,
) -> None:
    """See the command's help text above."""
    from stream.app.options.session_options import SessionOptions
    from stream.batch.run import BatchOptions, run_batch

    session = build_options(SessionOptions, values, out=out, from_files=from_files(context))
    run_batch(
        BatchOptions(
            inputs=inputs,
            session=session,
            out=out,
            jobs=jobs,
            resume=resume,
            watch=watch,
            settle_s=settle_s,
            named=named,
        )
    )
