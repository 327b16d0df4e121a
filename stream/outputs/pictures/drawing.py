"""Draws a frame with outlines, landmarks, numbers and trend."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stream.frames.frame import SegmentCause
from stream.frames.reason import Reason
from stream.outputs.pictures.text import Colour, draw_text, text_width_px
from stream.pipeline.record import STALE_S, FrameState
from stream.tracking.tracker import EstimateStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.frames.regions import Point
    from stream.measurement.biometry import Landmarks, Outlines
    from stream.pipeline.record import Measurement
    from stream.tracking.tracker import Estimate

# Okabe-Ito colours, told apart by colour-blind eyes too; BGR.
ORANGE: Colour = (0, 159, 230)
SKY: Colour = (233, 180, 86)
GREEN: Colour = (168, 230, 46)  # lighter than theirs: on black it must be seen on any grey
YELLOW: Colour = (66, 228, 240)
WHITE: Colour = (245, 245, 245)
GREY: Colour = (150, 150, 150)
DIM: Colour = (95, 95, 95)
BLACK: Colour = (0, 0, 0)
INK: Colour = (24, 22, 20)

PICTURE_PX = 640
"""Longer side of the ultrasound picture on the canvas."""
PANEL_PX = 300
OUTLINE_STEP = 2
"""Of an outline every second point is drawn: the smooth line between them is the same to a tenth of a pixel."""
TREND_PX = 130
TREND_S = 30.0
"""How much of the past the strip below the picture shows."""
GAP_S = 0.5
"""Dropped frames leave no gap in it that is shorter."""
TREND_RANGE_DEG = (70.0, 180.0)

CHANGES = {
    SegmentCause.CONNECTION: "connected again",
    SegmentCause.SIZE: "size of the picture changed",
    SegmentCause.ASPECT: "shape of the pixels changed",
    SegmentCause.SCALE: "scale changed",
    SegmentCause.DEPTH: "depth changed",
    SegmentCause.SECTOR: "sector moved",
    SegmentCause.PANE: "panes changed",
    SegmentCause.ORIENTATION: "picture flipped",
    SegmentCause.CUT: "another picture",
}
UNSETTLED = frozenset({Reason.NO_SECTOR, Reason.AXIS_AMBIGUOUS})
"""Reasons that a new segment brings with it, until sector and orientation are settled in it."""


def describe_reason(measurement: Measurement) -> str:
    """Why a frame was not measured, for people, with what changed before; "" where it was."""
    reason = measurement.reason
    if reason is None:
        return ""
    change = CHANGES.get(measurement.frame.segment_cause) if reason in UNSETTLED else None
    return f"{change}: {reason.text}" if change else reason.text


@dataclass(frozen=True, slots=True)
class CanvasTransform:
    """How a frame's pixels lie on the canvas: x' = (x + 0.5) sx - 0.5 + left, likewise y."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, shape: tuple[int, int], aspect: float) -> CanvasTransform:
        """Fits a frame of (H, W) pixels of the given aspect into the square kept for it, centred."""
        height, width = shape
        scale = PICTURE_PX / max(height, width * aspect)
        shown_width, shown_height = max(1, round(width * aspect * scale)), max(1, round(height * scale))
        left, top = (PICTURE_PX - shown_width) // 2, (PICTURE_PX - shown_height) // 2
        return cls(shown_width / width, shown_height / height, left, top, shown_width, shown_height)

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Frame pixels (..., 2) to canvas pixels."""
        scale = (self.scale_x, self.scale_y)
        return np.asarray((points + 0.5) * scale - 0.5 + (self.left, self.top), dtype=np.float64)


class Painter:
    """Paints measurements one after the other; remembers the last half minute for its trend strip.

    Args:
        note: words of the source that must be seen with the picture, or "".
        is_live: of a live feed: a result that came late says so.
    """

    size = (PICTURE_PX + PANEL_PX, PICTURE_PX + TREND_PX)
    """Width and height of the canvas; both even, as video encoders want."""

    def __init__(self, note: str, *, is_live: bool = False) -> None:
        self._note, self._is_live = note, is_live
        self._past: deque[tuple[float, float, float, float]] = deque()
        width, height = self.size
        # One canvas for the whole film: two megabytes of fresh memory cost more than everything drawn on them.
        self._blank = np.full((height, width, 3), INK, dtype=np.uint8)
        _paint_marks(self._blank)
        self._canvas = self._blank.copy()

    def paint(self, measurement: Measurement) -> NDArray[np.uint8]:
        """Returns the canvas, (height, width, 3) BGR, valid until the next call."""
        canvas = self._canvas
        np.copyto(canvas, self._blank)
        view = paint_picture(canvas, measurement.frame)
        if measurement.state is FrameState.MEASURED:
            _paint_outlines(canvas, measurement, view)
        if self._note:
            draw_text(canvas, self._note, (10, PICTURE_PX - 24), 14, YELLOW, bold=True)
        _paint_panel(canvas, measurement, is_late=self._is_live and measurement.latency_ms > 1e3 * STALE_S)
        self._paint_trend(canvas, measurement)
        return canvas

    def _paint_trend(self, canvas: NDArray[np.uint8], measurement: Measurement) -> None:
        now, past = measurement.frame.pts_s, self._past
        if past and now < past[-1][0]:
            past.clear()
        aop = measurement.aop
        # Of a dropped frame nothing is known: it is no gap between those beside it, unless there are none for long.
        if measurement.state is not FrameState.DROPPED or not past or now - past[-1][0] > GAP_S:
            past.append((now, aop.value, aop.lo95, aop.hi95) if aop else (now, np.nan, np.nan, np.nan))
        while past[0][0] < now - TREND_S:
            past.popleft()
        left, right = _TREND_X
        table = np.array(past)
        x = right - (now - table[:, 0]) / TREND_S * (right - left)
        shown = np.isfinite(table[:, 1])
        edges = np.flatnonzero(np.diff(np.concatenate(([False], shown, [False])).astype(np.int8)))
        strip = canvas[PICTURE_PX:]
        band = strip.copy()
        for start, end in edges.reshape(-1, 2):
            part = slice(int(start), int(end))
            upper = np.column_stack([x[part], _y_of(table[part, 3])])
            lower = np.column_stack([x[part], _y_of(table[part, 2])])
            cv2.fillPoly(band, [_ints(np.vstack([upper, lower[::-1]]))], SKY, offset=(0, -PICTURE_PX))
        cv2.addWeighted(band, 0.3, strip, 0.7, 0, dst=strip)
        for start, end in edges.reshape(-1, 2):
            part = slice(int(start), int(end))
            _polyline(canvas, np.column_stack([x[part], _y_of(table[part, 1])]), WHITE, 2)
        draw_text(
            canvas, f"AoP, last {TREND_S:.0f} s, 95 % interval of repeatability", (left, self.size[1] - 18), 12, GREY
        )
        draw_text(canvas, f"{now:.2f} s", (right - text_width_px(f"{now:.2f} s", 12), self.size[1] - 18), 12, GREY)


_TREND_X = 44, PICTURE_PX + PANEL_PX - 12
_TREND_Y = PICTURE_PX + 12, PICTURE_PX + TREND_PX - 22
"""The box of the trend strip on the canvas: left and right, top and bottom."""


def _y_of(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row of the canvas at which the trend strip shows an angle."""
    (top, bottom), (low, high) = _TREND_Y, TREND_RANGE_DEG
    return bottom - (np.clip(degrees, low, high) - low) / (high - low) * (bottom - top)


