"""The charts of a report as SVG: AoP and HSD over a run, and over the recordings of a day.

Each is drawn twice, wide for paper and desktop, narrow for a phone: letters keep their size where the picture does not.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stream.report.values import Value

AOP_COLOUR, HSD_COLOUR = "#00558c", "#00694e"
PUSH_COLOUR, MARK_COLOUR, CUT_COLOUR = "#f2d9a6", "#7a4f00", "#a3262a"
MOST_POINTS = 1200
"""Of a line; a longer run is drawn by its medians in as many equal times."""
WIDE_IN, NARROW_IN = 7.1, 3.7
LABEL_IN = 0.6
"""Width that the label of a recording takes."""
FONTS = ["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"]
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # letters stay letters: they can be searched for and copied
    "svg.hashsalt": "partum",  # the same run gives the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": FONTS,
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Series:
    """One quantity over time, NaN where there is none.

    Attributes:
        label: with the unit, for the axis.
        colour: of its line.
        time_s, value: (N,).
        bands: from the widest to the narrowest: name, lower and upper ends (N,).
        usual: the axis shows at least this range.
    """

    label: str
    colour: str
    time_s: NDArray[np.float64]
    value: NDArray[np.float64]
    bands: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]]
    usual: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunChart:
    """What the chart of a run shows; all times in seconds of its axis.

    Attributes:
        series: one below the other, on one axis of time.
        end_s: of the axis, which begins at 0.
        refused: times without a measurement.
        pushes: start, end and number of each.
        marks: time and text of each.
        cuts: where another picture begins, and what is said of it.
    """

    series: Sequence[Series]
    end_s: float
    refused: Sequence[tuple[float, float]] = ()
    pushes: Sequence[tuple[float, float, str]] = ()
    marks: Sequence[tuple[float, str]] = ()
    cuts: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture inside the page.

    Attributes:
        wide, narrow: data URIs; `narrow` for windows that are.
        text: for those who cannot see it.
    """

    wide: str
    narrow: str
    text: str = field(default="")


def draw_run(chart: RunChart, text: str) -> Picture:
    """The course of a run."""
    return _drawn(lambda figure, is_narrow: _draw_run(figure, chart, is_narrow=is_narrow), text, len(chart.series))


def _drawn(draw: Callable[[Figure, bool], None], text: str, rows: float) -> Picture:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # slow to import, and only this needs it

    drawn = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # names of rcParams are literals there
        for width, is_narrow in ((WIDE_IN, False), (NARROW_IN, True)):
            figure = Figure(figsize=(width, 0.45 + (1.75 if is_narrow else 1.6) * rows), layout="constrained")
            draw(figure, is_narrow)
            written = io.BytesIO()
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            drawn.append(f"data:image/svg+xml;base64,{base64.b64encode(written.getvalue()).decode()}")
    return Picture(wide=drawn[0], narrow=drawn[1], text=text)


def _draw_run(figure: Figure, chart: RunChart, *, is_narrow: bool) -> None:
    axes = np.atleast_1d(figure.subplots(len(chart.series), 1, sharex=True))
    scale, unit = time_unit(chart.end_s)
    for number, (each, series) in enumerate(zip(axes, chart.series, strict=True)):
        _draw_ground(each, chart, scale, is_first=number == 0)
        _draw_series(each, series, scale)
    last = axes[-1]
    last.set_xlim(0, max(chart.end_s, 1.0) / scale)
    last.set_xlabel(f"time ({unit})", labelpad=2)


def time_unit(seconds: float) -> tuple[float, str]:
    """In which unit so long a time is told: how many seconds it has, and its name."""
    return (1.0, "s") if seconds <= 240 else (60.0, "min") if seconds <= 3 * 3600 else (3600.0, "h")


def _draw_ground(axes: Axes, chart: RunChart, scale: float, *, is_first: bool) -> None:
    """What holds of the time, whatever the quantity: refusals, pushes, marks, cuts; words in the first alone."""
    for start, end in chart.refused:
        axes.axvspan(start / scale, end / scale, color="#e6e6e6", lw=0, zorder=0.6)
    above = axes.get_xaxis_transform()
    for start, end, name in chart.pushes:
        axes.axvspan(start / scale, end / scale, color=PUSH_COLOUR, alpha=0.75, lw=0, zorder=0.5)
        if is_first:
            axes.text((start + end) / 2 / scale, 1.02, name, transform=above, ha="center", va="bottom", weight="bold")
    for time, _ in chart.marks:
        axes.axvline(time / scale, color=MARK_COLOUR, lw=0.7, ls=(0, (1, 2)), zorder=1)
        if is_first:
            axes.plot([time / scale], [1.0], "v", ms=4, color=MARK_COLOUR, transform=above, clip_on=False)
    for time, words in chart.cuts:
        axes.axvline(time / scale, color=CUT_COLOUR, lw=1.0, ls=(0, (4, 2)), zorder=1)
        if is_first:
            axes.text(time / scale, 0.98, f" {words}", transform=above, color=CUT_COLOUR, va="top", size=7)
    axes.grid(axis="y", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)


