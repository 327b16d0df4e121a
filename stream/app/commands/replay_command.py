"""The command line of `partum replay`."""

from __future__ import annotations

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
from stream.app.parameters import Folder, Pace, Text
from stream.measurement.biometry import Orientation

if TYPE_CHECKING:
    from stream.frames.frame import PixelSpacing


def _paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


@click.command("replay", help="Run SOURCE (default: the built-in demonstration clip) through the pipeline.")
@click.argument("source", required=False, shell_complete=_paths)
@click.option(
    "--out",
    type=Folder(path_type=Path),
    help="Folder for the results. Default: a new one below partum-runs/.",
)
@click.option("--pace", type=Pace(), default="asap", show_default=True, help="How fast frames are released.")
@click.option("--backend", type=click.Choice(BACKENDS), default=AUTO, show_default=True, help="What runs the network.")
@click.option("--model", type=Text(), help="ONNX model, or triton://host:port/name; default: the one that ships.")
@protocol_option
@orientation_option
@spacing_option
@sector_option
@pane_option
@tick_option
@profile_option
@click.option("--overlay/--no-overlay", default=True, show_default=True, help="Write overlay.mp4.")
@click.option("--early-exit", is_flag=True, help="Decode only frames that may be standard planes.")
@click.option("--loop", is_flag=True, help="Play the recording again and again until Ctrl-C.")
@verbose_option
@screen_options
def replay_command(
    source: str | None,
    out: Path | None,
    pace: float | None,
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
    loop: bool,
    **screen: Any,
) -> None:
    """See the command's help text above."""
    from stream.app.session import run_session
    from stream.app.session_options import SessionOptions

    run_session(
        SessionOptions(
            source=source,
            out=out,
            pace=pace,
            backend=backend,
            model=model,
            protocol=protocol,
            orientation=Orientation(orientation),
            spacing=spacing,
            profile=profile,
            watch=watch_options(sector=sector, pane=pane, tick_mm=tick_mm, profile=profile),
            overlay=overlay,
            **screen,
            loop=loop,
            early_exit=early_exit,
        )
    )
