"""The command line of this package: what `partum replay` and `partum measure` take."""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from engines.redaction import scrubbed
from engines.registry import AUTO, BACKENDS
from stream.biometry import Orientation
from stream.frame import PixelSpacing
from stream.protocols import protocols

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.watch import WatchOptions


ADDRESSES = (
    *("rtsp://", "rtmp://", "udp://@:", "tcp://", "http://", "igtl://"),
    *("v4l2:/dev/video0", "screen:"),
)
"""How live feeds are named; what completes a word of the command line."""


class Pace(click.ParamType[float | None]):
    """`asap` (None), `realtime` (1.0) or `xN` (N times as fast)."""

    name = "asap|realtime|xN"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        text = str(value)
        if text == "asap":
            return None
        if text == "realtime":
            return 1.0
        speed = float(text[1:]) if re.fullmatch(r"x\d{1,4}(\.\d+)?", text) else 0.0
        if speed <= 0:
            self.fail(f"{text!r} is no pace; give asap, realtime, or a factor such as x2 or x0.5", param, ctx)
        return speed


class Spacing(click.ParamType[PixelSpacing]):
    """`X,Y` in millimetres per pixel."""

    name = "X,Y"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PixelSpacing:
        if isinstance(value, PixelSpacing):
            return value
        try:
            x_mm, y_mm = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no spacing; give two positive millimetres such as 0.36,0.36", param, ctx)
        try:
            return PixelSpacing.checked(x_mm, y_mm)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class Number(click.FloatRange):
    """A number of a range; NaN and infinity, which Python reads as numbers, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number that can be counted with", param, ctx)
        return number


class Text(click.ParamType[str]):
    """A text that was really given: an unset shell variable must not choose the default in silence."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            self.fail("the value is empty; give one, or leave the option out", param, ctx)
        return str(value)


class Folder(click.Path):
    """A path that was really given: an unset shell variable must not spread files over the current folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("the path is empty; give one, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


class RedactingFormatter(logging.Formatter):
    """Log lines and tracebacks without the passwords of the command line's addresses, whoever wrote them."""

    def __init__(self, pattern: str, *, given: Sequence[str]) -> None:
        super().__init__(pattern)
        self._given = given

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record), *self._given)


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        shown = logging.StreamHandler()
        shown.setFormatter(RedactingFormatter("%(name)s: %(message)s", given=ctx.find_root().obj or ()))
        logging.basicConfig(handlers=[shown])
        for package in ("partum", "engines", "stream", "calibration"):
            logging.getLogger(package).setLevel(logging.DEBUG)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_verbose,
    help="Say what is done, and show the traceback of an error.",
)
protocol_option = click.option(
    "--protocol",
    type=click.Choice(list(protocols())),
    default="robust",
    show_default=True,
    help="; ".join(f"{name}: {line}" for name, line in protocols().items()),
)
spacing_option = click.option(
    "--spacing", type=Spacing(), help="Millimetres per pixel in x and y, where the file does not know them."
)
sector_option = click.option(
    "--sector",
    show_default="auto, or the profile's",
    help="Where the ultrasound is: auto finds it, 800x600+100+50 is a box. Only its pixels are shown and written; whole"
    " takes, shows and writes pictures as they are, names and all.",
)
pane_option = click.option("--pane", type=click.Choice(["left", "right"]), help="Which of two pictures side by side.")
tick_option = click.option(
    "--tick-mm", type=Number(min=0.1, max=100), help="From tick to tick of the ruler on the screen."
)
profile_option = click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with what of a scanner's screen stays: screen, sector, pane, tick_mm, spacing_mm.",
)
orientation_option = click.option(
    "--orientation",
    type=click.Choice([str(choice) for choice in Orientation]),
    default=str(Orientation.AUTO),
    show_default=True,
    help="Whether the pictures are mirrored (PS on the right); auto finds out.",
)


def _paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(address) for address in ADDRESSES if address.startswith(incomplete)]


_SCREEN_OPTIONS = (
    click.option("--serve", metavar="HOST:PORT", help="Show it in a browser, for example at 127.0.0.1:8400."),
    click.option("--token", type=Text(), help="That viewers from elsewhere must bring. Default: made up, and said."),
    click.option(
        "--allow-host",
        "allow_hosts",
        metavar="NAME",
        multiple=True,
        help="Name by which viewers may call the screen, beside its address; may be repeated.",
    ),
    click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate (PEM): serve the screen by HTTPS."),
    click.option("--tls-key", type=click.Path(path_type=Path), help="Its key (PEM), where that is another file."),
)


def screen_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of the screen to a command, which takes them as `**screen`."""
    for option in reversed(_SCREEN_OPTIONS):
        command = option(command)
    return command


def watch_options(*, sector: str | None, pane: str | None, tick_mm: float | None, profile: Path | None) -> WatchOptions:
    """What a profile says, and what was said on the command line in its place."""
    from stream.watch import WatchOptions, parse_sector, read_profile
    from stream.watch.sector import Panes

    options = read_profile(profile) if profile else WatchOptions()
    if sector is not None:
        options = replace(options, sector=parse_sector(sector))
    if pane is not None:
        options = replace(options, pane=Panes(pane))
    return options if tick_mm is None else replace(options, tick_mm=tick_mm)


@click.command(help="Run SOURCE (default: the built-in demonstration clip) through the pipeline.")
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
def replay(
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
    from stream.session import run_session
    from stream.session_options import SessionOptions

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


@click.command(
    help="Watch a live SOURCE, or several: rtsp://, rtmp://, udp://, http://, igtl://, v4l2:/dev/video0 or screen:."
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
def attach(
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
    from stream.session import run_session
    from stream.session_options import SessionOptions

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
