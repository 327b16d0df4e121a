"""Measures a folder of existing label masks into a CSV file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import track

from engines.atomic_file import atomic_path
from stream.common.csv_cells import csv_line
from stream.common.errors import MaskError, OptionError, OutputError, SourceError
from stream.frames.reason import Reason
from stream.measurement.biometry import LANDMARK_NAMES, Biometry, Orientation
from stream.measurement.folder_orientation import FolderOrientation
from stream.measurement.protocols import DEFAULT_PROTOCOL, check_orientation, find_protocol, measure
from stream.sources.files.masks import NOT_A_MASK_FORMAT, is_mask_file, mask_pixel_aspect, pictures_in, read_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from stream.frames.frame import PixelSpacing

COLUMNS = (
    "name",
    "aop_deg",
    "hsd_min_px",
    "hsd_perp_px",
    "hsd_min_mm",
    "hsd_perp_mm",
    *(f"{landmark}_{axis}_px" for landmark in LANDMARK_NAMES for axis in "xy"),
    "mirrored",
    "normal_log_odds",
    "reason",
    "protocol",
    "error",
)
UNREADABLE = "unreadable"
"""The reason of a mask that cannot be read; what is wrong with it stands in the column `error`."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """Options of `partum measure`.

    Attributes:
        masks: a folder of masks, and of folders of masks, or one mask.
        out: the CSV file to write; it appears only when it is whole.
        protocol: a name in `stream.measurement.protocols.PROTOCOLS`.
        spacing: of the masks' pixels; None takes the shape of the pixels from each file, and leaves lengths in pixels.
        orientation: of all masks; `AUTO` decides once, from all of them.
    """

    masks: Path
    out: Path
    protocol: str = DEFAULT_PROTOCOL
    spacing: PixelSpacing | None = None
    orientation: Orientation = Orientation.AUTO

    @property
    def must_find_orientation(self) -> bool:
        """The challenge protocols presume normal pictures."""
        return self.orientation is Orientation.AUTO and not find_protocol(self.protocol).is_squeezed


def run_measure(options: MeasureOptions) -> None:
    """Measures every mask and writes one CSV row for each; says on stderr how many and why not the others.

    Raises:
        MaskError: there are no masks, or some cannot be read; the others are measured and written all the same.
        OutputError: the CSV file cannot be written.
    """
    check_orientation(options.protocol, options.orientation)
    paths = pictures_in(options.masks, folders=True)
    if options.out.resolve() in [path.resolve() for path in paths]:
        raise OptionError(f"{options.out}: is one of the masks; give --out another name")
    if options.out.is_dir() or not options.out.parent.is_dir():
        raise OutputError(f"{options.out}: cannot be written there; give --out a file name in a folder that exists")
    names = _names(options.masks, paths)
    found = _orientation_of(paths) if options.must_find_orientation else None
    rows, errors = [], []
    for path in _shown(paths, "measuring"):
        try:
            row = measure_file(path, options, found)
        except (MaskError, SourceError) as error:
            errors.append(str(error))
            row = _row(Biometry(protocol=options.protocol)) | {"reason": UNREADABLE, "error": str(error)}
        rows.append(row | {"name": names[path]})
    write_csv(options.out, rows)
    refused = Counter(row["reason"] for row in rows if row["reason"])
    reasons = "".join(f", {reason} {count}" for reason, count in refused.most_common())
    click.echo(
        f"{options.out}: {len(rows)} masks, {len(rows) - refused.total()} measured{reasons}{_said(found)}", err=True
    )
    if errors:
        rest = f"; the others are in {options.out}" if len(rows) > len(errors) else ""
        raise MaskError(f"{len(errors)} of {len(rows)} masks cannot be read: {errors[0]}{rest}")


def measure_file(path: Path, options: MeasureOptions, found: FolderOrientation | None) -> Row:
    """One row: `COLUMNS` with texts, empty where there is no value; `name` is the file's stem.

    Lengths in pixels are in pixels of the mask made square (its pixel heights); under `iugc2024` in pixels of the
    512 x 512 mask, for which there are no millimetres. Landmarks are in pixels of the mask, centres at integers.

    Args:
        path: of the mask.
        options: what was asked for.
        found: which way round all masks are, where that had to be found out.

    Raises:
        MaskError, SourceError: it cannot be read.
    """
    labels, spacing = _readable(path), options.spacing
    size = (spacing.x_mm, spacing.y_mm) if spacing else (mask_pixel_aspect(path), 1.0)
    if found:
        biometry = found.measured(labels, protocol=options.protocol, pixel_size=size)
    else:
        biometry = measure(labels, protocol=options.protocol, pixel_size=size, orientation=options.orientation)
    is_in_mm = spacing is not None and not find_protocol(options.protocol).is_squeezed
    return _row(biometry, mm_per_px=spacing.y_mm if spacing and is_in_mm else None) | {"name": path.stem}


def _orientation_of(paths: Sequence[Path]) -> FolderOrientation:
    """Which way round all masks are that can be read."""
    found = FolderOrientation()
    for path in _shown(paths, "looking which way round they are"):
        try:
            found.add(_readable(path))
        except (MaskError, SourceError):
            continue  # it has its row, and its reason, when it is measured
    return found


def _said(found: FolderOrientation | None) -> str:
    if not found or not found.views:
        return ""
    read_as = found.orientation
    said = f"read as {read_as}" if read_as else "not clear whether they are mirrored, say --orientation"
    return f"; {said} (log odds {found.log_odds:.1f} of {found.views} views)"


def _readable(path: Path) -> NDArray[np.uint8]:
    if not is_mask_file(path):
        raise MaskError(f"{path}: {NOT_A_MASK_FORMAT}")
    return read_mask(path)


def _shown(paths: Sequence[Path], what: str) -> Iterable[Path]:
    console = Console(stderr=True)
    return track(paths, what, console=console, transient=True, disable=not console.is_terminal)


def _names(masks: Path, paths: Sequence[Path]) -> Mapping[Path, str]:
    """What each mask is called: its path below the folder without suffix, with it where two would be called alike."""
    below = {path: path.relative_to(masks) if masks.is_dir() else Path(path.name) for path in paths}
    count = Counter(path.with_suffix("") for path in below.values())
    return {
        path: (name if count[name.with_suffix("")] > 1 else name.with_suffix("")).as_posix()
        for path, name in below.items()
    }


def _row(biometry: Biometry, *, mm_per_px: float | None = None) -> Row:
    """The columns of a measurement; `mm_per_px` where its lengths are in millimetres."""
    lengths = {"hsd_min": biometry.hsd_min, "hsd_perp": biometry.hsd_perp}
    row = {"name": "", "aop_deg": _number(biometry.aop_deg)}
    row |= {f"{name}_px": _number(value, scale=1.0 / (mm_per_px or 1.0)) for name, value in lengths.items()}
    row |= {f"{name}_mm": _number(value if mm_per_px else None) for name, value in lengths.items()}
    row |= _landmark_columns(biometry)
    is_read = not find_protocol(biometry.protocol).is_squeezed and biometry.reason is not Reason.AXIS_AMBIGUOUS
    row["mirrored"] = str(biometry.mirrored).lower() if is_read else ""
    row["normal_log_odds"] = _number(biometry.orientation_log_odds or None)
    row["reason"] = biometry.reason or ""
    row["protocol"] = biometry.protocol
    row["error"] = ""
    return row


def write_csv(out: Path, rows: Iterable[Row]) -> None:
    """Writes rows of `COLUMNS` beside `out` and renames the file once it is whole."""
    try:
        # A file name need not be text; what is none is written as \udcXX.
        with (
            atomic_path(out) as partial,
            partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.write(csv_line(COLUMNS))
            file.writelines(csv_line(row[name] for name in COLUMNS) for row in rows)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def _landmark_columns(biometry: Biometry) -> Row:
    found = biometry.landmarks
    return dict(
        cell for name in LANDMARK_NAMES for cell in _point_columns(name, getattr(found, name) if found else None)
    )


def _point_columns(name: str, point: tuple[float, float] | None) -> Iterator[tuple[str, str]]:
    x, y = point or (None, None)
    yield f"{name}_x_px", _number(x)
    yield f"{name}_y_px", _number(y)


def _number(value: float | None, *, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:.6f}"
