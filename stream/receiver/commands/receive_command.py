"""The command line of `partum receive`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.app.command import command, out_option
from stream.app.options.config_option import from_files
from stream.app.options.declare import build_options
from stream.app.options.shared import options_of
from stream.app.options.values import Folder, Number, Text, Whole

if TYPE_CHECKING:
    from collections.abc import Callable


def _write_files(context: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
    """Only writes the files for operators."""
    if folder is None or context.resilient_parsing:
        return
    from stream.common.operator_files import write_operator_files
    from stream.receiver.deploy import DEPLOY, FILES

    for path in write_operator_files(folder, DEPLOY, FILES):
        click.echo(f"{path}: {FILES[path.name]}")
    context.exit()


@command(
    "receive",
    help="Be a DICOM node: keep what scanners store, measure it, and send reports back.",
    examples=(
        "partum receive --peer SCANNER1@10.0.0.7 -o received",
        "partum receive --aet PARTUM --port 11112 --peer SCANNER1@10.0.0.7 --send-to PACS@10.0.0.2:104 -o received",
        "partum receive --write-files files",
    ),
)
@click.option("--aet", "title", type=Text(), default="PARTUM", show_default=True, metavar="AET", help="Our AE title.")
@click.option("--port", type=Whole(0, 65535), default=11112, show_default=True, metavar="PORT", help="To listen on.")
@click.option(
    "--bind",
    type=Text(),
    default="0.0.0.0",
    show_default=True,
    metavar="HOST",
    help="Address to listen on; :: for IPv4 and IPv6.",
)
@click.option(
    "--peer",
    "peers",
    type=Text(),
    multiple=True,
    required=True,
    metavar="AET@HOST",
    help="Who may send, by title and address; may be repeated. All others are rejected.",
)
@click.option(
    "--send-to", type=Text(), metavar="AET@HOST:PORT", help="Archive that a report and a segmentation are sent to."
)
@click.option(
    "--keep-hours",
    type=Number(min=0, max=1e6),
    default=72.0,
    show_default=True,
    metavar="HOURS",
    help="What was received is removed so long after it was measured and answered; what cannot be is given up then.",
)
@click.option(
    "--jobs", type=Whole(1, 1024), metavar="N", help="Processes that measure.", show_default="one for each core"
)
@click.option(
    "--write-files",
    type=Folder(path_type=Path),
    metavar="FOLDER",
    is_eager=True,
    expose_value=False,
    callback=_write_files,
    help="Only write a unit of systemd, and a file of options to begin with.",
)
@options_of("receive")
@out_option("FOLDER", "Folder for the queue and the results.", required=True)
@click.pass_context
def receive_command(
    context: click.Context,
    /,
    out: Path,
    title: str,
    port: int,
    bind: str,
    peers: tuple[str, ...],
    send_to: str | None,
    keep_hours: float,
    jobs: int | None,
    **values: Any,
) -> None:
    """See the command's help text above."""
    from stream.app.signals import stopped_by_signals

    stops: list[Callable[[], None]] = []
    with stopped_by_signals(stops) as signals:  # before all else is loaded: a service may be stopped while it starts
        from stream.app.options.session_options import SessionOptions
        from stream.receiver.run import ReceiverOptions, run_receiver

        options = ReceiverOptions(
            session=build_options(SessionOptions, values, out=out, from_files=from_files(context)),
            out=out,
            title=title,
            port=port,
            bind=bind,
            peers=peers,
            send_to=send_to,
            keep_hours=keep_hours,
            jobs=jobs,
        )
        run_receiver(options, stops, signals)
