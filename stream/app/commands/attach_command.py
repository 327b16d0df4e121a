"""The command line of `partum attach`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from engines.registry import AUTO, BACKENDS
from stream.app.options import (
    orientation_option,
    pane_option,
    profile_option,
    protocol_option,
    screen_options,
    sector_option,
    spacing_option,
    tick_option,
    verbose_option,
    watch_options,
)
from stream.app.parameters import Folder, Number, Text
from stream.measurement.biometry import Orientation

if TYPE_CHECKING:
    from stream.frames.frame import PixelSpacing

ADDRESSES = (
    *("rtsp://", "rtmp://", "udp://@:", "tcp://", "http://", "igtl://"),
    *("v4l2:/dev/video0", "screen:"),
)
"""How live feeds are named; what completes a word of the command line."""


def _addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(address) for address in ADDRESSES if address.startswith(incomplete)]


@click.command(
    "attach",
    help="Watch a live SOURCE, or several: rtsp://, rtmp://, udp://, http://, igtl://, v4l2:/dev/video0 or screen:.",
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=_addresses)
@click.option(
    "--out", type=Folder(path_type=Path), help="Folder for the results. Default: a new one below partum-runs/."
)
@click.option("--backend", type=click.Choice(BACKENDS), default=AUTO, show_default=True, help="What runs the network.")
@click.option("--model", type=Text(), help="ONNX model, or triton://host:port/name; default: the one that ships.")
@protocol_option
@orientation_option
@spacing_option
@sector_option
@pane_option
@tick_option
@profile_option
@screen_options
@click.option("--overlay/--no-overlay", default=False, show_default=True, help="Write overlay.mp4.")
@click.option("--early-exit", is_flag=True, help="Decode only frames that may be standard planes.")
@click.option("--duration", type=Number(min=0, max=1e7, min_open=True), help="End after so many seconds.")
@click.option("--record", is_flag=True, help="Keep the pictures too, without loss, so that it can be replayed.")
@click.option(
    "--igtl-out", type=click.IntRange(0, 65535), help="Offer the results by OpenIGTLink at this port, on this machine."
)
@verbose_option
def attach_command(
    sources: tuple[str, ...],
    out: Path | None,
    backend: str,
    model: str | None,
    protocol: str,
    orientation: str,
    spacing: PixelSpacing | None,
    sector: str | None,
    pane: str | None,
    tick_mm: float | None,
    profile: Path | None,
    overlay: bool,
    early_exit: bool,
    duration: float | None,
    record: bool,
    igtl_out: int | None,
    **screen: Any,
) -> None:
    """See the command's help text above."""
    from stream.app.session import run_session
    from stream.app.session_options import SessionOptions

    options = SessionOptions(
        source=sources[0],
        out=out,
        backend=backend,
        model=model,
        protocol=protocol,
        orientation=Orientation(orientation),
        spacing=spacing,
        profile=profile,
        watch=watch_options(sector=sector, pane=pane, tick_mm=tick_mm, profile=profile),
        overlay=overlay,
        early_exit=early_exit,
        live=True,
        record=record,
        **screen,
        igtl_out=igtl_out,
        duration_s=duration,
    )
    more = [
        replace(options, source=source, igtl_out=igtl_out + number if igtl_out else igtl_out)
        for number, source in enumerate(sources[1:], 1)
    ]
    run_session(options, *more)
