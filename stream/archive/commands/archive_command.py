"""The command line of `partum archive`."""

from __future__ import annotations

from typing import Any

import click

from stream.app.command import command
from stream.app.options.config_option import from_files
from stream.app.options.declare import Option, build_options
from stream.app.options.shared import options_of
from stream.app.options.values import Number, PathOrAddress, Text, Whole


@command(
    "archive",
    help="Run an archive of recordings through the pipeline on a Ray cluster, into a Parquet dataset: files, folders,"
    " globs, @list.txt, .zip, s3://bucket/prefix.",
    examples=(
        "partum archive exams -o dataset",
        "partum archive s3://scans/2026 -o s3://results/2026 --address auto --num-gpus 1 --cpus 4",
        "partum archive exams -o dataset --resume",
    ),
)
@click.argument("inputs", metavar="INPUTS...", nargs=-1, required=True, type=PathOrAddress())
@options_of("archive")
@click.option(
    "--address",
    type=Text(),
    metavar="auto|HOST:PORT|ray://HOST:PORT",
    show_default="starts one on this machine",
    help="The Ray cluster that measures; auto is the one that this machine belongs to.",
)
@click.option(
    "--jobs",
    "--workers",
    "jobs",
    type=Whole(1, 100_000),
    metavar="N",
    show_default="as many as the cluster has room for",
    help="Recordings measured side by side, each by a worker with an engine of its own.",
)
@click.option("--cpus", type=Whole(1, 1024), default=1, show_default=True, metavar="N", help="Cores of each worker.")
@click.option(
    "--num-gpus",
    type=Number(min=0, max=64),
    default=0.0,
    show_default=True,
    metavar="N",
    help="GPUs of each worker; 0.25 lets four share one.",
)
@click.option(
    "--memory-gb", type=Number(min=0.1, max=10_000), metavar="GB", help="Memory that Ray reserves for each worker."
)
@click.option(
    "--segment-minutes",
    type=Number(min=0, max=10_000),
    default=5.0,
    show_default=True,
    metavar="MIN",
    help="A recording of twice this length or more is measured in parts at least this long, cut where a segment begins;"
    " 0 measures each by one worker.",
)
@click.option("--resume", is_flag=True, help="Go on with the results that are in the dataset; nothing is done twice.")
@click.option("--named", is_flag=True, help="Write the recordings' names too, which may name people.")
@click.option(
    "-o",
    "--out",
    "out",
    cls=Option,
    section="Outputs",
    type=Text(),
    metavar="DATASET",
    required=True,
    help="Folder or URI for the dataset, which all nodes of the cluster see.",
)
@click.pass_context
def archive_command(
    context: click.Context,
    /,
    inputs: tuple[str, ...],
    out: str,
    address: str | None,
    jobs: int | None,
    cpus: int,
    num_gpus: float,
    memory_gb: float | None,
    segment_minutes: float,
    resume: bool,
    named: bool,
    **values: Any,
) -> None:
    """See the command's help text above."""
    from stream.app.options.session_options import SessionOptions
    from stream.archive.cluster import Workers
    from stream.archive.run import ArchiveOptions, run_archive

    session = build_options(SessionOptions, values, from_files=from_files(context))
    memory = None if memory_gb is None else round(memory_gb * 1e9)
    run_archive(
        ArchiveOptions(
            inputs=inputs,
            session=session,
            out=out,
            address=address,
            workers=Workers(jobs=jobs, cpus=cpus, gpus=num_gpus, memory_bytes=memory),
            resume=resume,
            named=named,
            part_s=60 * segment_minutes,
        )
    )
