"""`trend.png`: AoP and HSD over time with interval, single readings and gaps."""

from __future__ import annotations

import io
import math
import warnings
from array import array
from typing import TYPE_CHECKING

import numpy as np

from stream.common.atomic_file import write_atomic
from stream.common.text import to_printable
from stream.pipeline.record import FrameState

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stream.pipeline.record import Measurement

SIZE_INCHES = (11, 6.5)
MOST_POINTS = 20_000
"""Kept for the plot; beyond it every second one goes, so that a run of any length takes the same memory."""

COLUMNS = ("pts_s", "measured", "aop_raw", "aop", "aop_lo", "aop_hi", "hsd_raw", "hsd", "hsd_lo", "hsd_hi", "mm_per_px")
GAP_S = 0.5
"""Dropped frames leave no gap that is shorter."""
EMPTY_RANGES = {"aop": (70.0, 180.0), "hsd": (0.0, 60.0)}
"""Of the axes where there is nothing to draw: what is usual, in degrees, and in mm or px."""


class TrendPoints:
    """Collects what the plot needs, and draws it."""

    def __init__(self) -> None:
        self._points = array("d")
        self._stride, self._seen = 1, 0
        self._last_s = -math.inf

    def add(self, measurement: Measurement) -> None:
        """Adds the next frame's result."""
        # Of a dropped frame nothing is known: it is no gap between those beside it, unless there are none for long.
        if measurement.state is not FrameState.DROPPED:
            self._last_s = measurement.frame.pts_s
        elif measurement.frame.pts_s - self._last_s < GAP_S:
            return
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        reading, aop, hsd = measurement.biometry, measurement.aop, measurement.hsd_min
        values = (
            measurement.frame.pts_s,
            float(measurement.state is FrameState.MEASURED),
            reading.aop_deg if reading else None,
            *((aop.value, aop.lo95, aop.hi95) if aop else (None,) * 3),
            reading.hsd_min if reading else None,
            *((hsd.value, hsd.lo95, hsd.hi95) if hsd else (None,) * 3),
            measurement.mm_per_px,
        )
        self._points.extend(float("nan") if value is None else value for value in values)
        if len(self._points) > MOST_POINTS * len(COLUMNS):
            kept = self._table()[::2]
            self._points = array("d", kept.ravel())
            self._stride *= 2

    def _table(self) -> NDArray[np.float64]:
        return np.array(self._points).reshape(-1, len(COLUMNS))

    def draw(self, figure: Figure, title: str) -> None:
        """Draws what was collected by now."""
        column = dict(zip(COLUMNS, self._table().T, strict=True))
        unit = _in_one_unit(column)
        above, below = figure.subplots(2, 1, sharex=True)
        _draw(above, column, "aop", "AoP (°)")
        _draw(below, column, "hsd", f"HSD, shortest ({unit})")
        below.set_xlabel("time (s)")
        figure.suptitle(to_printable(title), fontsize=11, parse_math=False)
        figure.supxlabel("Research use only, not a medical device", fontsize=8, color="0.4", x=0.99, ha="right")
        above.legend(loc="upper left", fontsize=8, ncols=4, framealpha=0.9)


class TrendPlot:
    """`trend.png`: drawn at the end.

    Args:
        path: of the PNG.
        title: one line above the plot.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._plot = TrendPoints()
        self._closed = False

    def write(self, measurement: Measurement) -> None:
        self._plot.add(measurement)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        drawn = io.BytesIO()
        with warnings.catch_warnings():
            # A file name in a script the typeface lacks gives boxes in the title, not lines on stderr.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure().savefig(drawn, format="png", dpi=110)
        write_atomic(self._path, drawn.getvalue())

    def figure(self) -> Figure:
        """The plot of what was collected by now."""
        from matplotlib.figure import Figure  # slow to import, and only this needs it

        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        self._plot.draw(figure, self._title)
        return figure


def _in_one_unit(column: dict[str, NDArray[np.float64]]) -> str:
    """Brings HSD into millimetres, where any of it can be: what has no scale is then left out. Returns the unit."""
    drawn = ("hsd_raw", "hsd", "hsd_lo", "hsd_hi")
    in_mm = {name: column[name] * column["mm_per_px"] for name in drawn}
    if not any(np.isfinite(values).any() for values in in_mm.values()):
        return "px"
    column.update(in_mm)
    return "mm"


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
        label="95 % interval of repeatability",
    )
    axes.plot(time, column[name], color="#0072B2", lw=1.6, label="tracked")
    axes.axvspan(np.nan, np.nan, color="0.9", lw=0, label="not measured")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if not any(np.isfinite(column[key]).any() for key in (f"{name}_raw", name)):
        axes.set_ylim(*EMPTY_RANGES[name])
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", va="center", color="0.4")
    first, last = (time.min(), time.max()) if len(time) else (0.0, 0.0)
    axes.set_xlim(first, last if last > first else first + 1.0)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one-past-last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
