"""`smoothed.csv`: AoP and HSD of every frame by all that was measured before and after it."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from stream.common.atomic_file import write_atomic
from stream.common.csv_cells import csv_line
from stream.pipeline.record import FrameState
from stream.tracking.smoother import smooth_course
from stream.tracking.tracker import AOP_NOISE_DEG, HSD_MM_PER_DEG, px_per_mm

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement
    from stream.tracking.kalman import FilterNoise

    Series = NDArray[np.float64]

COLUMNS = (
    "index",
    "pts_s",
    "segment",
    "accepted",
    *(f"aop_smoothed{bound}_deg" for bound in ("", "_lo95", "_hi95", "_absolute_lo95", "_absolute_hi95")),
    *(f"hsd_min_smoothed{bound}_{unit}" for unit in ("px", "mm") for bound in ("", "_lo95", "_hi95")),
)
"""Of the file. `accepted` is 1 where the frame's own reading of AoP was used, and no outlier; empty is not known."""
_KEPT = ("index", "pts_s", "segment", "refused", "aop", "half", "quality", "hsd", "px_per_mm", "mm_per_px")


class SmoothedTable:
    """Keeps what was read off each frame, and writes the file when the run ends. An hour of 30 Hz takes 9 MB.

    Args:
        path: of the file.
        noise: what the filter assumes of AoP, in degrees.
    """

    def __init__(self, path: Path, *, noise: FilterNoise = AOP_NOISE_DEG) -> None:
        self._path, self._noise = path, noise
        self._kept = array("d")
        self._is_closed = False

    def write(self, measurement: Measurement) -> None:
        """Keeps the next frame's readings."""
        frame, read = measurement.frame, measurement.biometry
        is_read = read is not None and read.landmarks is not None
        scale = px_per_mm(frame, read, read.landmarks) if read and read.landmarks else None
        values = (
            frame.index,
            frame.pts_s,
            frame.segment,
            measurement.state is FrameState.REFUSED,
            read.aop_deg if read and is_read else None,
            read.absolute_half_deg if read and is_read else None,
            read.quality if read and is_read else None,
            read.hsd_min if read and is_read else None,
            scale,
            measurement.mm_per_px,
        )
        self._kept.extend(math.nan if value is None else float(value) for value in values)

    def close(self) -> None:
        """Smooths, and writes the file.

        Raises:
            OutputError: it cannot be written.
        """
        if self._is_closed:
            return
        self._is_closed = True
        rows = _rows(np.array(self._kept).reshape(-1, len(_KEPT)), self._noise)
        write_atomic(self._path, "".join(map(csv_line, [COLUMNS, *rows])).encode())


def _rows(table: Series, noise: FilterNoise) -> list[list[object]]:
    """The lines of the file."""
    column = dict(zip(_KEPT, table.T, strict=True))
    shared = {"quality": column["quality"], "refused": column["refused"] > 0, "segment": column["segment"]}
    aop = smooth_course(column["pts_s"], column["aop"], noise=noise, **shared)
    half = np.fmax(_between(column["half"]), 1.96 * aop.std)
    unit = _first_of_segment(column["px_per_mm"], column["segment"])
    hsd = smooth_course(column["pts_s"], column["hsd"] / unit, noise=noise.scaled(HSD_MM_PER_DEG), **shared)
    lengths = [each * unit for each in (hsd.value, hsd.lo95, hsd.hi95)]
    angles = [aop.value, aop.lo95, aop.hi95, aop.value - half, aop.value + half]
    if np.isnan(column["half"]).all():
        angles[3:] = [np.full(len(half), np.nan)] * 2
    numbers = np.array([*angles, *lengths, *(each * column["mm_per_px"] for each in lengths)]).T
    return [
        [
            int(row[0]),
            round(row[1], 6),
            int(row[2]),
            int(accepted),
            *("" if math.isnan(v) else round(v, 3) for v in said),
        ]
        for row, accepted, said in zip(table.tolist(), aop.accepted, numbers.tolist(), strict=True)
    ]


def _between(values: Series) -> Series:
    """Values with those that are missing put between their neighbours; NaN where there is none at all."""
    known = np.isfinite(values)
    rows = np.arange(len(values))
    return np.interp(rows, rows[known], values[known]) if known.any() else values


def _first_of_segment(values: Series, segments: Series) -> Series:
    """The first value of each segment, for all of its frames; 1 where a segment has none."""
    found = np.ones(len(values))
    for segment in np.unique(segments):
        inside = segments == segment
        known = values[inside & np.isfinite(values)]
        if len(known):
            found[inside] = known[0]
    return found
