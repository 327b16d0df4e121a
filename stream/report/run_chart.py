"""The chart of a run: what of its records is drawn, and the same in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream.frames.frame import SegmentCause
from stream.report.charts import AOP_COLOUR, HSD_COLOUR, PUSH_COLOUR, RunChart, Series
from stream.report.values import duration
from stream.report.wording import CHANGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from stream.report.content import RunContent

LEAST_REFUSED_S = 0.4
"""Refusals of a chart: shorter ones would be no more than a line."""
GROUND_COLOUR = "#e6e6e6"
USUAL = {"aop": (90.0, 150.0), "mm": (0.0, 45.0), "px": (0.0, 120.0)}
"""Ranges that an axis shows at least: degrees, millimetres, pixels."""


def run_chart(run: RunContent) -> RunChart:
    """AoP and, where there is any, HSD, with all that holds of their times."""
    unit = "mm" if has_values(run.numbers("hsd_min_mm")) else "px"
    series = [_series(run, "aop", "deg", "AoP (°)", AOP_COLOUR, USUAL["aop"])]
    if has_values(run.numbers(f"hsd_min_{unit}")):
        series.append(_series(run, "hsd_min", unit, f"HSD, shortest ({unit})", HSD_COLOUR, USUAL[unit]))
    axis = run.axis
    return RunChart(
        series=series,
        end_s=axis.end_s,
        refused=list(refused_spans(run)),
        pushes=[
            (axis.of(push.start_s, push.segment), axis.of(push.end_s, push.segment), str(number))
            for number, push in enumerate(run.pushes, 1)
        ],
        marks=[(axis.of(mark["pts_s"], mark["segment"]), "") for mark in run.run.marks],
        cuts=list(picture_changes(run)),
    )


def has_values(values: NDArray[np.float64] | None) -> bool:
    """Whether a column is there and holds a number."""
    return values is not None and bool(np.isfinite(values).any())


def _series(run: RunContent, name: str, unit: str, label: str, colour: str, usual: tuple[float, float]) -> Series:
    """A quantity as it was tracked, held and predicted values included, which the interval shows to be less sure."""

    def column(bound: str) -> NDArray[np.float64] | None:
        own, beside = run.numbers(f"{name}{bound}_{unit}"), run.numbers(f"{name}_extrapolated{bound}_{unit}")
        return own if own is None or beside is None else np.where(np.isfinite(own), own, beside)

    bands = []
    for said, infix in (("absolute", "_absolute"), ("repeatability", "")):
        low, high = (column(f"{infix}_{bound}95") for bound in ("lo", "hi"))
        if has_values(low) and low is not None and high is not None:
            bands.append((said, low, high))
    value = column("")
    empty = np.full(len(run.run), np.nan)
    begins = np.array([part.rows[0] for part in run.parts[1:]], np.intp)

    def parted(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """No line goes over the beginning of a part: a value that is none lies before it."""
        return np.insert(values, begins, np.nan)

    return Series(
        label=label,
        colour=colour,
        time_s=np.insert(run.axis.time_s, begins, run.axis.time_s[begins]),
        value=parted(empty if value is None else value),
        bands=[(said, parted(low), parted(high)) for said, low, high in bands],
        usual=usual,
    )


def refused_spans(run: RunContent) -> Iterator[tuple[float, float]]:
    """Times without a measured frame."""
    time_s = run.axis.time_s
    edges = np.flatnonzero(np.diff(np.concatenate([[True], run.is_measured, [True]]).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        left, right = time_s[max(start - 1, 0)], time_s[min(end, len(time_s) - 1)]
        if right - left >= LEAST_REFUSED_S:
            yield float(left), float(right)


def picture_changes(run: RunContent) -> Iterator[tuple[float, str]]:
    """Where the picture or its clock changed in a way that the reader must know."""
    segment, causes = run.run.table.counts("segment"), run.words("segment_cause")
    for row in (np.flatnonzero(np.diff(segment)) + 1).tolist():
        cause = SegmentCause(causes[row])
        if cause in CHANGES:
            yield float(run.axis.time_s[row]), CHANGES[cause]


def chart_key(run: RunContent) -> Iterator[Mapping[str, str]]:
    """What the colours of the chart mean."""
    if has_values(run.numbers("aop_absolute_lo95_deg")):
        yield {"colour": "#d1dfe9", "text": "absolute interval, 95 %"}
        yield {"colour": "#8fb1cb", "text": "repeatability interval, 95 %"}
    else:
        yield {"colour": "#9fbdd3", "text": "repeatability interval, 95 %"}
    if run.pushes:
        yield {"colour": PUSH_COLOUR, "text": "push"}
    yield {"colour": GROUND_COLOUR, "text": "not measured"}


def chart_words(run: RunContent) -> str:
    """The chart for those who cannot see it."""
    values = run.numbers("aop_deg")
    if values is None or not np.isfinite(values).any():
        return "Chart of AoP over time: nothing was measured"
    low, high = np.nanpercentile(values, [5, 95])
    return (
        f"Chart of AoP over {duration(run.axis.end_s)}: from {low:.0f} to {high:.0f} degrees (5th to 95th percentile),"
        f" {len(run.pushes)} pushes"
    )