def _draw_series(axes: Axes, series: Series, scale: float) -> None:
    rows = np.vstack([series.value, *(bound for _, low, high in series.bands for bound in (low, high))])
    time, rows = thin(series.time_s, rows)
    value, bounds = rows[0], rows[1:].reshape(len(series.bands), 2, rows.shape[1])
    tints = [0.18, 0.38]
    for (low, high), tint in zip(bounds, tints[-len(bounds) :], strict=False):
        axes.fill_between(time / scale, low, high, color=series.colour, alpha=tint, lw=0)
    axes.plot(time / scale, value, color=series.colour, lw=1.2, solid_capstyle="round")
    alone = np.isfinite(value) & ~_has_neighbour(value)
    axes.plot(time[alone] / scale, value[alone], ".", color=series.colour, ms=2.5)
    axes.set_ylabel(series.label, labelpad=3)
    shown = rows[np.isfinite(rows)]
    low, high = series.usual
    if len(shown):
        low, high = min(low, float(shown.min()) - 2), max(high, float(shown.max()) + 2)
    else:
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set_ylim(low, high)


def _has_neighbour(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a value is part of a line: one that stands alone is drawn as a dot."""
    is_there = np.concatenate([[False], np.isfinite(value), [False]])
    return np.asarray(is_there[:-2] | is_there[2:], dtype=np.bool_)


def thin(
    time_s: NDArray[np.float64], rows: NDArray[np.float64], most: int = MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (N,) and rows (R, N) as at most `most` columns, in equal spans of time: the medians of each.

    A span without a value stays one: a gap is a gap however far away it is looked at.
    """
    if len(time_s) <= most:
        return time_s, rows
    edges = np.linspace(time_s[0], time_s[-1], most + 1)
    starts = np.searchsorted(time_s, edges[:-1])
    ends = np.append(starts[1:], len(time_s))
    kept = [(start, end) for start, end in zip(starts, ends, strict=True) if end > start]
    return (
        np.array([time_s[start:end].mean() for start, end in kept]),
        np.column_stack([_median(rows[:, start:end]) for start, end in kept]),
    )


def _median(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """The medians of rows (R, N) over what is there: (R,)."""
    return np.array([np.median(row[found]) if (found := np.isfinite(row)).any() else np.nan for row in part])


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPoint:
    """A recording in the chart of a day.

    Attributes:
        at: when it was scanned; None where that is not known.
        label: its number in the table.
        rest, peak: AoP; None where there is none.
    """

    at: datetime | None
    label: str
    rest: Value | None
    peak: Value | None


def draw_day(points: Sequence[DayPoint], text: str, *, has_times: bool, is_joined: bool) -> Picture:
    """AoP at rest and at the peak of pushes over recordings, by time of day or, where that is not known, in order.

    Args:
        points: of the recordings.
        text: for those who cannot see it.
        has_times: whether times of day are known.
        is_joined: whether a line joins the values at rest; not over a cut.
    """
    return _drawn(
        lambda figure, is_narrow: _draw_day(
            figure, points, has_times=has_times, is_joined=is_joined, is_narrow=is_narrow
        ),
        text,
        1.4,
    )


def _draw_day(figure: Figure, points: Sequence[DayPoint], *, has_times: bool, is_joined: bool, is_narrow: bool) -> None:
    axes = figure.subplots()
    first = points[0].at
    hours = [
        (point.at - first).total_seconds() / 3600 if has_times and point.at and first else float(number)
        for number, point in enumerate(points)
    ]
    for name, marker, colour, face in (("rest", "o", AOP_COLOUR, AOP_COLOUR), ("peak", "^", MARK_COLOUR, "white")):
        shown = [(hour, value) for hour, point in zip(hours, points, strict=True) if (value := getattr(point, name))]
        label = "at rest" if name == "rest" else "at the peak of pushes, median"
        is_line = is_joined and name == "rest"
        axes.plot([], [], marker, color=colour, mfc=face, label=label, ls="-" if is_line else "none", lw=1)
        if is_line:
            axes.plot([hour for hour, _ in shown], [value.value for _, value in shown], color=colour, lw=1)
        for hour, value in shown:
            for interval, width in ((value.absolute, 0.9), (value.repeatability, 2.6)):
                if interval:
                    axes.plot([hour, hour], interval, color=colour, lw=width, alpha=0.6, solid_capstyle="butt")
            axes.plot([hour], [value.value], marker, color=colour, mfc=face, ms=5)
    _dress_day(axes, points, hours, has_times=has_times, is_narrow=is_narrow)


def _dress_day(
    axes: Axes, points: Sequence[DayPoint], hours: Sequence[float], *, has_times: bool, is_narrow: bool
) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 90), max(high, 150))
    margin = max(0.08 * (hours[-1] - hours[0]), 0.05)
    axes.set_xlim(hours[0] - margin, hours[-1] + margin)
    apart = (hours[-1] - hours[0] + 2 * margin) * (LABEL_IN / (NARROW_IN if is_narrow else WIDE_IN))
    together = _near(hours, apart)
    axes.set_xticks([hours[rows[0]] for rows in together])
    axes.set_xticklabels([_tick(points, rows, has_times=has_times) for rows in together])
    axes.set_xlabel("recording" + (", time of day" if has_times else ", in the order given"), labelpad=2)
    axes.set_ylabel("AoP (°)", labelpad=3)
    axes.grid(axis="y", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, frameon=False, ncols=2, fontsize=8)


def _near(hours: Sequence[float], apart: float) -> list[list[int]]:
    """Recordings that are too near to each other for a label each: their rows together."""
    together: list[list[int]] = []
    for row, hour in enumerate(hours):
        if together and hour - hours[together[-1][0]] < apart:
            together[-1].append(row)
        else:
            together.append([row])
    return together


def _tick(points: Sequence[DayPoint], rows: Sequence[int], *, has_times: bool) -> str:
    first, last = points[rows[0]], points[rows[-1]]
    name = first.label if len(rows) == 1 else f"{first.label} to {last.label}"
    return f"{name}\n{first.at.strftime('%H:%M')}" if has_times and first.at else name
