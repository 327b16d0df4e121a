"""The command line of `partum replay`."""

from __future__ import annotations

from typing import Any

import click

from stream.app.command import command
from stream.app.options.config_option import from_files
from stream.app.options.declare import build_options
from stream.app.options.shared import options_of
from stream.app.options.values import PathOrAddress


@command(
    "replay",
    help="Run SOURCE (default: the built-in demonstration clip) through the pipeline.",
    examples=(
        "partum replay",
        "partum replay exam.dcm -o results",
        "partum replay clip.mp4 --spacing 0.36,0.36 --pace realtime --serve 127.0.0.1:8400",
    ),
)
@click.argument("source", required=False, type=PathOrAddress())
@options_of("replay")
@click.pass_context
def replay_command(context: click.Context, /, source: str | None, **values: Any) -> None:
    """See the command's help text above."""
    from stream.app.options.session_options import SessionOptions
    from stream.app.session import run_session

    run_session(build_options(SessionOptions, values, source=source, from_files=from_files(context)))