def _paint_marks(canvas: NDArray[np.uint8]) -> None:
    """Lines and angles of the trend strip."""
    left, right = _TREND_X
    for mark in (80, 110, 140, 170):
        y = int(_y_of(np.array(float(mark))))
        cv2.line(canvas, (left, y), (right, y), (52, 50, 48), 1)
        draw_text(canvas, f"{mark}°", (8, y - 8), 12, GREY)


def paint_picture(canvas: NDArray[np.uint8], frame: Frame) -> CanvasTransform:
    """A frame in the square that is kept for it; returns how it lies there."""
    view = CanvasTransform.of((frame.image.shape[0], frame.image.shape[1]), frame.aspect)
    method = cv2.INTER_AREA if view.scale_y < 1 else cv2.INTER_LINEAR
    grey = cv2.resize(frame.image, (view.width, view.height), interpolation=method)
    window = canvas[view.top : view.top + view.height, view.left : view.left + view.width]
    window[:] = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    return view


def _ints(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points as whole pixels."""
    return np.round(points).astype(np.int32)


def _polyline(
    canvas: NDArray[np.uint8],
    points: NDArray[np.float64],
    colour: Colour,
    thickness: int,
    *,
    closed: bool = False,
) -> None:
    """Draws an anti-aliased line at sub-pixel places."""
    fixed = np.round(points * 16).astype(np.int32)
    cv2.polylines(canvas, [fixed.reshape(-1, 1, 2)], closed, colour, thickness, cv2.LINE_AA, shift=4)


def _cased(
    canvas: NDArray[np.uint8], points: NDArray[np.float64], colour: Colour, thickness: int, *, closed: bool = False
) -> None:
    """Draws a line on the picture with a black edge on both sides, so that it is seen on any grey (WCAG 1.4.11)."""
    _polyline(canvas, points, BLACK, thickness + 3, closed=closed)
    _polyline(canvas, points, colour, thickness, closed=closed)


def _paint_outlines(canvas: NDArray[np.uint8], measurement: Measurement, view: CanvasTransform) -> None:
    """Thin outlines of both structures and the lines the numbers were read from."""
    if measurement.outlines:
        paint_outlines(canvas, measurement.outlines, view)
    if measurement.biometry and measurement.biometry.landmarks:
        paint_landmarks(canvas, measurement.biometry.landmarks, view, is_mirrored=measurement.biometry.mirrored)


def paint_outlines(canvas: NDArray[np.uint8], outlines: Outlines, view: CanvasTransform) -> None:
    """Both structures, on a picture that lies on the canvas as `view` says."""
    for outline, colour in ((outlines.fh_px, SKY), (outlines.ps_px, ORANGE)):
        if len(outline):
            _cased(canvas, view.place(outline[::OUTLINE_STEP].astype(np.float64)), colour, 2, closed=True)


def paint_landmarks(canvas: NDArray[np.uint8], found: Landmarks, view: CanvasTransform, *, is_mirrored: bool) -> None:
    """PS axis, tangent, the angle between them, HSD, and the vertex."""

    def spot(point: Point) -> NDArray[np.float64]:
        return view.place(np.array(point))

    vertex, superior, tangent = spot(found.ps_inferior), spot(found.ps_superior), spot(found.tangent)
    beyond = vertex + (tangent - vertex) * 1.25
    _cased(canvas, np.array([superior, vertex]), ORANGE, 2)
    _cased(canvas, np.array([vertex, beyond]), WHITE, 2)
    if found.hsd_min_foot:
        _cased(canvas, np.array([vertex, spot(found.hsd_min_foot)]), GREEN, 2)
    towards = [np.arctan2(*(end - vertex)[::-1]) for end in (superior, tangent)]
    turn = (towards[1] - towards[0]) % (2 * np.pi)
    if not is_mirrored:  # the head lies counter-clockwise of the axis on the screen, y pointing down
        turn -= 2 * np.pi
    sweep = towards[0] + np.linspace(0, turn, 40)
    _cased(canvas, vertex + 26 * np.column_stack([np.cos(sweep), np.sin(sweep)]), YELLOW, 1)
    cv2.circle(canvas, (round(vertex[0] * 16), round(vertex[1] * 16)), 4 * 16, YELLOW, -1, cv2.LINE_AA, 4)


def _panel_text(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], size_px: int, colour: Colour, *, bold: bool = False
) -> None:
    """A line of the panel beside the picture, where nothing lies below it."""
    draw_text(canvas, text, at, size_px, colour, bold=bold, ground=INK)


def _paint_panel(canvas: NDArray[np.uint8], measurement: Measurement, *, is_late: bool) -> None:
    """The numbers, beside the picture."""
    x = PICTURE_PX + 18
    status, colour = _status(measurement, is_late=is_late)
    _panel_text(canvas, status, (x, 16), 17, colour, bold=True)
    _panel_text(canvas, describe_reason(measurement), (x, 40), 14, GREY)
    scale = measurement.mm_per_px
    unit = "mm" if scale else "px"
    _panel_text(canvas, "AoP  angle of progression", (x, 84), 13, GREY)
    reading = measurement.biometry
    _paint_value(canvas, measurement.aop, "°", (x, 100), 1.0, 62)
    if measurement.aop is None and reading and reading.aop_deg is not None:
        _panel_text(canvas, f"this frame alone: {reading.aop_deg:.0f}°", (x, 178), 14, GREY)
    _panel_text(canvas, "HSD  head-symphysis distance", (x, 224), 13, GREY)
    _paint_value(canvas, measurement.hsd_min, f" {unit}", (x, 240), scale or 1.0, 40)
    if not scale:
        note = measurement.frame.spacing_note.partition(":")[0]
        _panel_text(canvas, f"not in mm: {note or 'no pixel spacing'}", (x, 330), 12, GREY)
    probability = measurement.plane_probability
    shown = "—" if probability is None else f"{probability:.2f}"
    _panel_text(canvas, f"standard plane  {shown}", (x, 356), 13, GREY)
    _panel_text(canvas, f"protocol  {measurement.protocol}", (x, 378), 13, GREY)
    _panel_text(canvas, f"frame  {measurement.frame.index}", (x, 400), 13, GREY)
    for row, (text, shade) in enumerate(
        (("PS outline and axis", ORANGE), ("FH outline", SKY), ("tangent", WHITE), ("HSD, shortest", GREEN))
    ):
        y = 452 + 22 * row
        cv2.line(canvas, (x, y + 9), (x + 22, y + 9), shade, 2, cv2.LINE_AA)
        _panel_text(canvas, text, (x + 32, y), 13, GREY)
    _panel_text(canvas, "RESEARCH USE ONLY", (x, PICTURE_PX - 46), 15, WHITE, bold=True)
    _panel_text(canvas, "not a medical device", (x, PICTURE_PX - 25), 13, GREY)


def _status(measurement: Measurement, *, is_late: bool) -> tuple[str, Colour]:
    if is_late and measurement.state is not FrameState.DROPPED:
        return f"NOT LIVE: {measurement.latency_ms / 1e3:.0f} s late", ORANGE
    if measurement.state is FrameState.MEASURED:
        return "MEASURED", WHITE
    if measurement.state is FrameState.DROPPED:
        return "DROPPED", GREY
    return "CANNOT MEASURE", ORANGE


def _paint_value(
    canvas: NDArray[np.uint8],
    estimate: Estimate | None,
    unit: str,
    at: tuple[int, int],
    scale: float,
    size_px: int,
) -> None:
    """A big number over its interval; dim where it is predicted rather than measured, a dash where none."""
    x, y = at
    if estimate is None:
        _panel_text(canvas, "—", (x, y), size_px, DIM, bold=True)
        return
    fresh = estimate.status is EstimateStatus.MEASURED
    digits = 0 if unit == "°" else 1
    _panel_text(
        canvas,
        f"{estimate.value * scale:.{digits}f}{unit}",
        (x, y),
        size_px,
        WHITE if fresh else DIM,
        bold=True,
    )
    low, high, kind = estimate.shown_interval
    interval = f"{low * scale:.{digits}f} to {high * scale:.{digits}f}{unit} {kind}"
    below = y + round(size_px * 1.25)
    _panel_text(canvas, interval, (x, below), 14, GREY)
    if not fresh:
        _panel_text(canvas, f"{estimate.status}, {estimate.age_s:.1f} s old", (x, below + 19), 14, GREY)
