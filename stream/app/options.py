"""The options that commands share, each declared once."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.redaction import scrubbed
from stream.app.parameters import Number, Spacing, Text
from stream.measurement.biometry import Orientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.preprocessing import WatchOptions


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
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
protocol_option = click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    default=DEFAULT_PROTOCOL,
    show_default=True,
    help="; ".join(f"{name}: {protocol.summary}" for name, protocol in PROTOCOLS.items()),
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
    from stream.preprocessing import WatchOptions, parse_sector, read_profile
    from stream.preprocessing.sector.detection import Panes

    options = read_profile(profile) if profile else WatchOptions()
    if sector is not None:
        options = replace(options, sector=parse_sector(sector))
    if pane is not None:
        options = replace(options, pane=Panes(pane))
    return options if tick_mm is None else replace(options, tick_mm=tick_mm)
