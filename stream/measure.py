"""`partum measure`: AoP, HSD, landmarks or the reason for masks that exist already, as a CSV file."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import track

from stream.biometry import CHALLENGE_SIDE_PX, Biometry, Orientation
from stream.cli import orientation_option, protocol_option, spacing_option, verbose_option
from stream.errors import OptionError, OutputError
from stream.masks import mask_paths, read_mask
from stream.protocols import measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream.frame import PixelSpacing

LANDMARKS = ("ps_superior", "ps_inferior", "tangent", "hsd_min_foot", "hsd_perp_foot")
COLUMNS = (
    "name",
    "aop_deg",
    "hsd_min_px",
    "hsd_perp_px",
    "hsd_min_mm",
    "hsd_perp_mm",
    *(f"{landmark}_{axis}_px" for landmark in LANDMARKS for axis in "xy"),
    "mirrored",
    "reason",
    "protocol",
)

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """What the user asked for.

    Attributes:
        masks: a folder of masks, or one mask.
        out: the CSV file to write; it appears only when it is whole.
        protocol: a name in `stream.protocols.protocols()`.
        spacing: of the masks' pixels; None where unknown.
        orientation: of all masks.
    """

    masks: Path
    out: Path
    protocol: str = "robust"
    spacing: PixelSpacing | None = None
    orientation: Orientation = Orientation.AUTO


@click.command("measure", help="Measure AoP and HSD on MASKS, a folder of label masks (PNG or MetaImage) or one file.")
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


def run_measure(options: MeasureOptions) -> None:
    """Measures every mask and writes one CSV row for each; says on stderr how many and why not the others.

    Raises:
        MaskError, SourceError: a mask that cannot be read; nothing is written then.
        OutputError: the CSV file cannot be written.
    """
    paths = mask_paths(options.masks)
    if options.out.resolve() in [path.resolve() for path in paths]:
        raise OptionError(f"{options.out}: is one of the masks; give --out another name")
    if options.out.is_dir() or not options.out.parent.is_dir():
        raise OutputError(f"{options.out}: cannot be written there; give --out a file name in a folder that exists")
    console = Console(stderr=True)
    progress = track(paths, "measuring", console=console, transient=True, disable=not console.is_terminal)
    rows = [measure_file(path, options) for path in progress]
    write_csv(options.out, rows)
    refused = Counter(row["reason"] for row in rows if row["reason"])
    reasons = "".join(f", {reason} {count}" for reason, count in refused.most_common())
    click.echo(f"{options.out}: {len(rows)} masks, {len(rows) - refused.total()} measured{reasons}", err=True)


def measure_file(path: Path, options: MeasureOptions) -> Row:
    """One row: `COLUMNS` with texts, empty where there is no value.

    Lengths in pixels are in pixels of the mask made square (its pixel heights); under `iugc2024` in pixels of the
    512 x 512 mask, for which there are no millimetres. Landmarks are in pixels of the mask, centres at integers.
    """
    spacing = options.spacing
    biometry = measure(
        read_mask(path),
        protocol=options.protocol,
        pixel_size=(spacing.x_mm, spacing.y_mm) if spacing else (1.0, 1.0),
        orientation=options.orientation,
    )
    is_in_mm = spacing is not None and options.protocol == "robust"
    px_per_unit = 1.0 / spacing.y_mm if spacing and is_in_mm else 1.0
    lengths = {"hsd_min": biometry.hsd_min, "hsd_perp": biometry.hsd_perp}
    row = {"name": path.stem, "aop_deg": _number(biometry.aop_deg)}
    row |= {f"{name}_px": _number(value, scale=px_per_unit) for name, value in lengths.items()}
    row |= {f"{name}_mm": _number(value if is_in_mm else None) for name, value in lengths.items()}
    row |= _landmark_columns(biometry)
    row["mirrored"] = "" if options.protocol in CHALLENGE_SIDE_PX else str(biometry.mirrored).lower()
    row["reason"] = biometry.reason or ""
    row["protocol"] = biometry.protocol
    return row


def write_csv(out: Path, rows: Iterable[Row]) -> None:
    """Writes rows of `COLUMNS` beside `out` and renames the file once it is whole."""
    partial = out.with_name(f"{out.name}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def _landmark_columns(biometry: Biometry) -> Row:
    found = biometry.landmarks
    return dict(cell for name in LANDMARKS for cell in _point_columns(name, getattr(found, name) if found else None))


def _point_columns(name: str, point: tuple[float, float] | None) -> Iterator[tuple[str, str]]:
    x, y = point or (None, None)
    yield f"{name}_x_px", _number(x)
    yield f"{name}_y_px", _number(y)


def _number(value: float | None, *, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:.6f}"
