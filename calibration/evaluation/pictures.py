"""Evaluation figures: best, median and worst frames; agreement plots."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calibration.evaluation.statistics.agreement import BlandAltman, bland_altman, risk_coverage
from calibration.evaluation.summary import difference
from stream.measurement.protocols import DEFAULT_PROTOCOL, PROTOCOLS
from stream.outputs.manifest import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from calibration.data.base import LabelledFrame
    from calibration.evaluation.frames import FrameResult
    from stream.measurement.biometry import Biometry

CASES_PER_ROW = 4
TRUE_COLOUR, FOUND_COLOUR = "#56B4E9", "#E69F00"
PROTOCOL_COLOURS = dict(zip(PROTOCOLS, cycle(("#0072B2", "#D55E00", "#009E73")), strict=False))
LONGEST_NAME = 30


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PictureCase:
    """A frame to show: its result, the frame itself, and the predicted labels, (H, W) uint8."""

    result: FrameResult
    frame: LabelledFrame
    labels: NDArray[np.uint8]


def choose_cases(results: Sequence[FrameResult]) -> dict[str, list[FrameResult]]:
    """The rows of `cases.png`: best, median and worst by mean Dice of PS and FH, and the largest AoP errors.

    No frame is shown twice among the first three; a row is missing where nothing is left for it. Of equal frames the
    earlier comes first.
    """
    ranked = sorted((r for r in results if r.mean_dice is not None), key=lambda r: -(r.mean_dice or 0.0))
    width = max(1, min(CASES_PER_ROW, len(ranked) // 3))
    best, rest = ranked[:width], ranked[width:]
    worst, rest = (rest[-width:][::-1], rest[:-width]) if rest else ([], [])
    start = max(0, (len(rest) - width) // 2)
    measured = [r for r in results if r.mean_dice is not None and _aop_error(r) is not None]
    far_off = sorted(measured, key=lambda r: -(_aop_error(r) or 0.0))[:width]
    rows = {
        "best Dice": best,
        "median Dice": rest[start : start + width],
        "worst Dice": worst,
        "largest AoP error": far_off,
    }
    return {title: row for title, row in rows.items() if row}


def _aop_error(result: FrameResult) -> float | None:
    found = difference(result.truth[DEFAULT_PROTOCOL], result.found[DEFAULT_PROTOCOL], "aop_deg")
    return None if found is None else abs(found)


def draw_cases(rows: Mapping[str, Sequence[PictureCase]]) -> bytes:
    """A PNG of the cases, true outlines and angles in blue beneath the predicted ones in orange."""
    width = max(len(cases) for cases in rows.values())
    figure = Figure(figsize=(max(6.5, 3.1 * width), 3.55 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), width, squeeze=False)
    for row, (title, cases) in zip(grid, rows.items(), strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, case in zip(row, cases, strict=False):
            _draw_case(axes, case)
        row[0].text(-0.03, 0.5, title, transform=row[0].transAxes, rotation=90, va="center", ha="right", fontsize=11)
    figure.legend(
        handles=[
            Line2D([], [], color=TRUE_COLOUR, lw=2, label="annotated"),
            Line2D([], [], color=FOUND_COLOUR, lw=1.5, label="predicted"),
            Line2D([], [], color="0.35", lw=1, ls="--", label=f"PS axis and tangent ({DEFAULT_PROTOCOL})"),
        ],
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    _sign(figure)
    return _png(figure)


def _draw_case(axes: Axes, case: PictureCase) -> None:
    result, mask = case.result, case.frame.mask
    height, width = case.labels.shape
    axes.imshow(case.frame.image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    for labels, colour, line_width in ((mask, TRUE_COLOUR, 2.2), (case.labels, FOUND_COLOUR, 1.3)):
        if labels is not None:
            for outline in _outlines(labels):
                axes.plot(*outline.T, color=colour, lw=line_width)
    true, found = result.truth[DEFAULT_PROTOCOL], result.found[DEFAULT_PROTOCOL]
    for biometry, colour in ((true, TRUE_COLOUR), (found, FOUND_COLOUR)):
        if marks := biometry.landmarks:
            points = np.array([marks.ps_superior, marks.ps_inferior, marks.tangent])
            axes.plot(*points.T, color=colour, lw=1.1, ls="--")
            axes.plot(*points[1], "o", color=colour, ms=3)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    dice = ", ".join(f"{name.upper()} {score.dice or 0.0:.3f}" for name, score in result.scores.items())
    aop = f"AoP {_angle(true)} annotated, {_angle(found)} predicted"
    axes.set_title(f"{_short(result.name)}\nDice {dice}\n{aop}", fontsize=7.5, parse_math=False)


def _outlines(labels: NDArray[np.uint8]) -> Iterator[NDArray[np.float64]]:
    """Closed outlines of every piece of both structures, (N, 2) xy."""
    for code in (1, 2):
        pieces, _ = cv2.findContours((labels == code).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for piece in pieces:
            points = piece[:, 0, :].astype(np.float64)
            yield np.concatenate((points, points[:1]))


def _angle(biometry: Biometry) -> str:
    return f"{biometry.aop_deg:.1f}°" if biometry.aop_deg is not None else str(biometry.reason)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def draw_agreement(results: Sequence[FrameResult], protocols: Iterable[str]) -> bytes | None:
    """A PNG with a Bland-Altman plot for each protocol and the error against coverage; None without any pair."""
    drawn = {name: series for name in protocols if len((series := _Series.of(results, name)).error)}
    if not drawn:
        return None
    figure = Figure(figsize=(11, 4.1 * ((len(drawn) + 2) // 2) + 0.3), layout="constrained")
    panels = figure.subplots((len(drawn) + 2) // 2, 2, squeeze=False).ravel()
    for axes, (name, series) in zip(panels, drawn.items(), strict=False):
        _draw_bland_altman(axes, name, series)
    reach = max(float(np.abs(series.error).max()) for series in drawn.values()) * 1.08 + 0.5
    for axes in panels[: len(drawn)]:
        axes.set_ylim(-reach, reach)
    _draw_risk(panels[len(drawn)], drawn)
    for axes in panels[len(drawn) + 1 :]:
        axes.set_axis_off()
    _sign(figure)
    return _png(figure)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Series:
    """AoP of the frames measured under a protocol, whatever the plane gate says, (N,) each."""

    true_deg: NDArray[np.float64]
    error: NDArray[np.float64]
    confidence: NDArray[np.float64]
    is_gated: NDArray[np.bool_]
    frames: int

    @classmethod
    def of(cls, results: Sequence[FrameResult], protocol: str) -> _Series:
        measurable = [r for r in results if protocol in r.truth and r.truth[protocol].aop_deg is not None]
        table = [
            (r.truth[protocol].aop_deg, error, r.confidence, r.is_called_standard)
            for r in measurable
            if (error := difference(r.truth[protocol], r.found[protocol], "aop_deg")) is not None
        ]
        columns = np.array(table, dtype=np.float64).reshape(-1, 4).T
        return cls(
            true_deg=columns[0],
            error=columns[1],
            confidence=columns[2],
            is_gated=columns[3] == 0,
            frames=len(measurable),
        )


def _draw_bland_altman(axes: Axes, name: str, series: _Series) -> None:
    """Differences over the means of both values, with the bias, the limits and their intervals."""
    colour = PROTOCOL_COLOURS[name]
    mean = series.true_deg + series.error / 2
    shown = ~series.is_gated
    axes.plot(mean[shown], series.error[shown], "o", ms=4, mec="none", alpha=0.55, color=colour)
    if series.is_gated.any():
        axes.plot(
            mean[series.is_gated],
            series.error[series.is_gated],
            "x",
            ms=5,
            color="0.35",
            label="refused by the plane gate",
        )
        axes.legend(loc="lower left", fontsize=8)
    limits = bland_altman(series.error)
    if limits:
        _draw_limits(axes, limits)
    axes.set_title(f"{name}: {len(series.error)} of {series.frames} frames measured", fontsize=10)
    axes.set_xlabel("mean of predicted and annotated AoP (°)")
    axes.set_ylabel("predicted - annotated (°)")
    axes.grid(alpha=0.25)


def _draw_limits(axes: Axes, limits: BlandAltman) -> None:
    lines = (
        ("bias", limits.bias, limits.bias_ci95, "-"),
        ("+1.96 SD", limits.upper, limits.upper_ci95, "--"),
        ("-1.96 SD", limits.lower, limits.lower_ci95, "--"),
    )
    for label, value, interval, style in lines:
        axes.axhspan(*interval, color="0.5", alpha=0.18, lw=0)
        axes.axhline(value, color="0.2", lw=1.2, ls=style)
        # Beside the plot, where it covers no frame.
        axes.annotate(
            f"{label}\n{value:+.1f}",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )


def _draw_risk(axes: Axes, drawn: Mapping[str, _Series]) -> None:
    """Mean absolute error of the most confident share, and what a perfect order would give, dotted."""
    for name, series in drawn.items():
        error = np.abs(series.error)
        for confidence, style, label in ((series.confidence, "-", name), (-error, ":", None)):
            curve = risk_coverage(confidence, error, frames=series.frames)
            if curve:
                axes.plot(curve.coverage, curve.risk, style, color=PROTOCOL_COLOURS[name], lw=1.6, label=label)
    axes.plot([], [], ":", color="0.35", label="best order possible")
    axes.set_title("error of the most confident share of frames", fontsize=10)
    axes.set_xlabel("coverage")
    axes.set_ylabel("mean absolute AoP error (°)")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


def _sign(figure: Figure) -> None:
    figure.supxlabel(NOTICE, fontsize=8, color="0.4", x=0.99, ha="right")


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings():
        # A file name in a script the typeface lacks gives boxes in the title, not lines on stderr.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(data, dpi=110, format="png")
    return data.getvalue()
