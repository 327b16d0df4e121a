"""The command line of `partum measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.app.mask_folder import MeasureOptions, run_measure
from stream.app.options import orientation_option, protocol_option, spacing_option, verbose_option
from stream.measurement.biometry import Orientation

if TYPE_CHECKING:
    from stream.frames.frame import PixelSpacing


@click.command("measure", help="Measure AoP and HSD on MASKS, label masks (PNG, MetaImage) in a folder and below.")
@click.argument("masks", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file to write, one row per mask.")
@protocol_option
@spacing_option
@orientation_option
@verbose_option
def measure_command(masks: Path, out: Path, protocol: str, spacing: PixelSpacing | None, orientation: str) -> None:
    """See the command's help text above."""
    run_measure(
        MeasureOptions(masks=masks, out=out, protocol=protocol, spacing=spacing, orientation=Orientation(orientation))
    )
