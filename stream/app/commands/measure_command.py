"""The command line of `partum measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.app.command import command, out_option
from stream.app.mask_folder import MeasureOptions, run_measure
from stream.app.options.shared import options_of
from stream.app.options.values import FilePath

if TYPE_CHECKING:
    from stream.frames.frame import PixelSpacing
    from stream.measurement.biometry import Orientation


@command(
    "measure",
    help="Measure AoP and HSD on MASKS, label masks (PNG, MetaImage) in a folder and below.",
    examples=(
        "partum measure masks -o aop.csv",
        "partum measure masks -o aop.csv --protocol iugc2024",
    ),
)
@click.argument("masks", type=FilePath(path_type=Path))
@options_of("measure")
@out_option("FILE", "CSV file to write, one row per mask.", required=True)
def measure_command(
    masks: Path, out: Path, protocol: str, spacing: PixelSpacing | None, orientation: Orientation
) -> None:
    """See the command's help text above."""
    run_measure(MeasureOptions(masks=masks, out=out, protocol=protocol, spacing=spacing, orientation=orientation))
