"""The command line of `partum attach`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
from click.shell_completion import CompletionItem

from stream.app.command import command
from stream.app.options.config_option import from_files
from stream.app.options.declare import build_options
from stream.app.options.shared import options_of
from stream.app.options.values import PathOrAddress

ADDRESSES = (
    *("rtsp://", "rtmp://", "udp://@:", "tcp://", "http://", "igtl://"),
    *("v4l2:/dev/video0", "screen:"),
)
"""How live feeds are named; what completes a word of the command line."""


def _addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(address) for address in ADDRESSES if address.startswith(incomplete)]


@command(
    "attach",
    help="Watch a live SOURCE, or several: rtsp://, rtmp://, udp://, http://, igtl://, v4l2:/dev/video0 or screen:.",
    examples=(
        "partum attach v4l2:/dev/video0 --serve 127.0.0.1:8400",
        "partum attach rtsp://10.0.0.7/live --profile scanner.toml --record -o results",
        "partum attach igtl://127.0.0.1:18944/Image --igtl-out 18945",
    ),
)
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, type=PathOrAddress(), shell_complete=_addresses
)
@options_of("attach")
@click.pass_context
def attach_command(context: click.Context, /, sources: tuple[str, ...], **values: Any) -> None:
    """See the command's help text above."""
    from stream.app.options.session_options import SessionOptions
    from stream.app.session import run_session

    options = build_options(SessionOptions, values, source=sources[0], live=True, from_files=from_files(context))
    port = options.igtl_out
    more = [
        replace(options, source=source, igtl_out=port + number if port else port)
        for number, source in enumerate(sources[1:], 1)
    ]
    run_session(options, *more)
