"""`trend.png`: AoP and HSD over time, with the interval, the single readings, and where nothing was measured."""

from __future__ import annotations

import warnings
from array import array
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from stream.errors import OutputError
from stream.measurement import State

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from stream.measurement import Measurement

MOST_POINTS = 20_000
"""Kept for the plot; beyond it every second one goes, so that a run of any length takes the same memory."""

COLUMNS = ("pts_s", "measured", "aop_raw", "aop", "aop_lo", "aop_hi", "hsd_raw", "hsd", "hsd_lo", "hsd_hi")


class Trend:
    """Collects what the plot needs and draws it at the end.

    Args:
        path: of the PNG.
        title: one line above the plot.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._points = array("d")
        self._stride, self._seen = 1, 0
        self._unit = "px"
        self._closed = False

    def write(self, measurement: Measurement) -> None:
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        scale = measurement.mm_per_px
        self._unit = "mm" if scale else "px"
        scale = scale or 1.0
        reading, aop, hsd = measurement.biometry, measurement.aop, measurement.hsd_min
        values = (
            measurement.frame.pts_s,
            float(measurement.state is State.MEASURED),
            reading.aop_deg if reading else None,
            *((aop.value, aop.lo95, aop.hi95) if aop else (None,) * 3),
            reading.hsd_min * scale if reading and reading.hsd_min is not None else None,
            *((hsd.value * scale, hsd.lo95 * scale, hsd.hi95 * scale) if hsd else (None,) * 3),
        )
        self._points.extend(float("nan") if value is None else value for value in values)
        if len(self._points) > MOST_POINTS * len(COLUMNS):
            kept = self._table()[::2]
            self._points = array("d", kept.ravel())
            self._stride *= 2

    def _table(self) -> NDArray[np.float64]:
        return np.array(self._points).reshape(-1, len(COLUMNS))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        column = dict(zip(COLUMNS, self._table().T, strict=True))
        figure = Figure(figsize=(11, 6.5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        _draw(above, column, "aop", "AoP (°)")
        _draw(below, column, "hsd", f"HSD, shortest ({self._unit})")
        below.set_xlabel("time (s)")
        figure.suptitle(self._title, fontsize=11, parse_math=False)
        figure.supxlabel("Research use only, not a medical device", fontsize=8, color="0.4", x=0.99, ha="right")
        above.legend(loc="upper left", fontsize=8, ncols=4, framealpha=0.9)
        try:
            with warnings.catch_warnings():
                # A file name in a script the typeface lacks gives boxes in the title, not lines on stderr.
                warnings.filterwarnings("ignore", message="Glyph .* missing")
                figure.savefig(self._path, dpi=110)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror}); free space there") from error


def _draw(axes: Axes, column: dict[str, NDArray[np.float64]], name: str, label: str) -> None:
    """Draws one quantity: readings as faint dots, the track as a line in its 95 % band, refusals in grey."""
    time = column["pts_s"]
    for start, end in _runs(column["measured"] == 0):
        left = time[max(start - 1, 0)]
        axes.axvspan(
            left,
            time[min(end, len(time) - 1)],
            color="0.9",
            lw=0,
        )
    axes.plot(time, column[f"{name}_raw"], ".", ms=2.5, color="#999999", label="single frame")
    axes.fill_between(
        time,
        column[f"{name}_lo"],
        column[f"{name}_hi"],
        color="#56B4E9",
        alpha=0.35,
        lw=0,
        label="95 % interval",
    )
    axes.plot(time, column[name], color="#0072B2", lw=1.6, label="tracked")
    axes.axvspan(np.nan, np.nan, color="0.9", lw=0, label="not measured")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if len(time) > 1 and time[-1] > time[0]:
        axes.set_xlim(time[0], time[-1])


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one-past-last index of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
